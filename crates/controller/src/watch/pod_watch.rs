//! The service around the table: streams of pods in, claims out.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::runtime::watcher::{self, Event};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue::Key};

use crate::checkpoint::checkpoint_index::Forgotten;
use crate::checkpoint::claim::{Claim, ClaimError, Claimed};
use crate::checkpoint::known_pods::KnownPods;
use crate::checkpoint::metrics::CheckpointMetrics;
use crate::watch::log_block::{self, Block, SeenAs};
use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};
use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::cluster::{Scope, WatchFault, watch};
use snapwatcher_kubernetes::events::{Events, INVALID_ANNOTATION};
use snapwatcher_kubernetes::owner::OwnerError;
use snapwatcher_state::PodTimelines;

use super::eligibility::Cause;
use super::metrics::WatchMetrics;
use super::missed_mutations::MissedMutations;
use super::pod_table::{Table, Task};

/// Claims under way at once; each is two or three calls to the API server.
const CLAIMS: usize = 16;
/// The wait before a failed claim is made again; it doubles.
const CLAIM_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// Looked at again after this at the latest, however far the pod's own clock is ahead: timers end at some years.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);

/// What the watch works with.
pub struct Watch {
    pub client: Client,
    pub watch_timeout: Duration,
    pub scopes: Vec<Scope>,
    pub state: PodTimelines,
    pub claim: Arc<dyn Claim>,
    pub slips: MissedMutations,
    pub events: Events,
    /// Pods of which records were deleted.
    pub forgotten: mpsc::UnboundedReceiver<Forgotten>,
    /// Called with each pod whose waiting attempt may go on.
    pub changed: Box<dyn Fn(PodName) + Send + Sync>,
    /// Told of each watched pod.
    pub alive: KnownPods,
    pub metrics: WatchMetrics,
    pub checkpoint_metrics: CheckpointMetrics,
    pub watch_check: CheckHandle,
    pub definition_check: CheckHandle,
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("a claim panicked: {0}")]
    Panicked(String),
}

/// One claim that came to its end.
struct Ended {
    pod: PodFacts,
    container: String,
    seen_as: SeenAs,
    result: Result<Claimed, ClaimError>,
}

/// The moving parts while the service runs.
struct Running {
    watch: Arc<Watch>,
    table: Table,
    claims: JoinSet<Option<Ended>>,
    slots: Arc<Semaphore>,
    delays: DelayQueue<String>,
    /// The entry of each pod in `delays`.
    delayed: HashMap<String, Key>,
    stop: CancellationToken,
}

impl Watch {
    /// Watches until the stop; claims under way are then finished.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), WatchError> {
        let config = watcher::Config::default().labels(&format!("{SNAP}={OPTED_IN}"));
        let events = self.scopes.iter().enumerate().map(|(scope, namespaces)| {
            let check = self.watch_check.clone();
            let stands = move || check.pass();
            watch::<WatchedPod, _>(&self.client, namespaces, self.watch_timeout, config.clone(), stands)
                .map(move |item| (scope, item))
                .boxed()
        });
        let mut events = stream::select_all(events);
        let (_keep_open, nothing) = mpsc::unbounded_channel();
        let mut forgotten = std::mem::replace(&mut self.forgotten, nothing);
        let alive = self.alive.clone();
        let mut running = Running {
            watch: Arc::new(self),
            table: Table::new(alive),
            claims: JoinSet::new(),
            slots: Arc::new(Semaphore::new(CLAIMS)),
            delays: DelayQueue::new(),
            delayed: HashMap::new(),
            stop: stop.clone(),
        };
        loop {
            let now = clock::now;
            // All branches take whole items from queues: dropping one at an await loses nothing.
            let tasks = tokio::select! {
                () = stop.cancelled() => break,
                Some((scope, item)) = events.next() => running.event(scope, item, now()),
                Some(joined) = running.claims.join_next() => match joined {
                    Ok(ended) => ended.map(|ended| running.ended(ended, now())).unwrap_or_default(),
                    Err(error) => return Err(WatchError::Panicked(join_error_message(error))),
                },
                uid = due(&mut running.delays) => {
                    running.delayed.remove(&uid);
                    running.table.look_again(&uid, now())
                }
                Some(first) = forgotten.recv() => running.forget(first, &mut forgotten, now()),
            };
            running.carry_out(tasks, now());
        }
        while let Some(joined) = running.claims.join_next().await {
            match joined {
                Ok(ended) => drop(ended.map(|ended| running.ended(ended, clock::now()))),
                Err(error) => return Err(WatchError::Panicked(join_error_message(error))),
            }
        }
        Ok(())
    }

    /// Puts a claim into the timeline of its pod.
    fn join(&self, pod: &PodFacts, container: &str, claimed: &Claimed, at: Timestamp) {
        self.state.container(&pod.name, &pod.uid, container, |timeline| match claimed {
            Claimed::New { record, .. } => {
                timeline.checkpoint.clone_from(record);
                timeline.claimed = Some(at);
            }
            Claimed::Before { record } => timeline.checkpoint = record.clone().or(timeline.checkpoint.take()),
        });
    }
}

