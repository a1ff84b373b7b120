//! Keeps the CA bundle in one webhook configuration.
//!
//! Level-triggered: read, write what differs, read back, then watch from the version that was read until something changes
//! or the watch ends after a minute. So a change without a watch event is found within that time.
//!
//! Another replica may write the next bundle of a rotation before this one has read the Secret. So a changed bundle that
//! still trusts this replica is read once more before it is overwritten, and is left unchanged while the Secret cannot be
//! read. So is a bundle with a later CA, until the Secret was read after it: the CAs that this replica knows may be revoked.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::bundle_status::{BundleState, BundleStatus};
use super::ca_bundle::{
    CaBundle, FIELD_MANAGER, WebhookConfiguration, apply_patch, has_webhooks, is_ahead, is_in_sync, read_trust, trusts,
};
use super::failure_log::{API_BACKOFF, FailureLog, call_error_message};
use super::metrics::{CertificateMetrics, PatchResult};
use super::named_object::{NamedObject, ObjectView};
use super::secret_reads::SecretReads;
use snapwatcher_kubernetes::cluster::{CallError, Cluster, call};
use snapwatcher_kubernetes::events::CA_BUNDLE_CHANGED;
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;

/// The shortest time from one read to the next, so that two writers of the field cause little load.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What the controllers of both configurations have in common.
#[derive(Clone)]
pub(super) struct BundleControllerContext {
    pub(super) cluster: Cluster,
    /// What the configuration has to contain; `None` until there is a CA.
    pub(super) bundle: watch::Receiver<Option<CaBundle>>,
    pub(super) status: watch::Sender<BundleStatus>,
    pub(super) secret_reads: SecretReads,
    pub(super) metrics: CertificateMetrics,
    pub(super) events: OwnPodEvents,
}

/// Keeps the bundle in one configuration.
pub(super) struct CaBundleController<K> {
    context: BundleControllerContext,
    configuration: NamedObject<K>,
    /// The bundle that was read back last. `None` after an external change was reported.
    confirmed: Option<Arc<str>>,
    /// Whether an external change was seen, and is to be read once more before it is overwritten.
    is_rechecking: bool,
    /// The version of a configuration with a later CA than those of this replica, and when it was first read.
    ahead: Option<(Option<String>, Instant)>,
    update_failures: FailureLog,
    watch_failures: FailureLog,
}

/// Why the bundle is not in the configuration.
#[derive(Debug, thiserror::Error)]
enum UpdateError {
    #[error(transparent)]
    Read(CallError),
    #[error(transparent)]
    Apply(CallError),
    #[error("{description} was changed by another program at the same time")]
    Contested { description: String },
}

impl<K: WebhookConfiguration> CaBundleController<K> {
    pub(super) fn new(name: String, context: BundleControllerContext) -> Self {
        let configuration = NamedObject {
            description: format!("{} `{name}`", K::kind(&())),
            name,
            watch_timeout: context.cluster.watch_timeout,
            calls: Api::all(context.cluster.calls.clone()),
            watches: Api::all(context.cluster.watches.clone()),
        };
        Self {
            context,
            configuration,
            confirmed: None,
            is_rechecking: false,
            ahead: None,
            update_failures: FailureLog::default(),
            watch_failures: FailureLog::default(),
        }
    }

    /// Runs forever. It may be dropped at any time: the next start sees what is left to do.
    pub(super) async fn run(mut self) -> Infallible {
        let mut retries = API_BACKOFF.retries();
        loop {
            let started = Instant::now();
            if self.reconcile().await {
                retries.reset();
                sleep_until(started + MIN_INTERVAL).await;
            } else {
                sleep(retries.next_wait()).await;
            }
        }
    }

    /// Updates the configuration, then waits for a reason to read it again. False after a failure.
    async fn reconcile(&mut self) -> bool {
        let Some(bundle) = self.next_bundle().await else { return false };
        let version = match self.update(&bundle).await {
            Ok(Some(version)) => version,
            Ok(None) => return true,
            Err(error) => {
                self.report_failure(&error);
                return false;
            }
        };
        self.update_failures.recovered();
        let changed = tokio::select! {
            changed = self.configuration.wait_for_change(&version) => changed,
            // The sender lives as long as this controller.
            _ = self.context.bundle.changed() => Ok(()),
        };
        match changed {
            Ok(()) => {
                self.watch_failures.recovered();
                true
            }
            Err(error) => {
                self.watch_failures.report(&call_error_message(&error));
                false
            }
        }
    }

