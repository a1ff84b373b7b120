//! The service around the engine: feeds it with the watches, runs its operations, and passes its reports on.
//!
//! It runs for the whole life of the process, so that an attempt is finished when leadership or a watch is lost. The
//! watches run while this replica leads.

use std::collections::HashSet;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use kube::runtime::watcher::{self, Event};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use snapwatcher_api::checkpoint::{Checkpoint, WatchedCheckpoint};
use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::WatchedPod;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::cluster::{Scope, WatchStreamError, watch};

use crate::context::ControllerContext;
use crate::engine::{Effect, Engine, Input, Now, Report};
use crate::missed_mutation_report::MissedMutations;
use crate::operation::{self, ClaimError, ClusterIo, Operation, OperationId, OperationSettings, Progress};
use crate::record::taken::taken;
use crate::reporter::Reporter;
use crate::retention::Retention;

/// The service.
pub struct ControllerService {
    pub(crate) context: ControllerContext,
    pub(crate) engine: Engine,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) io: Arc<ClusterIo>,
    pub(crate) operations: OperationSettings,
    pub(crate) retention: Arc<Retention>,
    pub(crate) missed_mutations: Arc<MissedMutations>,
    pub(crate) leads: channel::Receiver<bool>,
    /// Dropped when the last operation has finished.
    pub(crate) work_done: DropGuard,
}

#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("an operation panicked: {0}")]
    Panicked(String),
}

/// An item of a watch, with the number of its scope.
enum WatchItem {
    Pod(usize, Result<Box<Event<WatchedPod>>, WatchStreamError>),
    Checkpoint(usize, Result<Box<Event<Checkpoint>>, WatchStreamError>),
}

/// How many items of a watch are taken at once.
const BATCH: usize = 64;

/// The state of the service while it runs.
struct Running {
    service: ControllerService,
    reporter: Reporter,
    tasks: JoinSet<()>,
    progress: mpsc::UnboundedSender<Input>,
    inputs: mpsc::UnboundedReceiver<Input>,
}

impl ControllerService {
    /// Runs until the stop. Operations that were started are finished, and their outcomes written.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ControllerError> {
        let (progress, inputs) = mpsc::unbounded_channel();
        let reporter = Reporter::new(self.context.clone(), Arc::clone(&self.io.lines));
        let mut running = Running { service: self, reporter, tasks: JoinSet::new(), progress, inputs };
        let mut watches = running.lead();
        while !stop.is_cancelled() {
            let wait = running.service.engine.next_wakeup(now());
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = running.service.leads.changed() => watches = running.lead(),
                Some(input) = running.inputs.recv() => running.on(input),
                Some(joined) = running.tasks.join_next() => joined.map_err(panicked)?,
                Some(item) = watches.next() => {
                    running.item(item);
                    for _ in 1..BATCH {
                        let Some(Some(item)) = watches.next().now_or_never() else { break };
                        running.item(item);
                    }
                }
                () = sleep(wait) => running.on(Input::Wakeup),
            }
        }
        running.on(Input::Stop);
        drop(watches);
        while !running.service.engine.is_idle() {
            tokio::select! {
                Some(input) = running.inputs.recv() => running.on(input),
                Some(joined) = running.tasks.join_next() => joined.map_err(panicked)?,
            }
        }
        drop(running.service.work_done);
        Ok(())
    }
}