impl Running {
    fn event(&mut self, scope: usize, item: Result<Event<WatchedPod>, WatchFault>, now: Timestamp) -> Vec<Task> {
        match item {
            Ok(event) => {
                if matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_)) {
                    self.watch.watch_check.pass();
                }
                let tasks = self.table.apply(scope, event, now);
                self.watch.metrics.watched(self.table.len());
                tasks
            }
            Err(fault @ WatchFault::Undecodable { .. }) => {
                self.watch.metrics.skipped();
                tracing::warn!("Watching pods: {}", error_chain(&fault));
                Vec::new()
            }
            Err(fault @ WatchFault::Interrupted { .. }) => {
                self.watch.metrics.interrupted();
                self.watch.watch_check.fail(error_chain(&fault));
                Vec::new()
            }
        }
    }

    /// Deletions come in bursts: one look at all pods serves any number of them.
    fn forget(&mut self, first: Forgotten, more: &mut mpsc::UnboundedReceiver<Forgotten>, now: Timestamp) -> Vec<Task> {
        let mut pods = Vec::new();
        let mut next = Some(first);
        while let Some(forgotten) = next {
            match forgotten {
                Forgotten::Pod(uid) => pods.push(uid),
                Forgotten::Some => {
                    while more.try_recv().is_ok() {}
                    return self.table.forget_claims(None, now);
                }
            }
            next = more.try_recv().ok();
        }
        pods.iter().flat_map(|uid| self.table.forget_claims(Some(uid), now)).collect()
    }

    fn carry_out(&mut self, tasks: Vec<Task>, now: Timestamp) {
        for task in tasks {
            match task {
                Task::Seen(pod) => self.watch.state.seen(&pod, now),
                Task::Claim { pod, container, seen_as } => self.claim(pod, container, seen_as, now),
                Task::Changed(pod) => (self.watch.changed)(pod),
                Task::LookAgain { uid, at } => self.look_again_at(uid, at, now),
                Task::Held { pod, cause } => self.held(&pod, &cause),
                Task::Freed(pod) => self.watch.state.unblocked(&pod),
            }
        }
    }

    fn claim(&mut self, pod: PodFacts, container: String, seen_as: SeenAs, now: Timestamp) {
        self.watch.state.ready(&pod, now);
        // So that no timeline of several containers looks done while one of them has not begun.
        self.watch.state.container(&pod.name, &pod.uid, &container, |_| {});
        let (watch, slots, stop) = (self.watch.clone(), self.slots.clone(), self.stop.clone());
        self.claims.spawn(async move {
            let _slot = slots.acquire().await.ok()?;
            // Without its listing of records a claim waits, and at the stop it need not.
            stop.run_until_cancelled(watch.claim.ready(&pod.name.namespace)).await?;
            let result = watch.claim.claim(&pod, &container).await;
            watch.checkpoint_metrics.claimed(&result);
            if let Ok(claimed) = &result {
                // Now, not when this task is joined: the attempt may have come to its end by then.
                watch.join(&pod, &container, claimed, clock::now());
            }
            if matches!(result, Ok(Claimed::New { .. })) {
                watch.slips.look(&pod).await;
            }
            Some(Ended { pod, container, seen_as, result })
        });
    }

    fn look_again_at(&mut self, uid: String, at: Timestamp, now: Timestamp) {
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(LONGEST_DELAY);
        match self.delayed.get(&uid) {
            Some(key) => self.delays.reset(key, wait),
            None => drop(self.delayed.insert(uid.clone(), self.delays.insert(uid, wait))),
        }
    }

    fn held(&self, pod: &PodFacts, cause: &Cause) {
        self.watch.state.waits(pod, &cause.to_string());
        if let Cause::InvalidAnnotation(problem) = cause {
            self.watch.events.warn(pod, INVALID_ANNOTATION, format!("the pod is never checkpointed: {problem}"));
            tracing::warn!(
                namespace = pod.name.namespace,
                pod = pod.name.name,
                reason = cause.as_str(),
                "Pod {} is never checkpointed: {problem}",
                pod.name
            );
        } else {
            tracing::debug!(
                namespace = pod.name.namespace,
                pod = pod.name.name,
                reason = cause.as_str(),
                "Pod {} is held back: {cause}",
                pod.name
            );
        }
    }

    fn ended(&mut self, ended: Ended, now: Timestamp) -> Vec<Task> {
        let Ended { pod, container, seen_as, result } = ended;
        let claimed = match result {
            Ok(claimed) => claimed,
            Err(error) => return self.unclaimed(&pod, &container, &error, now),
        };
        let again = self.table.claimed(&pod.uid, &container, now);
        if let Claimed::New { workload, node, .. } = claimed {
            self.watch.definition_check.pass();
            let workload = log_block::Workload { kind: workload.kind, name: workload.name };
            log_block::print(&Block { event: seen_as, pod: pod.name, workload, container, node });
        }
        again.into_iter().collect()
    }

    fn unclaimed(&mut self, pod: &PodFacts, container: &str, error: &ClaimError, now: Timestamp) -> Vec<Task> {
        let again = match error {
            // The next state of the pod decides. One whose controller is gone is about to be collected.
            ClaimError::Refused(_) | ClaimError::Owner(OwnerError::Gone { .. }) => {
                self.table.refused(&pod.uid, container);
                None
            }
            ClaimError::NamespaceTerminating(_) => self.table.claimed(&pod.uid, container, now),
            ClaimError::NoDefinition => {
                self.watch.definition_check.fail(error.to_string());
                self.table.failed(&pod.uid, container, CLAIM_AGAIN, now)
            }
            ClaimError::Owner(OwnerError::LookUp { .. }) | ClaimError::NoName | ClaimError::Call(_) => {
                tracing::warn!(
                    namespace = pod.name.namespace,
                    pod = pod.name.name,
                    container,
                    "Pod {} is not claimed yet: {}",
                    pod.name,
                    error_chain(error)
                );
                self.table.failed(&pod.uid, container, CLAIM_AGAIN, now)
            }
        };
        self.watch.state.waits(pod, &error_chain(error));
        again.into_iter().collect()
    }
}

/// The next pod whose time has come; waits for ever while there is none.
async fn due(delays: &mut DelayQueue<String>) -> String {
    match delays.next().await {
        Some(expired) => expired.into_inner(),
        None => pending().await,
    }
}
