//! The service that watches pods: it feeds the events into the table and executes the actions.

use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::runtime::watcher::{self, Event};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::cluster::{Scope, WatchStreamError, watch};
use snapwatcher_kubernetes::events::INVALID_ANNOTATION;
use snapwatcher_kubernetes::workload::WorkloadError;

use super::eligibility::Ineligible;
use super::log_block::{self, BlockEvent, LogBlock};
use super::missed_mutation_report::MissedMutations;
use super::pod_table::{PodTable, WatchAction};
use super::recheck_queue::RecheckQueue;
use crate::checkpoint::checkpoint_index::Reclaim;
use crate::checkpoint::claim::{ClaimError, Claimed, Claimer};
use crate::checkpoint::known_pods::KnownPods;
use crate::context::ControllerContext;

/// How many claims run at once. Each makes two or three calls to the API server.
const MAX_CONCURRENT_CLAIMS: usize = 16;

/// The service.
pub(crate) struct PodWatch {
    pub context: ControllerContext,
    pub scopes: Vec<Scope>,
    pub claimer: Arc<dyn Claimer>,
    pub missed_mutations: MissedMutations,
    pub reclaims: mpsc::UnboundedReceiver<Reclaim>,
    /// Called with each pod for which an attempt may be waiting.
    pub on_pod_changed: Box<dyn Fn(PodName) + Send + Sync>,
    pub known_pods: KnownPods,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PodWatchError {
    #[error("a claim panicked: {0}")]
    Panicked(String),
}

/// The result of one claim.
struct FinishedClaim {
    pod: PodFacts,
    container: String,
    event: BlockEvent,
    result: Result<Claimed, ClaimError>,
}

/// The state of the service while it runs.
struct ActiveWatch {
    watch: Arc<PodWatch>,
    table: PodTable,
    claims: JoinSet<Option<FinishedClaim>>,
    claim_slots: Arc<Semaphore>,
    rechecks: RecheckQueue,
    stop: CancellationToken,
}

impl PodWatch {
    /// Watches until the stop. Claims under way are then finished.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), PodWatchError> {
        let config = watcher::Config::default().labels(&format!("{SNAP}={OPTED_IN}"));
        let cluster = &self.context.cluster;
        let events = self.scopes.iter().enumerate().map(|(number, scope)| {
            let check = self.context.checks.watch.clone();
            let on_established = move || check.pass();
            watch::<WatchedPod, _>(&cluster.watches, scope, cluster.watch_timeout, config.clone(), on_established)
                .map(move |item| (number, item))
                .boxed()
        });
        let mut events = stream::select_all(events);
        let (_keep_open, none) = mpsc::unbounded_channel();
        let mut reclaims = std::mem::replace(&mut self.reclaims, none);
        let known_pods = self.known_pods.clone();
        let mut active = ActiveWatch {
            watch: Arc::new(self),
            table: PodTable::new(known_pods),
            claims: JoinSet::new(),
            claim_slots: Arc::new(Semaphore::new(MAX_CONCURRENT_CLAIMS)),
            rechecks: RecheckQueue::default(),
            stop: stop.clone(),
        };
        loop {
            let now = clock::now;
            // Each branch takes whole items from a queue: if it is dropped at its await, nothing is lost.
            let actions = tokio::select! {
                () = stop.cancelled() => break,
                Some((scope, item)) = events.next() => active.event(scope, item, now()),
                Some(joined) = active.claims.join_next() => match joined {
                    Ok(finished) => finished.map(|finished| active.claim_finished(finished, now())).unwrap_or_default(),
                    Err(error) => return Err(PodWatchError::Panicked(join_error_message(error))),
                },
                uid = active.rechecks.next() => active.table.recheck(&uid, now()),
                Some(first) = reclaims.recv() => active.reclaim(first, &mut reclaims, now()),
            };
            active.execute(actions, now());
        }
        while let Some(joined) = active.claims.join_next().await {
            match joined {
                Ok(finished) => drop(finished.map(|finished| active.claim_finished(finished, clock::now()))),
                Err(error) => return Err(PodWatchError::Panicked(join_error_message(error))),
            }
        }
        Ok(())
    }

    /// Writes a claim into the timeline of its pod.
    fn update_timeline(&self, pod: &PodFacts, container: &str, claimed: &Claimed, at: Timestamp) {
        self.context.timelines.update_container(&pod.name, &pod.uid, container, |timeline| match claimed {
            Claimed::Created { checkpoint, .. } => {
                timeline.checkpoint.clone_from(checkpoint);
                timeline.claimed = Some(at);
            }
            Claimed::AlreadyClaimed { checkpoint } => {
                timeline.checkpoint = checkpoint.clone().or(timeline.checkpoint.take());
            }
        });
    }
}

