//! The I/O of operations in a history: each call is noted, and answered by the world later.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_backends::backend::CheckpointRequest;
use snapwatcher_controller::operation::{OperationId, OperationIo, Progress};
use snapwatcher_kubernetes::cluster::{CallError, LivePod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

use super::calls::{Answer, AnswerSlot, Request, error};

/// What a process shares with its operations.
pub(super) struct Shared {
    pub(super) wall: Timestamp,
    pub(super) boot: Duration,
    pub(super) is_stopping: bool,
    pub(super) random: fastrand::Rng,
    /// New since the world last looked.
    pub(super) calls: Vec<(OperationId, Request, AnswerSlot)>,
    pub(super) progress: Vec<(OperationId, Progress)>,
}

/// The I/O of one operation.
pub(super) struct SimulatedIo {
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) operation: OperationId,
}

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedIo {
    async fn call(&self, request: Request) -> Answer {
        let slot = AnswerSlot::default();
        lock(&self.shared).calls.push((self.operation, request, slot.clone()));
        poll_fn(move |_| slot.take().map_or(Poll::Pending, Poll::Ready)).await
    }
}

fn unexpected() -> CallError {
    error(None)
}

impl OperationIo for SimulatedIo {
    async fn read_pod(&self, pod: &PodName) -> Result<Option<LivePod>, CallError> {
        match self.call(Request::ReadPod(pod.clone())).await {
            Answer::Pod(result) => result,
            _ => Err(unexpected()),
        }
    }

    async fn labeled_pods(&self, namespace: &str, revision: &str) -> Result<Vec<PodFacts>, CallError> {
        let (namespace, revision) = (namespace.to_owned(), revision.to_owned());
        match self.call(Request::ListPods { namespace, revision }).await {
            Answer::Pods(result) => result,
            _ => Err(unexpected()),
        }
    }

    async fn workload(&self, pod: &PodFacts) -> Result<Workload, WorkloadError> {
        match self.call(Request::Workload(Box::new(pod.clone()))).await {
            Answer::Workload(result) => result,
            _ => Err(WorkloadError::Lookup { pod: pod.name.to_string(), source: Arc::new(unexpected()) }),
        }
    }

    async fn create(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        match self.call(Request::Create(Box::new(checkpoint.clone()))).await {
            Answer::Stored(result) => result,
            _ => Err(unexpected()),
        }
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Checkpoint>, CallError> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match self.call(Request::Read { namespace, name }).await {
            Answer::Found(result) => result,
            _ => Err(unexpected()),
        }
    }

    async fn replace_status(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        match self.call(Request::ReplaceStatus(Box::new(checkpoint.clone()))).await {
            Answer::Stored(result) => result,
            _ => Err(unexpected()),
        }
    }

    async fn checkpoint(&self, request: &CheckpointRequest) -> Outcome {
        match self.call(Request::Backend(request.clone())).await {
            Answer::Outcome(outcome) => outcome,
            _ => Outcome::Failed { reason: Reason::NoResponse, message: Redacted::own("simulated"), retry_after: None },
        }
    }

    async fn sleep(&self, time: Duration) {
        self.call(Request::Sleep(time)).await;
    }

    fn now(&self) -> Timestamp {
        lock(&self.shared).wall
    }

    fn since_boot(&self) -> Duration {
        lock(&self.shared).boot
    }

    fn jitter(&self) -> f64 {
        lock(&self.shared).random.f64()
    }

    fn is_stopping(&self) -> bool {
        lock(&self.shared).is_stopping
    }
}
