//! Keeps the bundle in one webhook configuration, whoever changes it.
//!
//! Level-triggered: each turn looks, applies what differs, reads it back, and then watches from what it read until
//! something changes or the watch ends after [`WATCH_TIMEOUT`]. So a change that no event told is found within that time,
//! an expired resource version costs one more look, and a server that ends each watch at once is asked once a second.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::bundle::{Configuration, FIELD_MANAGER, is_in_sync, patch};
use super::metrics::{CertificateMetrics, Outcome};
use super::status::{BundleStatus, Keeping};
use crate::cluster::{CallError, Cluster, WATCH_TIMEOUT, call};
use crate::telemetry::chain;

/// The shortest time from one look to the next, so that a fight over the field stays cheap.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// The longest wait after a failure is twice this, with jitter: so an API server that is back is noticed within 30 s.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What a watch may last beyond its time before it counts as dead.
const WATCH_SLACK: Duration = Duration::from_secs(5);

/// The first wait after a failure is half a second; each next one is twice as long.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(LONGEST_WAIT)
    .without_max_times()
    .with_jitter();

/// Keeps one bundle in one configuration.
pub(super) struct Keeper<K> {
    name: String,
    bundle: String,
    calls: Api<K>,
    watches: Api<K>,
    status: watch::Sender<BundleStatus>,
    metrics: CertificateMetrics,
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

/// What stood at the API server, and the version from which to watch.
struct Look<K> {
    found: Option<K>,
    version: String,
}

impl<K: Configuration> Keeper<K> {
    pub(super) fn new(
        name: String,
        bundle: String,
        cluster: &Cluster,
        status: watch::Sender<BundleStatus>,
        metrics: CertificateMetrics,
    ) -> Self {
        Self {
            name,
            bundle,
            calls: Api::all(cluster.calls.clone()),
            watches: Api::all(cluster.watches.clone()),
            status,
            metrics,
            keeping: Trouble::default(),
            watching: Trouble::default(),
        }
    }

    /// Goes on for ever; dropped, it leaves nothing half done that the next start would not see.
    pub(super) async fn keep(mut self) -> Infallible {
        let mut waits = BACKOFF.build();
        loop {
            let begun = Instant::now();
            if self.turn().await {
                waits = BACKOFF.build();
                sleep_until(begun + BETWEEN_LOOKS).await;
            } else {
                sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
            }
        }
    }

