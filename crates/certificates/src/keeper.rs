//! Keeps the bundle in one webhook configuration, whoever changes it.
//!
//! Level-triggered: each turn looks, applies what differs, reads it back, and then watches from what it read until
//! something changes or the watch ends after its minute. So a change that no event told is found within that time,
//! an expired resource version costs one more look, and a server that ends each watch at once is asked once a second.
//!
//! Of several replicas one hears first that a rotation has gone on, and changes the configuration before the others know
//! why. So a bundle that trusts what is served now is looked at once more before it is changed, and for longer while this
//! process can't read the Secret, which would tell it why.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::Tell;
use super::bundle::{Bundle, Configuration, FIELD_MANAGER, calls_somebody, is_in_sync, patch, trusts};
use super::metrics::{CertificateMetrics, Outcome};
use super::named::{Look, Named};
use super::status::{BundleStatus, Keeping, Trust};
use super::trouble::{Trouble, waits, words};
use snapwatcher_kubernetes::cluster::{CallError, Cluster, call};
use snapwatcher_kubernetes::events::CA_BUNDLE_CHANGED;

/// The shortest time from one look to the next, so that a fight over the field stays cheap.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What a keeper works with, for either configuration.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) cluster: Cluster,
    /// What is to stand there; nothing yet while there is no CA.
    pub(super) bundle: watch::Receiver<Option<Bundle>>,
    pub(super) status: watch::Sender<BundleStatus>,
    /// Has the Secret looked at.
    pub(super) look: Arc<Notify>,
    /// Whether the Secret can't be read.
    pub(super) unread: Arc<AtomicBool>,
    pub(super) metrics: CertificateMetrics,
    pub(super) tell: Tell,
}

/// Keeps one bundle in one configuration.
pub(super) struct Keeper<K> {
    parts: Parts,
    configuration: Named<K>,
    /// The bundle that stood there, until somebody changed it and was told of.
    stood: Option<Arc<str>>,
    /// Whether a bundle that somebody changed was left as it is, to be looked at once more.
    doubted: bool,
    /// Why the bundle can't be kept.
    keeping: Trouble,
    /// Why changes aren't told to us.
    watching: Trouble,
}

/// Why the bundle does not stand in the configuration.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Look(CallError),
    #[error(transparent)]
    Apply(CallError),
    #[error("somebody else changed the {kind} webhook configuration `{name}` at the same time")]
    Contested { kind: &'static str, name: String },
}

impl<K: Configuration> Keeper<K> {
    pub(super) fn new(name: String, parts: Parts) -> Self {
        let configuration = Named {
            what: format!("{} webhook configuration `{name}`", K::KIND.as_str()),
            name,
            watch_timeout: parts.cluster.watch_timeout,
            calls: Api::all(parts.cluster.calls.clone()),
            watches: Api::all(parts.cluster.watches.clone()),
        };
        let (keeping, watching) = (Trouble::default(), Trouble::default());
        Self { parts, configuration, stood: None, doubted: false, keeping, watching }
    }

    /// Goes on for ever; dropped, it leaves nothing half done that the next start would not see.
    pub(super) async fn keep(mut self) -> Infallible {
        let mut pauses = waits();
        loop {
            let begun = Instant::now();
            if self.turn().await {
                pauses = waits();
                sleep_until(begun + BETWEEN_LOOKS).await;
            } else {
                sleep(pauses.next_wait()).await;
            }
        }
    }

    /// Settles the bundle, then waits for a reason to look again; false if something failed and is better not hurried.
    async fn turn(&mut self) -> bool {
        let Some(bundle) = self.next_bundle().await else { return false };
        let version = match self.settle(&bundle).await {
            Ok(Some(version)) => version,
            Ok(None) => return true,
            Err(error) => {
                self.failed(&error);
                return false;
            }
        };
        self.keeping.is_over();
        let changed = tokio::select! {
            changed = self.configuration.change(&version) => changed,
            // Its sender lives as long as this.
            _ = self.parts.bundle.changed() => Ok(()),
        };
        match changed {
            Ok(()) => {
                self.watching.is_over();
                true
            }
            Err(error) => {
                self.watching.tell(&words(&error));
                false
            }
        }
    }

