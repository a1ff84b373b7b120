//! The service: a watch of Snapshots feeds the queue. One Snapshot is saved at a time; the upkeep of the node store and the inventory
//! of archives run beside it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::snapshot::{Snapshot, WatchedSnapshot};
use snapwatcher_daemon::admin::{CheckHandle, Gate, Health};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::backoff::Backoff;
use snapwatcher_kubernetes::cluster::{Cluster, WatchStreamError, watch};

use crate::inventory::inventory;
use crate::known::uid;
use crate::metrics::AgentMetrics;
use crate::queue::{Key, Queue};
use crate::save::save;
use crate::save_error::{Consequence, SaveError};
use crate::settings::AgentSettings;
use crate::shared::Shared;
use crate::state_folder::StateFolderError;
use crate::task::{Task, task};
use crate::upkeep::upkeep;

/// How many items of a watch are taken at once.
const BATCH: usize = 64;
/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The agent.
pub struct AgentService {
    cluster: Cluster,
    shared: Arc<Shared>,
    checks: AgentChecks,
}

/// The health checks of the agent.
pub struct AgentChecks {
    watch: CheckHandle,
    store: CheckHandle,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    StateFolder(#[from] StateFolderError),
    #[error("a step panicked: {0}")]
    Panicked(String),
}

/// What has ended.
enum Ended {
    Save(Key, Result<(), SaveError>),
    Upkeep(Result<(), SaveError>),
    Inventory(Result<(), SaveError>),
}

type Watched = (usize, Result<Event<WatchedSnapshot>, WatchStreamError>);

struct Running {
    shared: Arc<Shared>,
    checks: AgentChecks,
    queue: Queue,
    tasks: JoinSet<Ended>,
    watches: BoxStream<'static, Watched>,
    /// The Snapshot that is being saved.
    saving: Option<Key>,
    /// Snapshots that are saved without a copy, because the disk of the node store has failed.
    without_copy: HashSet<Key>,
    /// When upkeep and inventory are due, by the monotonic clock; `None` while one runs.
    upkeep: Option<Duration>,
    inventory: Option<Duration>,
}

impl AgentChecks {
    pub fn new(health: &mut Health) -> Self {
        Self {
            watch: health.check("snapshots", Gate::Readiness),
            store: health.check("node-store", Gate::Informational),
        }
    }
}

impl AgentService {
    /// Opens the node store.
    pub fn new(
        cluster: Cluster,
        settings: AgentSettings,
        metrics: AgentMetrics,
        checks: AgentChecks,
        stop: CancellationToken,
    ) -> Result<Self, AgentError> {
        let shared = Arc::new(Shared::new(&cluster, settings, metrics, stop)?);
        Ok(Self { cluster, shared, checks })
    }

    /// Runs until the stop. What was begun is continued at the next start.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AgentError> {
        let Self { cluster, shared, checks } = self;
        let times = shared.settings.times;
        let mut running = Running {
            queue: Queue::new(Backoff::new(times.first_retry, times.longest_retry)),
            tasks: JoinSet::new(),
            watches: watches(&cluster, &shared),
            saving: None,
            without_copy: HashSet::new(),
            upkeep: Some(clock::since_boot()),
            // Agents that start together do not list the Checkpoints together.
            inventory: Some(clock::since_boot() + times.inventory_every.mul_f64(0.02 + 0.2 * fastrand::f64())),
            shared,
            checks,
        };
        while !stop.is_cancelled() {
            running.start_due();
            let wait = running.wait();
            tokio::select! {
                () = stop.cancelled() => {}
                Some(joined) = running.tasks.join_next() => running.ended(joined)?,
                Some(item) = running.watches.next() => {
                    running.item(item);
                    for _ in 1..BATCH {
                        let Some(Some(item)) = running.watches.next().now_or_never() else { break };
                        running.item(item);
                    }
                }
                () = sleep(wait) => {}
            }
        }
        // A thread that reads an archive sees the stop at its next read.
        running.tasks.shutdown().await;
        Ok(())
    }
}

fn watches(cluster: &Cluster, shared: &Shared) -> BoxStream<'static, Watched> {
    let watches = shared.settings.scopes.iter().enumerate().map(|(number, scope)| {
        let (client, timeout) = (&cluster.watches, cluster.watch_timeout);
        let watch = watch::<WatchedSnapshot, _>(client, scope, timeout, watcher::Config::default(), || ());
        watch.map(move |item| (number, item)).boxed()
    });
    stream::select_all(watches.collect::<Vec<_>>()).boxed()
}

