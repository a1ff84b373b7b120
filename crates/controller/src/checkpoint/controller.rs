//! The controller of Checkpoints. One watch for each scope feeds the index, the slots, the observations and the timelines;
//! Checkpoints that are not finished are reconciled.
//!
//! A reconcile only decides, and sends a command to the scheduler of attempts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, future, stream};
use kube::ResourceExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{Action, Controller, Error as ControllerError};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{Scope, WatchStreamError, watch};

use super::attempt_observations::AttemptObservations;
use super::attempt_scheduler::SchedulerCommand;
use super::checkpoint_index::{CheckpointIndex, IndexChanges, Reclaim};
use super::claim::ClaimError;
use super::concurrency_limiter::ConcurrencyLimiter;
use super::fields;
use super::transitions::{Holder, NextStep, RetryPolicy, plan};
use crate::context::ControllerContext;

/// A Checkpoint that needs a step is reconciled again after this time, even without an event.
const RECHECK_AFTER: Duration = Duration::from_secs(300);

/// Follows the Checkpoints of one scope.
#[derive(Clone)]
pub(crate) struct CheckpointController {
    pub context: ControllerContext,
    pub index: Arc<CheckpointIndex>,
    pub observations: Arc<AttemptObservations>,
    pub limiter: ConcurrencyLimiter,
    pub holder: Holder,
    pub policy: RetryPolicy,
    pub commands: mpsc::UnboundedSender<SchedulerCommand>,
    pub reclaims: mpsc::UnboundedSender<Reclaim>,
    /// A slot that was taken before this leadership and that no listing has shown does not count after this time.
    pub stale_slots_expire_at: Instant,
}

impl CheckpointController {
    /// Runs until the stop. `changed` receives the pods for which an attempt may be waiting.
    pub(crate) async fn run(
        self,
        index: usize,
        scope: Scope,
        changed: mpsc::UnboundedReceiver<PodName>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let (unfinished, writer) = reflector::store();
        let reconciler = Arc::new(self.clone());
        let check = self.context.checks.definition.clone();
        let (config, on_established) = (watcher::Config::default(), move || check.pass());
        let cluster = &self.context.cluster;
        let items = watch::<Checkpoint, _>(&cluster.watches, &scope, cluster.watch_timeout, config, on_established);
        let events = items.filter_map(move |item| future::ready(self.handle(index, item).map(Ok)));
        let trigger = events.reflect(writer).applied_objects();
        let changed = affected_by(changed, unfinished.clone());
        let results = Controller::for_stream(trigger, unfinished)
            .reconcile_on(changed)
            .run(reconcile, |_, never: &Infallible, _| match *never {}, reconciler)
            .for_each(|result| {
                log_failure(result);
                future::ready(())
            });
        // The controller is dropped at the stop instead of being shut down: a reconcile only decides, so nothing is lost.
        stop.run_until_cancelled(results).await;
        Ok(())
    }

    /// Takes over one item of the watch, and returns the event for the store of unfinished Checkpoints.
    fn handle(&self, index: usize, item: Result<Event<Checkpoint>, WatchStreamError>) -> Option<Event<Checkpoint>> {
        let event = match item {
            Ok(event) => event,
            Err(fault) => {
                self.report_fault(&fault);
                return None;
            }
        };
        if matches!(event, Event::InitDone | Event::Apply(_)) {
            self.context.checks.definition.pass();
        }
        match &event {
            Event::InitApply(checkpoint) | Event::Apply(checkpoint) => {
                self.update_timeline(checkpoint);
                self.observe(&checkpoint.uid().unwrap_or_default(), Some(checkpoint));
            }
            Event::Delete(checkpoint) => self.observe(&checkpoint.uid().unwrap_or_default(), None),
            Event::Init | Event::InitDone => {}
        }
        let IndexChanges { reclaim, removed_uids } = self.index.apply(index, &event);
        for uid in removed_uids {
            self.observe(&uid, None);
        }
        if let Some(reclaim) = reclaim {
            let _ = self.reclaims.send(reclaim); // fails only after the pod watch has ended, with the leadership
        }
        match event.modify(|checkpoint| checkpoint.metadata.managed_fields = None) {
            Event::Apply(checkpoint) if checkpoint.phase().is_final() => Some(Event::Delete(checkpoint)),
            Event::InitApply(checkpoint) if checkpoint.phase().is_final() => None,
            event => Some(event),
        }
    }