    /// Waits until there is a CA.
    async fn next_bundle(&mut self) -> Option<CaBundle> {
        self.context.bundle.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Writes the bundle if it differs, and reads it back. Returns the version to watch from, or `None` if the
    /// configuration is to be read once more before it is changed.
    async fn update(&mut self, bundle: &CaBundle) -> Result<Option<String>, UpdateError> {
        let expected = &bundle.pem;
        let ObjectView { object, version } = self.configuration.read().await.map_err(UpdateError::Read)?;
        let Some(configuration) = object.filter(has_webhooks) else { return Ok(Some(self.set_missing(version))) };
        if is_in_sync(&configuration, expected) {
            return Ok(Some(self.set_in_sync(expected, &configuration, version)));
        }
        let still_trusts_us = trusts(&configuration, &bundle.signing_ca);
        let is_ahead = is_ahead(&configuration, expected);
        if (still_trusts_us || is_ahead) && self.context.secret_reads.is_secret_unreadable() {
            self.leave_unchanged(&configuration, expected);
            return Ok(Some(version));
        }
        if is_ahead && !self.is_secret_read_since(&configuration) {
            self.set_state(BundleState::Changed(read_trust(&configuration, expected)));
            self.context.secret_reads.reread_secret();
            return Ok(None);
        }
        if self.confirmed.as_ref() == Some(expected) {
            // Published before the write, so that no CA signs in the meantime that this bundle does not contain.
            self.set_state(BundleState::Changed(read_trust(&configuration, expected)));
            if still_trusts_us && !std::mem::replace(&mut self.is_rechecking, true) {
                self.context.secret_reads.reread_secret();
                return Ok(None);
            }
            self.report_external_change();
        }
        self.confirmed = None;
        let applied = self.apply(&configuration, expected).await;
        let ObjectView { object, version } = self.configuration.read().await.map_err(UpdateError::Read)?;
        let uid = |configuration: &K| configuration.meta().uid.clone();
        match (object.filter(has_webhooks), applied) {
            (None, _) => Ok(Some(self.set_missing(version))),
            (Some(now), _) if is_in_sync(&now, expected) => Ok(Some(self.set_in_sync(expected, &now, version))),
            (Some(now), Err(error)) if !error.is_conflict() && uid(&now) == uid(&configuration) => {
                Err(UpdateError::Apply(error))
            }
            _ => Err(UpdateError::Contested { description: self.configuration.description.clone() }),
        }
    }

    /// Whether the Secret was read after this configuration, and has no other CAs than those that this replica knows.
    fn is_secret_read_since(&mut self, configuration: &K) -> bool {
        let version = &configuration.meta().resource_version;
        let since = match &self.ahead {
            Some((known, since)) if known == version => *since,
            _ => self.ahead.insert((version.clone(), Instant::now())).1,
        };
        self.context.secret_reads.is_secret_read_since(since) && !self.context.bundle.has_changed().unwrap_or(false)
    }

    fn set_in_sync(&mut self, expected: &Arc<str>, configuration: &K, version: String) -> String {
        self.confirmed = Some(expected.clone());
        self.is_rechecking = false;
        if self.set_state(BundleState::InSync(read_trust(configuration, expected))) {
            info!(
                configuration = %self.configuration.name,
                "caBundle of {} is up to date",
                self.configuration.description
            );
        }
        version
    }

    fn set_missing(&mut self, version: String) -> String {
        self.confirmed = None;
        self.is_rechecking = false;
        if self.set_state(BundleState::Missing) {
            warn!(
                configuration = %self.configuration.name,
                "{} does not exist or has no webhooks, so the API server does not call SnapWatcher. Install it, or name \
                 another one by {}",
                self.configuration.description,
                K::KIND.flag()
            );
        }
        version
    }

    fn leave_unchanged(&mut self, configuration: &K, expected: &Arc<str>) {
        self.is_rechecking = false;
        self.context.secret_reads.reread_secret();
        if self.set_state(BundleState::Changed(read_trust(configuration, expected))) {
            warn!(
                configuration = %self.configuration.name,
                "caBundle of {} was modified externally. Another replica may have written it, so it is left unchanged until \
                 the CA Secret can be read",
                self.configuration.description
            );
        }
    }

    fn report_external_change(&self) {
        let description = &self.configuration.description;
        warn!(
            configuration = %self.configuration.name,
            "caBundle of {description} was modified externally. SnapWatcher writes it again. If this repeats, find the other \
             writer in the object's managedFields"
        );
        let note = format!("caBundle of {description} was modified externally. SnapWatcher writes it again");
        self.context.events.warn(CA_BUNDLE_CHANGED, note);
    }

    async fn apply(&self, configuration: &K, bundle: &str) -> Result<(), CallError> {
        let what = format!("write the caBundle of {}", self.configuration.description);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let body = Patch::Apply(apply_patch(configuration, bundle));
        let applied = call(what, self.configuration.calls.patch(&self.configuration.name, &params, &body)).await;
        let result = if applied.is_ok() { PatchResult::Applied } else { PatchResult::Failed };
        self.context.metrics.bundle_patched(K::KIND, result);
        applied.map(|_| ())
    }

    fn report_failure(&mut self, error: &UpdateError) {
        let message = match error {
            UpdateError::Read(error) | UpdateError::Apply(error) => call_error_message(error),
            UpdateError::Contested { .. } => error.to_string(),
        };
        self.update_failures.report(&message);
        self.is_rechecking = false;
        // A failed read says nothing about the configuration, so the last known state stays.
        let is_known = self.context.status.borrow().get(K::KIND).is_some_and(BundleState::is_known);
        if !(is_known && matches!(error, UpdateError::Read(_))) {
            self.set_state(BundleState::Failed(message));
        }
    }

    /// Returns whether the state is another than before.
    fn set_state(&self, state: BundleState) -> bool {
        self.context.metrics.bundle_state(K::KIND, &state);
        self.context.status.send_if_modified(|status| status.set(K::KIND, state))
    }
}