    /// What is to stand there, as soon as there is something.
    async fn next_bundle(&mut self) -> Option<Bundle> {
        self.parts.bundle.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Puts the bundle in if it is not there. What is read back decides, not what the apply answered. Nothing: it is
    /// better looked at again before anything is changed.
    async fn settle(&mut self, bundle: &Bundle) -> Result<Option<String>, KeepError> {
        let Look { found, version } = self.configuration.look().await.map_err(KeepError::Look)?;
        let Some(configuration) = found.filter(calls_somebody) else { return Ok(Some(self.missing(version))) };
        let wanted = bundle.wanted(&configuration, Instant::now());
        if is_in_sync(&configuration, &wanted) {
            return Ok(Some(self.stands(wanted, &configuration, version)));
        }
        let is_usable = bundle.serving.as_ref().is_some_and(|serving| trusts(&configuration, serving));
        if is_usable && self.parts.unread.load(Ordering::Relaxed) {
            self.leave(&configuration, &wanted);
            return Ok(Some(version));
        }
        if self.stood.as_ref() == Some(&wanted) {
            // At once: it does not stand there while it is put back, and nothing may be signed by what is missing.
            self.publish(Keeping::Changed(Trust::read(&configuration, &wanted)));
            if is_usable && !std::mem::replace(&mut self.doubted, true) {
                self.parts.look.notify_one();
                return Ok(None);
            }
            self.tell_changed();
        }
        self.stood = None;
        let applied = self.apply(&configuration, &wanted).await;
        let Look { found, version } = self.configuration.look().await.map_err(KeepError::Look)?;
        let uid = |configuration: &K| configuration.meta().uid.clone();
        match (found.filter(calls_somebody), applied) {
            (None, _) => Ok(Some(self.missing(version))),
            (Some(now), _) if is_in_sync(&now, &wanted) => Ok(Some(self.stands(wanted, &now, version))),
            (Some(now), Err(error)) if uid(&now) == uid(&configuration) => Err(KeepError::Apply(error)),
            _ => Err(KeepError::Contested { kind: K::KIND.as_str(), name: self.configuration.name.clone() }),
        }
    }

    /// Notes that the bundle was read back.
    fn stands(&mut self, wanted: Arc<str>, configuration: &K, version: String) -> String {
        let trust = Trust::read(configuration, &wanted);
        self.stood = Some(wanted);
        self.doubted = false;
        let (kind, name) = (K::KIND.as_str(), &self.configuration.name);
        if self.publish(Keeping::InSync(trust)) {
            info!(configuration = %name, "Our CA bundle stands in the {kind} webhook configuration `{name}`");
        }
        version
    }

    /// Notes that nobody is called.
    fn missing(&mut self, version: String) -> String {
        self.stood = None;
        self.doubted = false;
        let (kind, name, flag) = (K::KIND.as_str(), &self.configuration.name, K::KIND.flag());
        if self.publish(Keeping::Missing) {
            warn!(
                configuration = %name,
                "There is no {kind} webhook configuration `{name}`, or none with webhooks: install it, or name another one \
                 with {flag}; it is used as soon as it exists"
            );
        }
        version
    }

    /// Leaves what somebody put there, and asks for the Secret again.
    fn leave(&mut self, configuration: &K, wanted: &Arc<str>) {
        self.doubted = false;
        self.parts.look.notify_one();
        if self.publish(Keeping::Changed(Trust::read(configuration, wanted))) {
            let what = &self.configuration.what;
            warn!(
                configuration = %self.configuration.name,
                "Somebody changed the CA bundle in the {what}: it is left, since it trusts this process, and the Secret \
                 can't be read that may tell why"
            );
        }
    }

    fn tell_changed(&self) {
        let what = &self.configuration.what;
        warn!(configuration = %self.configuration.name, "Somebody changed the CA bundle in the {what}: ours is put back");
        (self.parts.tell)(CA_BUNDLE_CHANGED, format!("somebody changed the CA bundle in the {what}; it is put back"));
    }

    async fn apply(&self, configuration: &K, wanted: &str) -> Result<(), CallError> {
        let what = format!("put the CA bundle into the {}", self.configuration.what);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let body = Patch::Apply(patch(configuration, wanted));
        let applied = call(what, self.configuration.calls.patch(&self.configuration.name, &params, &body)).await;
        self.parts.metrics.patched(K::KIND, if applied.is_ok() { Outcome::Applied } else { Outcome::Failed });
        applied.map(|_| ())
    }

    fn failed(&mut self, error: &KeepError) {
        let words = match error {
            KeepError::Look(error) | KeepError::Apply(error) => words(error),
            KeepError::Contested { .. } => error.to_string(),
        };
        self.keeping.tell(&words);
        self.doubted = false;
        // Not being able to look says nothing about the configuration: what was read last stands.
        let is_known = self.parts.status.borrow().of(K::KIND).is_some_and(Keeping::is_known);
        if !(is_known && matches!(error, KeepError::Look(_))) {
            self.publish(Keeping::Failed(words));
        }
    }

    fn publish(&self, keeping: Keeping) -> bool {
        self.parts.metrics.found(K::KIND, &keeping);
        self.parts.status.send_if_modified(|status| status.note(K::KIND, keeping))
    }
}
