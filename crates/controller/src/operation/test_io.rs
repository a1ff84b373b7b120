//! An API server in memory, for tests of one operation.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kube::core::Status;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus};
use snapwatcher_api::fixtures::{at, checkpoint};
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_backends::backend::CheckpointRequest;
use snapwatcher_kubernetes::cluster::{CallError, LivePod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

use super::io::OperationIo;

/// An API server with one Checkpoint, which answers the write of that number with an error or carries it out.
pub(super) struct OneCheckpoint {
    pub(super) stored: Checkpoint,
    pub(super) answer: fn(usize, &Checkpoint) -> Option<Status>,
    /// The statuses that were to be written.
    pub(super) writes: Mutex<Vec<CheckpointStatus>>,
    pub(super) is_stopping: AtomicBool,
}

const NONE: CallError = CallError::TimedOut { what: String::new() };

impl OperationIo for OneCheckpoint {
    async fn read_pod(&self, _: &PodName) -> Result<Option<LivePod>, CallError> {
        Err(NONE)
    }

    async fn labeled_pods(&self, _: &str, _: &str) -> Result<Vec<PodFacts>, CallError> {
        Err(NONE)
    }

    async fn workload(&self, pod: &PodFacts) -> Result<Workload, WorkloadError> {
        Err(WorkloadError::Lookup { pod: pod.name.to_string(), source: std::sync::Arc::new(NONE) })
    }

    async fn create(&self, _: &Checkpoint) -> Result<Checkpoint, CallError> {
        Err(NONE)
    }

    async fn read(&self, _: &str, _: &str) -> Result<Option<Checkpoint>, CallError> {
        Ok(Some(self.stored.clone()))
    }

    async fn replace_status(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, CallError> {
        let mut writes = self.writes.lock().unwrap();
        writes.push(checkpoint.status.clone().unwrap());
        match (self.answer)(writes.len(), checkpoint) {
            None => Ok(checkpoint.clone()),
            Some(status) => Err(CallError::Failed {
                what: "write".to_owned(),
                source: Box::new(kube::Error::Api(Box::new(status))),
            }),
        }
    }

    async fn checkpoint(&self, _: &CheckpointRequest) -> Outcome {
        Outcome::Failed { reason: Reason::NoResponse, message: Redacted::own("no"), retry_after: None }
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Timestamp {
        at(1)
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }

    fn jitter(&self) -> f64 {
        0.5
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

pub(super) fn server(answer: fn(usize, &Checkpoint) -> Option<Status>) -> OneCheckpoint {
    let stored = checkpoint("web").in_progress().build();
    OneCheckpoint { stored, answer, writes: Mutex::default(), is_stopping: AtomicBool::default() }
}
