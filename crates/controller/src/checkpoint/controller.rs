//! The controller of `Checkpoint` objects: one watch of all records feeds the ledger; those that are not finished are
//! reconciled, and reconciling only decides.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, future, stream};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{Action, Controller, Error as ControllerError};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{Scope, WatchFault, watch};
use snapwatcher_state::PodTimelines;

use super::attempt_observations::AttemptObservations;
use super::attempt_scheduler::Wanted;
use super::checkpoint_index::{self, Changes, CheckpointIndex, Forgotten};
use super::claim::ClaimError;
use super::concurrency_limiter::ConcurrencyLimiter;
use super::metrics::CheckpointMetrics;
use super::transitions::{Holder, Policy, Step, plan};
use snapwatcher_api::checkpoint::Checkpoint;

/// A record that needs something is looked at again after this, whatever was told of it or of its pod meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Follows the records of one scope.
#[derive(Clone)]
pub struct Records {
    pub client: Client,
    pub watch_timeout: Duration,
    pub ledger: Arc<CheckpointIndex>,
    pub state: PodTimelines,
    pub metrics: CheckpointMetrics,
    pub definition_check: CheckHandle,
    /// How long each attempt has been seen as it is.
    pub sightings: Arc<AttemptObservations>,
    pub budget: ConcurrencyLimiter,
    pub holder: Holder,
    pub policy: Policy,
    /// Where records that need something done go.
    pub wanted: mpsc::UnboundedSender<Wanted>,
    /// Where the pods of deleted records go.
    pub forgotten: mpsc::UnboundedSender<Forgotten>,
    /// From then on a slot that was taken before this term and that no listing has told counts no more.
    pub known_by: Instant,
}

impl Records {
    /// Runs until the stop. `changed` tells pods on which an attempt may be waiting.
    pub async fn run(
        self,
        index: usize,
        scope: Scope,
        changed: mpsc::UnboundedReceiver<PodName>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let (unfinished, writer) = reflector::store();
        let deciding = Arc::new(self.clone());
        let check = self.definition_check.clone();
        let (config, stands) = (watcher::Config::default(), move || check.pass());
        let records = watch::<Checkpoint, _>(&self.client, &scope, self.watch_timeout, config, stands);
        let records = records.filter_map(move |item| future::ready(self.follow(index, item).map(Ok)));
        let trigger = records.reflect(writer).applied_objects();
        let changed = concerned(changed, unfinished.clone());
        let results = Controller::for_stream(trigger, unfinished)
            .reconcile_on(changed)
            .run(reconcile, |_, never: &Infallible, _| match *never {}, deciding)
            .for_each(|result| {
                tell(result);
                future::ready(())
            });
        // Dropped at the stop rather than shut down gracefully: a reconcile only decides, and nothing is lost with it.
        stop.run_until_cancelled(results).await;
        Ok(())
    }

    /// Notes one item of the watch, and passes on what the store of unfinished records is to know.
    fn follow(&self, index: usize, item: Result<Event<Checkpoint>, WatchFault>) -> Option<Event<Checkpoint>> {
        let event = match item {
            Ok(event) => event,
            Err(fault) => {
                self.tell(&fault);
                return None;
            }
        };
        if matches!(event, Event::InitDone | Event::Apply(_)) {
            self.definition_check.pass();
        }
        match &event {
            Event::InitApply(record) | Event::Apply(record) => {
                self.join(record);
                self.note(&record.uid().unwrap_or_default(), Some(record));
            }
            Event::Delete(record) => self.note(&record.uid().unwrap_or_default(), None),
            Event::Init | Event::InitDone => {}
        }
        let Changes { forgotten, missed } = self.ledger.apply(index, &event);
        for uid in missed {
            self.note(&uid, None);
        }
        if let Some(forgotten) = forgotten {
            let _ = self.forgotten.send(forgotten); // the watch of pods ends only with the process
        }
        match event.modify(|record| record.metadata.managed_fields = None) {
            Event::Apply(record) if record.phase().is_final() => Some(Event::Delete(record)),
            Event::InitApply(record) if record.phase().is_final() => None,
            event => Some(event),
        }
    }