    /// Updates the slot and the observation of a Checkpoint. `None`: it was deleted.
    fn observe(&self, uid: &str, checkpoint: Option<&Checkpoint>) {
        self.limiter.observe(uid, checkpoint);
        self.observations.observe(uid, checkpoint);
        self.command(SchedulerCommand::Recheck);
    }

    fn command(&self, command: SchedulerCommand) {
        let _ = self.commands.send(command); // fails only after the scheduler has ended, with the process
    }

    /// Copies the stages of a Checkpoint into the timeline of its pod.
    fn update_timeline(&self, checkpoint: &Checkpoint) {
        let (Some(uid), Some(container)) = (fields::pod_uid(checkpoint), fields::container(checkpoint)) else { return };
        let status = checkpoint.status.as_ref();
        let named = checkpoint.spec.pod.as_ref().map(|pod| &pod.name);
        let resolved = || status.and_then(|status| status.pod.as_ref()).map(|pod| &pod.name);
        let Some(name) = named.or_else(resolved) else { return };
        let pod = PodName { namespace: checkpoint.namespace().unwrap_or_default(), name: name.clone() };
        self.context.timelines.update_container(&pod, uid, container, |timeline| {
            timeline.checkpoint = Some(checkpoint.name_any());
            let claimed = checkpoint.metadata.creation_timestamp.as_ref().map(|created| created.0);
            timeline.claimed = timeline.claimed.or(claimed);
            let Some(status) = status else { return };
            timeline.requested = timeline.requested.or(status.start_time.as_ref().map(|start| start.0));
            if checkpoint.phase().is_final() {
                timeline.finished = timeline.finished.or(status.completion_time.as_ref().map(|done| done.0));
                timeline.outcome = checkpoint.reason().map(str::to_owned);
            }
        });
    }

    fn report_fault(&self, fault: &WatchStreamError) {
        let WatchStreamError::Interrupted { source } = fault else {
            self.context.checkpoint_metrics.undecodable();
            return tracing::warn!("Watch of Checkpoints: {}. Other Checkpoints are still watched", error_chain(fault));
        };
        self.context.checkpoint_metrics.watch_interrupted();
        match source {
            // The code decides, because for an unknown API group the API server responds in plain text, without a reason.
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                self.context.checks.definition.fail(ClaimError::NoDefinition.to_string());
            }
            _ => self.context.checks.definition.fail(error_chain(fault)),
        }
    }
}

async fn reconcile(checkpoint: Arc<Checkpoint>, controller: Arc<CheckpointController>) -> Result<Action, Infallible> {
    let age = controller.observations.age(&checkpoint.uid().unwrap_or_default());
    Ok(match plan(&checkpoint, &controller.holder, &controller.policy, age, clock::now()) {
        NextStep::Rest => Action::await_change(),
        NextStep::After(wait) => Action::requeue(wait),
        NextStep::Attempt => {
            // Until every scope is listed, slots that an earlier leader took there are not known. A scope that cannot be
            // listed delays the others for only as long as such a slot can count.
            let _ = timeout_at(controller.stale_slots_expire_at, controller.index.until_all_listed()).await;
            controller.command(SchedulerCommand::Attempt(checkpoint));
            Action::requeue(RECHECK_AFTER)
        }
        NextStep::MarkInterrupted => {
            controller.command(SchedulerCommand::MarkInterrupted(checkpoint));
            Action::requeue(RECHECK_AFTER)
        }
    })
}

/// The unfinished Checkpoints that may depend on a changed pod.
fn affected_by(
    changed: mpsc::UnboundedReceiver<PodName>,
    unfinished: Store<Checkpoint>,
) -> impl Stream<Item = ObjectRef<Checkpoint>> {
    let pods = stream::unfold(changed, |mut changed| async { changed.recv().await.map(|pod| (pod, changed)) });
    pods.flat_map(move |pod| {
        let affected = unfinished.state_filter(|checkpoint| {
            checkpoint.metadata.namespace.as_deref() == Some(&pod.namespace)
                && checkpoint.spec.pod.as_ref().is_none_or(|named| named.name == pod.name)
        });
        stream::iter(affected.into_iter().map(|checkpoint| ObjectRef::from_obj(&*checkpoint)))
    })
}

fn log_failure(result: Result<(ObjectRef<Checkpoint>, Action), ControllerError<Infallible, watcher::Error>>) {
    match result {
        // ObjectNotFound: the Checkpoint was finished or deleted before its reconcile.
        Ok(_) | Err(ControllerError::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!("Could not reconcile a Checkpoint, retrying: {}", error_chain(&error)),
    }
}