impl ActiveWatch {
    fn event(
        &mut self,
        scope: usize,
        item: Result<Event<WatchedPod>, WatchStreamError>,
        now: Timestamp,
    ) -> Vec<WatchAction> {
        let ControllerContext { checks, watch_metrics, .. } = &self.watch.context;
        match item {
            Ok(event) => {
                if matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_)) {
                    checks.watch.pass();
                }
                let actions = self.table.apply(scope, event, now);
                watch_metrics.watched(self.table.len());
                actions
            }
            Err(fault @ WatchStreamError::Undecodable { .. }) => {
                watch_metrics.undecodable();
                tracing::warn!("Watch of pods: {}. Other pods are still watched", error_chain(&fault));
                Vec::new()
            }
            Err(fault @ WatchStreamError::Interrupted { .. }) => {
                watch_metrics.interrupted();
                checks.watch.fail(error_chain(&fault));
                Vec::new()
            }
        }
    }

    /// Checkpoints are deleted in bursts, so all that are queued are handled at once.
    fn reclaim(
        &mut self,
        first: Reclaim,
        more: &mut mpsc::UnboundedReceiver<Reclaim>,
        now: Timestamp,
    ) -> Vec<WatchAction> {
        let mut pods = Vec::new();
        let mut next = Some(first);
        while let Some(reclaim) = next {
            match reclaim {
                Reclaim::Pod(uid) => pods.push(uid),
                Reclaim::All => {
                    while more.try_recv().is_ok() {}
                    return self.table.reclaim(None, now);
                }
            }
            next = more.try_recv().ok();
        }
        pods.iter().flat_map(|uid| self.table.reclaim(Some(uid), now)).collect()
    }

    fn execute(&mut self, actions: Vec<WatchAction>, now: Timestamp) {
        for action in actions {
            match action {
                WatchAction::Seen(pod) => self.watch.context.timelines.seen(&pod, now),
                WatchAction::Claim { pod, container, event } => self.claim(pod, container, event, now),
                WatchAction::PodChanged(pod) => (self.watch.on_pod_changed)(pod),
                WatchAction::Recheck { uid, at } => self.rechecks.set(uid, at, now),
                WatchAction::Blocked { pod, cause } => self.blocked(&pod, &cause),
                WatchAction::Unblocked(pod) => self.watch.context.timelines.unblocked(&pod),
            }
        }
    }

    fn claim(&mut self, pod: PodFacts, container: String, event: BlockEvent, now: Timestamp) {
        let timelines = &self.watch.context.timelines;
        timelines.ready(&pod, now);
        // Adds the container, so that the timeline is not shown as finished while another container has not started.
        timelines.update_container(&pod.name, &pod.uid, &container, |_| {});
        let (watch, claim_slots, stop) = (self.watch.clone(), self.claim_slots.clone(), self.stop.clone());
        self.claims.spawn(async move {
            let _slot = claim_slots.acquire().await.ok()?;
            // A claim waits for the listing of Checkpoints. At the stop it is abandoned.
            stop.run_until_cancelled(watch.claimer.ready(&pod.name.namespace)).await?;
            let result = watch.claimer.claim(&pod, &container).await;
            watch.context.checkpoint_metrics.claimed(&result);
            if let Ok(claimed) = &result {
                // Not in `claim_finished`: the attempt may have ended before this task is joined.
                watch.update_timeline(&pod, &container, claimed, clock::now());
            }
            if matches!(result, Ok(Claimed::Created { .. })) {
                watch.missed_mutations.check(&pod).await;
            }
            Some(FinishedClaim { pod, container, event, result })
        });
    }

    fn blocked(&self, pod: &PodFacts, cause: &Ineligible) {
        self.watch.context.timelines.waiting_for(pod, &cause.to_string());
        let (PodName { namespace, name }, reason) = (&pod.name, cause.as_str());
        let Ineligible::InvalidAnnotation(problem) = cause else {
            return tracing::debug!(namespace, pod = name, reason, "Pod `{namespace}/{name}` is not eligible: {cause}");
        };
        let note = format!("The pod is not checkpointed: {problem}. Correct the annotation in the pod's template");
        self.watch.context.events.warn(pod, INVALID_ANNOTATION, note);
        tracing::warn!(
            namespace,
            pod = name,
            reason,
            "Pod `{namespace}/{name}` is not checkpointed: {problem}. Correct the annotation in the pod's template"
        );
    }

    fn claim_finished(&mut self, finished: FinishedClaim, now: Timestamp) -> Vec<WatchAction> {
        let FinishedClaim { pod, container, event, result } = finished;
        let claimed = match result {
            Ok(claimed) => claimed,
            Err(error) => return self.claim_failed(&pod, &container, &error, now),
        };
        let recheck = self.table.claim_made(&pod.uid, &container, now);
        if let Claimed::Created { workload, node, .. } = claimed {
            self.watch.context.checks.definition.pass();
            log_block::print(&LogBlock { event, pod: pod.name, workload, container, node });
        }
        recheck.into_iter().collect()
    }

    fn claim_failed(
        &mut self,
        pod: &PodFacts,
        container: &str,
        error: &ClaimError,
        now: Timestamp,
    ) -> Vec<WatchAction> {
        let recheck = match error {
            // The next state of the pod decides. A pod whose controller is gone will be garbage-collected.
            ClaimError::Ineligible(_) | ClaimError::Owner(WorkloadError::Gone { .. }) => {
                self.table.claim_ineligible(&pod.uid, container);
                None
            }
            ClaimError::NamespaceTerminating(_) => self.table.claim_made(&pod.uid, container, now),
            ClaimError::NoDefinition => {
                self.watch.context.checks.definition.fail(error.to_string());
                self.table.claim_failed(&pod.uid, container, now)
            }
            ClaimError::Owner(WorkloadError::Lookup { .. }) | ClaimError::NoName(_) | ClaimError::Call(_) => {
                let PodName { namespace, name } = &pod.name;
                tracing::warn!(
                    namespace,
                    pod = name,
                    container,
                    "Could not create the Checkpoint of pod `{namespace}/{name}`, container `{container}`, retrying: {}",
                    error_chain(error)
                );
                self.table.claim_failed(&pod.uid, container, now)
            }
        };
        self.watch.context.timelines.waiting_for(pod, &error_chain(error));
        recheck.into_iter().collect()
    }
}