    /// Settles the bundle, then waits for a reason to look again; false if something failed and is better not hurried.
    async fn turn(&mut self) -> bool {
        let version = match self.settle().await {
            Ok(version) => version,
            Err(error) => {
                self.failed(&error);
                return false;
            }
        };
        self.keeping.is_over();
        match self.change(&version).await {
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

    /// Puts the bundle in if it is not there. What is read back decides, not what the apply answered.
    async fn settle(&self) -> Result<String, KeepError> {
        let Look { found, version } = self.look().await?;
        let Some(configuration) = found else { return Ok(self.note(Keeping::Missing, version)) };
        if is_in_sync(&configuration, &self.bundle) {
            return Ok(self.note(Keeping::InSync, version));
        }
        let applied = self.apply(&configuration).await;
        let Look { found, version } = self.look().await?;
        let uid = |configuration: &K| configuration.meta().uid.clone();
        match (found, applied) {
            (None, _) => Ok(self.note(Keeping::Missing, version)),
            (Some(now), _) if is_in_sync(&now, &self.bundle) => Ok(self.note(Keeping::InSync, version)),
            (Some(now), Err(error)) if uid(&now) == uid(&configuration) => Err(KeepError::Apply(error)),
            _ => Err(KeepError::Contested { kind: K::KIND.as_str(), name: self.name.clone() }),
        }
    }

    /// A listing of this one name: unlike a read of it, it has a version to watch from where nothing is found.
    async fn look(&self) -> Result<Look<K>, KeepError> {
        let what = format!("read the {} webhook configuration `{}`", K::KIND.as_str(), self.name);
        let only = ListParams::default().fields(&self.selector());
        let list = call(what, self.calls.list(&only)).await.map_err(KeepError::Look)?;
        Ok(Look { found: list.items.into_iter().next(), version: list.metadata.resource_version.unwrap_or_default() })
    }

    async fn apply(&self, configuration: &K) -> Result<(), CallError> {
        let what = format!("put the CA bundle into the {} webhook configuration `{}`", K::KIND.as_str(), self.name);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let body = Patch::Apply(patch(configuration, &self.bundle));
        let applied = call(what, self.calls.patch(&self.name, &params, &body)).await;
        self.metrics.patched(K::KIND, if applied.is_ok() { Outcome::Applied } else { Outcome::Failed });
        applied.map(|_| ())
    }

    /// Waits until the configuration changes, or the watch has lasted its time.
    async fn change(&self, version: &str) -> Result<(), CallError> {
        let what = format!("watch the {} webhook configuration `{}`", K::KIND.as_str(), self.name);
        let seconds = u32::try_from(WATCH_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
        let only = WatchParams::default().fields(&self.selector()).timeout(seconds);
        let events = call(what.clone(), self.watches.watch_metadata(&only, version)).await?;
        let mut events = pin!(events);
        let change = async {
            loop {
                match events.next().await {
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    // An error event is an expired version as a rule: the next look has a fresh one.
                    Some(Ok(_)) | None => return Ok(()),
                    Some(Err(source)) => return Err(CallError::Failed { what, source: Box::new(source) }),
                }
            }
        };
        timeout(WATCH_TIMEOUT + WATCH_SLACK, change).await.unwrap_or(Ok(()))
    }

    fn selector(&self) -> String {
        format!("metadata.name={}", self.name)
    }

    /// Publishes what was found, says it if it is news, and hands the version on.
    fn note(&self, keeping: Keeping, version: String) -> String {
        let (kind, name) = (K::KIND.as_str(), &self.name);
        let missing = keeping == Keeping::Missing;
        if self.publish(keeping) {
            if missing {
                let flag = K::KIND.flag();
                warn!(
                    configuration = %name,
                    "There is no {kind} webhook configuration `{name}`: install it, or name another one with {flag}; \
                     it is used as soon as it exists"
                );
            } else {
                info!(configuration = %name, "Our CA bundle stands in the {kind} webhook configuration `{name}`");
            }
        }
        version
    }

    fn failed(&mut self, error: &KeepError) {
        let words = match error {
            KeepError::Look(error) | KeepError::Apply(error) => words(error),
            KeepError::Contested { .. } => error.to_string(),
        };
        self.keeping.tell(&words);
        // Not being able to look says nothing about the configuration: what was read last stands.
        let known = self.status.borrow().of(K::KIND).cloned().unwrap_or_default();
        if !matches!((error, known), (KeepError::Look(_), Keeping::InSync | Keeping::Missing)) {
            self.publish(Keeping::Failed(words));
        }
    }

    fn publish(&self, keeping: Keeping) -> bool {
        self.metrics.found(K::KIND, &keeping);
        self.status.send_if_modified(|status| status.note(K::KIND, keeping))
    }
}

/// A failure that may last: told when it begins, when it changes, and when it is over.
#[derive(Debug, Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, words: &str) {
        if self.0.as_deref() != Some(words) {
            warn!("{words}; trying again");
            self.0 = Some(words.to_owned());
        }
    }

    fn is_over(&mut self) {
        if let Some(words) = self.0.take() {
            info!("No longer: {words}");
        }
    }
}

/// The API server's own sentence where it gave one: kube's text of it repeats it with all its fields.
fn words(error: &CallError) -> String {
    match error.status() {
        Some(status) => format!("{error}: {}", status.message),
        None => chain(error),
    }
}
