//! The service: feeds the queue of work by the watches of Checkpoints and Snapshots, and runs the rounds, while this replica leads.
//!
//! It keeps names and a few words of each Snapshot. Each decision is made from a live read, so two leaders at once do each other no
//! harm: creations and status writes are compare-and-swap.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use tokio::sync::watch as channel;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::snapshot::{ArchivedCheckpoint, Snapshot};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::cluster::{Cluster, Scope};
use snapwatcher_kubernetes::events::Events;

use crate::error::StepError;
use crate::metrics::SnapshotMetrics;
use crate::settings::SnapshotSettings;
use crate::shared::Shared;
use crate::watches::{WatchItem, report_fault, watches};
use crate::work_queue::{End, Key, Kind, WorkQueue};
use crate::{creation, judgement, retention, tags};

/// How many items of a watch are taken at once.
const BATCH: usize = 64;
/// The longest sleep, after which is looked whether objects were left out.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The least time between two listings because of objects that were left out.
const RELIST_AFTER: Duration = Duration::from_secs(600);
/// The first rounds of a leader come after this part of the time between two: a leader may not last.
const FIRST_ROUND: u32 = 6;

/// The service.
pub struct SnapshotsService {
    cluster: Cluster,
    shared: Arc<Shared>,
    leads: channel::Receiver<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotsError {
    #[error("a step panicked: {0}")]
    Panicked(String),
}

/// What has ended.
enum Ended {
    Work(Key, End),
    Retention,
    Tags,
}

/// When the rounds are due, by the monotonic clock; `None` while one runs.
struct Rounds {
    retention: Option<Duration>,
    tags: Option<Duration>,
}

struct Running {
    cluster: Cluster,
    shared: Arc<Shared>,
    queue: WorkQueue,
    tasks: JoinSet<Ended>,
    rounds: Rounds,
    relisted: Duration,
    watches: BoxStream<'static, WatchItem>,
    leads: bool,
}

impl SnapshotsService {
    /// The service works while `leads` is true.
    pub fn new(
        cluster: Cluster,
        settings: SnapshotSettings,
        events: Events,
        metrics: SnapshotMetrics,
        leads: channel::Receiver<bool>,
    ) -> Self {
        let shared = Arc::new(Shared::new(&cluster, settings, events, metrics));
        Self { cluster, shared, leads }
    }

    /// Runs until the stop. What was begun is repeated by the next leader.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SnapshotsError> {
        let Self { cluster, shared, mut leads } = self;
        let mut running = Running {
            cluster,
            shared,
            queue: WorkQueue::default(),
            tasks: JoinSet::new(),
            rounds: Rounds { retention: None, tags: None },
            relisted: Duration::ZERO,
            watches: stream::pending().boxed(),
            leads: false,
        };
        let is_leading = *leads.borrow_and_update();
        running.lead(is_leading).await;
        while !stop.is_cancelled() {
            running.start_due();
            let wait = running.wait();
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = leads.changed() => {
                    let is_leading = *leads.borrow_and_update();
                    running.lead(is_leading).await;
                }
                Some(joined) = running.tasks.join_next() => running.ended(joined)?,
                Some(item) = running.watches.next() => {
                    running.item(item);
                    for _ in 1..BATCH {
                        let Some(Some(item)) = running.watches.next().now_or_never() else { break };
                        running.item(item);
                    }
                    let (phases, bytes, stored_bytes) = running.shared.index().totals();
                    running.shared.metrics.seen(phases, bytes, stored_bytes);
                }
                () = sleep(wait) => {}
            }
        }
        running.tasks.shutdown().await;
        Ok(())
    }
}

impl Running {
    /// Begins or ends the work. Steps that run are cut off: each may be repeated.
    async fn lead(&mut self, leads: bool) {
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        self.tasks.shutdown().await;
        self.queue.clear();
        self.shared.index().clear();
        self.shared.metrics.seen([0; 5], 0, 0);
        if leads {
            let (now, settings) = (clock::since_boot(), &self.shared.settings);
            self.rounds = Rounds {
                retention: Some(now + settings.retention.every / FIRST_ROUND),
                tags: Some(now + settings.tags.every / FIRST_ROUND),
            };
            self.watch(now);
        } else {
            self.rounds = Rounds { retention: None, tags: None };
            self.watches = stream::pending().boxed();
        }
    }

    fn watch(&mut self, now: Duration) {
        self.relisted = now;
        self.watches = watches(&self.cluster, &self.shared.settings.scopes);
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let now = clock::since_boot();
        let due = [self.queue.next_due(), self.rounds.retention, self.rounds.tags].into_iter().flatten().min();
        due.map_or(LONGEST_SLEEP, |due| due.saturating_sub(now).min(LONGEST_SLEEP))
    }