impl Running {
    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let queued = if self.saving.is_none() { self.queue.next_due() } else { None };
        let due = [queued, self.upkeep, self.inventory].into_iter().flatten().min();
        due.map_or(LONGEST_SLEEP, |due| due.saturating_sub(clock::since_boot()).min(LONGEST_SLEEP))
    }

    fn start_due(&mut self) {
        let now = clock::since_boot();
        if self.upkeep.is_some_and(|due| due <= now) {
            self.upkeep = None;
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move { Ended::Upkeep(Box::pin(upkeep(&shared)).await) });
        }
        if self.inventory.is_some_and(|due| due <= now) {
            self.inventory = None;
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move { Ended::Inventory(Box::pin(inventory(&shared)).await) });
        }
        if self.saving.is_none()
            && let Some(key) = self.queue.next(now)
        {
            self.saving = Some(key.clone());
            let (shared, unpacks) = (Arc::clone(&self.shared), !self.without_copy.contains(&key));
            self.tasks.spawn(async move {
                let result = Box::pin(save(&shared, &key, unpacks)).await;
                Ended::Save(key, result)
            });
        }
        self.shared.metrics.waiting(self.queue.len());
    }

    fn ended(&mut self, joined: Result<Ended, JoinError>) -> Result<(), AgentError> {
        let now = clock::since_boot();
        let times = self.shared.settings.times;
        match joined.map_err(|error| AgentError::Panicked(join_error_message(error)))? {
            Ended::Save(key, result) => {
                self.saving = None;
                self.saved(&key, result, now);
            }
            Ended::Upkeep(result) => {
                self.upkeep = Some(now + times.upkeep_every);
                match &result {
                    Ok(()) => self.checks.store.pass(),
                    Err(error) => self.checks.store.fail(error_chain(error)),
                }
                self.report("look after the node store", result);
            }
            Ended::Inventory(result) => {
                self.inventory = Some(now + times.inventory_every);
                self.report("compare the archives on this node with the Checkpoints", result);
            }
        }
        for key in self.shared.take_evicted() {
            self.queue.add(key, now);
        }
        Ok(())
    }

    fn saved(&mut self, key: &Key, result: Result<(), SaveError>, now: Duration) {
        let Err(error) = result else {
            self.without_copy.remove(key);
            self.queue.remove(key);
            return;
        };
        let Key { namespace, name } = key;
        if error.is_of_store() && self.shared.repository.is_some() {
            self.without_copy.insert(key.clone());
        }
        match error.consequence() {
            Consequence::Refused(reason) => {
                self.shared.metrics.refused();
                tracing::warn!(
                    namespace,
                    snapshot = name,
                    reason,
                    "The archive of Snapshot `{namespace}/{name}` is refused: {}",
                    error_chain(&error)
                );
                self.queue.remove(key);
            }
            Consequence::Waiting(_) | Consequence::Unreported => {
                self.shared.metrics.failed();
                if self.shared.may_warn(namespace, &format!("{name} {}", error.consequence_word())) {
                    tracing::warn!(
                        namespace,
                        snapshot = name,
                        "Snapshot `{namespace}/{name}` is not saved yet, retrying: {}",
                        error_chain(&error)
                    );
                }
                self.queue.failed(key, error.retry_after(), now);
            }
        }
    }

    fn report(&self, what: &str, result: Result<(), SaveError>) {
        if let Err(error) = result {
            self.shared.metrics.failed();
            if self.shared.may_warn("", &format!("{what} {}", error.consequence_word())) {
                tracing::warn!("Could not {what}, retrying: {}", error_chain(&error));
            }
        }
    }

    fn item(&mut self, (scope, item): Watched) {
        match item {
            Ok(Event::Init) => self.shared.known().begin(scope),
            Ok(Event::InitDone) => {
                self.shared.known().end(scope);
                if self.shared.known().is_complete() {
                    self.checks.watch.pass();
                }
            }
            Ok(Event::InitApply(snapshot) | Event::Apply(snapshot)) => self.snapshot(scope, &snapshot.into()),
            Ok(Event::Delete(snapshot)) => {
                let snapshot = Snapshot::from(snapshot);
                self.shared.known().remove(&snapshot);
                // What the node has of it is deleted now, not at the next look.
                if uid(&snapshot).is_some_and(|id| self.shared.store.entry(id).is_some()) && self.upkeep.is_some() {
                    self.upkeep = Some(clock::since_boot());
                }
            }
            Err(fault) => {
                let fault = error_chain(&fault);
                self.shared.metrics.failed();
                if self.shared.may_warn("", &fault) {
                    tracing::warn!("Watch of Snapshots: {fault}. The watch continues");
                }
            }
        }
    }

    fn snapshot(&mut self, scope: usize, snapshot: &Snapshot) {
        self.shared.known().put(scope, snapshot);
        let journal = uid(snapshot).and_then(|id| self.shared.store.entry(id));
        let key = Key { namespace: snapshot.namespace().unwrap_or_default(), name: snapshot.name_any() };
        if task(snapshot, &self.shared.settings.node, journal.as_ref()) != Task::Nothing {
            self.queue.add(key, clock::since_boot());
        }
    }
}