impl Running {
    /// Starts the watches if this replica leads, and ends them if it does not.
    fn lead(&mut self) -> BoxStream<'static, WatchItem> {
        let leads = *self.service.leads.borrow_and_update();
        self.on(Input::Leads(leads));
        if !leads {
            return stream::pending().boxed();
        }
        let service = &self.service;
        let has_checkpoints = service.engine.creates_checkpoints();
        let scopes = service.scopes.iter().enumerate();
        let watches = scopes.flat_map(|(number, scope)| {
            let pods = service.watch_pods(number, scope);
            let checkpoints = has_checkpoints.then(|| service.watch_checkpoints(number, scope));
            std::iter::once(pods).chain(checkpoints)
        });
        stream::select_all(watches.collect::<Vec<_>>()).boxed()
    }

    fn on(&mut self, input: Input) {
        for effect in self.service.engine.on(input, now()) {
            match effect {
                Effect::Start(id, operation) => self.start(id, operation),
                Effect::Retain { known_pods } => self.retain(known_pods),
                Effect::Report(report) => {
                    if let Report::Claimed(claim) = report.as_ref() {
                        let (missed_mutations, pod) = (self.service.missed_mutations.clone(), claim.pod.clone());
                        self.tasks.spawn(async move { missed_mutations.check(&pod).await });
                    }
                    self.reporter.report(*report);
                }
            }
        }
    }

    fn start(&mut self, id: OperationId, operation: Operation) {
        let (io, settings) = (self.service.io.clone(), self.service.operations.clone());
        let inputs = self.progress.clone();
        let report = {
            let inputs = inputs.clone();
            move |progress: Progress| {
                let _ = inputs.send(Input::Progress { id, progress }); // fails only at the end of the process
            }
        };
        self.tasks.spawn(async move {
            // Boxed: the future is large, and many tasks run at once.
            let result = Box::pin(operation::run(io.as_ref(), &settings, operation, report)).await;
            let _ = inputs.send(Input::Finished { id, result });
        });
    }

    fn retain(&mut self, known_pods: HashSet<String>) {
        let (retention, inputs) = (self.service.retention.clone(), self.progress.clone());
        self.tasks.spawn(async move {
            retention.round(&known_pods).await;
            let _ = inputs.send(Input::Retained);
        });
    }

    fn item(&mut self, item: WatchItem) {
        match item {
            WatchItem::Pod(scope, Ok(event)) => {
                if matches!(*event, Event::InitDone | Event::Apply(_) | Event::Delete(_)) {
                    self.service.context.checks.watch.pass();
                }
                self.on(Input::Pods { scope, event });
            }
            WatchItem::Checkpoint(scope, Ok(event)) => {
                if matches!(*event, Event::InitDone | Event::Apply(_)) {
                    self.service.context.checks.definition.pass();
                }
                // Before attempts can start that follow from the event.
                self.service.recall(&event);
                self.on(Input::Checkpoints { scope, event });
            }
            WatchItem::Pod(_, Err(fault)) => self.service.report_pod_fault(&fault),
            WatchItem::Checkpoint(_, Err(fault)) => self.service.report_checkpoint_fault(&fault),
        }
    }
}

impl ControllerService {
    fn watch_pods(&self, number: usize, scope: &Scope) -> BoxStream<'static, WatchItem> {
        let cluster = &self.context.cluster;
        let config = watcher::Config::default().labels(&format!("{SNAP}={OPTED_IN}"));
        let check = self.context.checks.watch.clone();
        let items =
            watch::<WatchedPod, _>(&cluster.watches, scope, cluster.watch_timeout, config, move || check.pass());
        items.map(move |item| WatchItem::Pod(number, item.map(Box::new))).boxed()
    }

    fn watch_checkpoints(&self, number: usize, scope: &Scope) -> BoxStream<'static, WatchItem> {
        let cluster = &self.context.cluster;
        let check = self.context.checks.definition.clone();
        let config = watcher::Config::default();
        let items =
            watch::<WatchedCheckpoint, _>(&cluster.watches, scope, cluster.watch_timeout, config, move || check.pass());
        items
            .map(move |item| WatchItem::Checkpoint(number, item.map(|event| Box::new(checkpoint_event(event)))))
            .boxed()
    }

    /// Reports to the back-end a checkpoint that this process, or an earlier one, has taken.
    fn recall(&self, event: &Event<Checkpoint>) {
        let (Event::InitApply(checkpoint) | Event::Apply(checkpoint)) = event else { return };
        if let (Some(backend), Some(taken)) = (&self.io.backend, taken(checkpoint, clock::now())) {
            backend.recall(&taken);
        }
    }

    fn report_pod_fault(&self, fault: &WatchStreamError) {
        let ControllerContext { checks, watch_metrics, .. } = &self.context;
        match fault {
            WatchStreamError::Undecodable { .. } => {
                watch_metrics.undecodable();
                tracing::warn!("Watch of pods: {}. Other pods are still watched", error_chain(fault));
            }
            WatchStreamError::Interrupted { .. } => {
                watch_metrics.interrupted();
                checks.watch.fail(error_chain(fault));
            }
        }
    }

    fn report_checkpoint_fault(&self, fault: &WatchStreamError) {
        let ControllerContext { checks, checkpoint_metrics, .. } = &self.context;
        let WatchStreamError::Interrupted { source } = fault else {
            checkpoint_metrics.undecodable();
            return tracing::warn!("Watch of Checkpoints: {}. Other Checkpoints are still watched", error_chain(fault));
        };
        checkpoint_metrics.watch_interrupted();
        match source {
            // By the code: for an API group that it does not know, the API server responds in plain text.
            watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                checks.definition.fail(ClaimError::NoDefinition.to_string());
            }
            _ => checks.definition.fail(error_chain(fault)),
        }
    }
}

fn checkpoint_event(event: Event<WatchedCheckpoint>) -> Event<Checkpoint> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(checkpoint) => Event::InitApply(checkpoint.into()),
        Event::InitDone => Event::InitDone,
        Event::Apply(checkpoint) => Event::Apply(checkpoint.into()),
        Event::Delete(checkpoint) => Event::Delete(checkpoint.into()),
    }
}

fn now() -> Now {
    Now { wall: clock::now(), boot: clock::since_boot() }
}

fn panicked(error: JoinError) -> ControllerError {
    ControllerError::Panicked(join_error_message(error))
}