    fn start_due(&mut self) {
        let now = clock::since_boot();
        if self.rounds.retention.is_some_and(|due| due <= now) {
            self.rounds.retention = None;
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move {
                Box::pin(retention::round(&shared)).await;
                Ended::Retention
            });
        }
        if self.rounds.tags.is_some_and(|due| due <= now) {
            self.rounds.tags = None;
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move {
                Box::pin(tags::round(&shared)).await;
                Ended::Tags
            });
        }
        if self.leads && now.saturating_sub(self.relisted) >= RELIST_AFTER && self.queue.take_left_out() {
            self.watch(now);
        }
        while let Some(key) = self.queue.start(now) {
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move {
                let end = Box::pin(work(&shared, &key)).await;
                Ended::Work(key, end)
            });
        }
    }

    fn ended(&mut self, joined: Result<Ended, JoinError>) -> Result<(), SnapshotsError> {
        let now = clock::since_boot();
        match joined.map_err(|error| SnapshotsError::Panicked(join_error_message(error)))? {
            Ended::Work(key, end) => {
                if self.queue.finish(&key, end, now) {
                    let Key { kind, namespace, name } = key;
                    let kind = kind.as_str();
                    tracing::warn!(
                        namespace,
                        name,
                        "The API server rejected all writes about {kind} `{namespace}/{name}`. It is left until it changes, or until \
                         SnapWatcher restarts"
                    );
                }
            }
            Ended::Retention => self.rounds.retention = Some(now + self.shared.settings.retention.every),
            Ended::Tags => self.rounds.tags = Some(now + self.shared.settings.tags.every),
        }
        Ok(())
    }

    fn item(&mut self, item: WatchItem) {
        match item {
            WatchItem::Checkpoint(Ok(event)) => match *event {
                Event::InitApply(checkpoint) | Event::Apply(checkpoint) => self.checkpoint(&checkpoint.into()),
                Event::Init | Event::InitDone | Event::Delete(_) => {}
            },
            WatchItem::Snapshot(scope, Ok(event)) => match *event {
                // What was deleted since the last listing is missing in this one.
                Event::Init => self.forget(scope),
                Event::InitApply(snapshot) | Event::Apply(snapshot) => self.snapshot(&snapshot.into()),
                Event::Delete(snapshot) => {
                    self.shared.index().remove(&snapshot.namespace().unwrap_or_default(), &snapshot.name_any());
                }
                Event::InitDone => {}
            },
            WatchItem::Checkpoint(Err(fault)) => report_fault(&self.shared, "Checkpoints", &fault),
            WatchItem::Snapshot(_, Err(fault)) => report_fault(&self.shared, "Snapshots", &fault),
        }
    }

    fn forget(&mut self, scope: usize) {
        match self.shared.settings.scopes.get(scope) {
            Some(Scope::Namespace(namespace)) => self.shared.index().remove_namespace(namespace),
            Some(Scope::All) | None => self.shared.index().clear(),
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        if let Some(ArchivedCheckpoint { namespace, name, .. }) = ArchivedCheckpoint::of(checkpoint) {
            self.queue.add(Key { kind: Kind::Checkpoint, namespace, name }, clock::since_boot());
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
        if !self.shared.index().put(snapshot) {
            if self.shared.may_warn(&namespace, "TooManySnapshots") {
                tracing::warn!(
                    namespace,
                    "Namespace `{namespace}` has more Snapshots than SnapWatcher creates. Some are not looked at: delete those that \
                     SnapWatcher has not created"
                );
            }
            return;
        }
        if judgement::is_worth_a_look(snapshot, self.shared.repository.is_some()) {
            self.queue.add(Key { kind: Kind::Snapshot, namespace, name }, clock::since_boot());
        }
    }
}

/// Works on one object, and reports a failure.
async fn work(shared: &Shared, key: &Key) -> End {
    let Key { kind, namespace, name } = key;
    let result = match kind {
        Kind::Checkpoint => creation::create_for(shared, namespace, name).await.map(|()| None),
        Kind::Snapshot => judgement::judge(shared, namespace, name).await,
    };
    match result {
        Ok(wait) => wait.map_or(End::Done, End::Later),
        Err(error) => failed(shared, key, &error),
    }
}

fn failed(shared: &Shared, Key { kind, namespace, name }: &Key, error: &StepError) -> End {
    let end = error.end();
    if let End::Failed { .. } = end {
        shared.metrics.failed();
        if shared.may_warn(namespace, &format!("{}/{name}", kind.as_str())) {
            let kind = kind.as_str();
            tracing::warn!(
                namespace,
                name,
                "Could not save or judge {kind} `{namespace}/{name}`, retrying: {}",
                error_chain(error)
            );
        }
    }
    end
}