    /// Counts the slot that a record shows, and the time since it shows its attempt; `None`: it is gone.
    fn note(&self, uid: &str, now: Option<&Checkpoint>) {
        self.budget.observe(uid, now);
        self.sightings.note(uid, now);
        self.want(Wanted::Look);
    }

    fn want(&self, wanted: Wanted) {
        let _ = self.wanted.send(wanted); // attempts end only with the process
    }

    /// Puts what a record tells into the timeline of its pod.
    fn join(&self, record: &Checkpoint) {
        let (Some(uid), Some(container)) = (checkpoint_index::pod_uid(record), checkpoint_index::container(record))
        else {
            return;
        };
        let wished = record.spec.pod.as_ref().map(|pod| &pod.name);
        let status = record.status.as_ref();
        let Some(name) = wished.or_else(|| status.and_then(|status| status.pod.as_ref()).map(|pod| &pod.name)) else {
            return;
        };
        let pod = PodName { namespace: record.namespace().unwrap_or_default(), name: name.clone() };
        self.state.container(&pod, uid, container, |timeline| {
            timeline.checkpoint = Some(record.name_any());
            let claimed = record.metadata.creation_timestamp.as_ref().map(|created| created.0);
            timeline.claimed = timeline.claimed.or(claimed);
            let Some(status) = status else { return };
            timeline.requested = timeline.requested.or(status.start_time.as_ref().map(|start| start.0));
            if record.phase().is_final() {
                timeline.finished = timeline.finished.or(status.completion_time.as_ref().map(|done| done.0));
                timeline.outcome = record.reason().map(str::to_owned);
            }
        });
    }

    fn tell(&self, fault: &WatchFault) {
        let WatchFault::Interrupted { source } = fault else {
            self.metrics.skipped();
            return tracing::warn!("Watching Checkpoints: {}", error_chain(fault));
        };
        self.metrics.watch_interrupted();
        match source {
            // By its code: of a group that it does not know, the API server says so in plain text, without a reason.
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                self.definition_check.fail(ClaimError::NoDefinition.to_string());
            }
            _ => self.definition_check.fail(error_chain(fault)),
        }
    }
}

async fn reconcile(record: Arc<Checkpoint>, records: Arc<Records>) -> Result<Action, Infallible> {
    let unchanged_for = records.sightings.unchanged_for(&record.uid().unwrap_or_default());
    Ok(match plan(&record, &records.holder, &records.policy, unchanged_for, clock::now()) {
        Step::Rest => Action::await_change(),
        Step::After(wait) => Action::requeue(wait),
        Step::Attempt => {
            // Until every scope is listed, slots that a leader before took there are not known. One that can't be
            // listed holds the others up for as long as such a slot may count, and no longer.
            let _ = timeout_at(records.known_by, records.ledger.complete()).await;
            records.want(Wanted::Attempt(record));
            Action::requeue(LOOK_AGAIN)
        }
        Step::GiveUp => {
            records.want(Wanted::GiveUp(record));
            Action::requeue(LOOK_AGAIN)
        }
    })
}

/// The unfinished records that a changed pod may concern.
fn concerned(
    changed: mpsc::UnboundedReceiver<PodName>,
    unfinished: Store<Checkpoint>,
) -> impl Stream<Item = ObjectRef<Checkpoint>> {
    let pods = stream::unfold(changed, |mut changed| async { changed.recv().await.map(|pod| (pod, changed)) });
    pods.flat_map(move |pod| {
        let records = unfinished.state_filter(|record| {
            record.metadata.namespace.as_deref() == Some(&pod.namespace)
                && record.spec.pod.as_ref().is_none_or(|wished| wished.name == pod.name)
        });
        stream::iter(records.into_iter().map(|record| ObjectRef::from_obj(&*record)))
    })
}

fn tell(result: Result<(ObjectRef<Checkpoint>, Action), ControllerError<Infallible, watcher::Error>>) {
    match result {
        // A record that was finished or deleted between its event and its turn.
        Ok(_) | Err(ControllerError::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!("Checkpoint controller: {}", error_chain(&error)),
    }
}
