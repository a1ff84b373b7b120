//! The I/O of operations, as a trait: the API server, the back-end and the clocks.

use std::time::Duration;

use jiff::Timestamp;
use tracing::Level;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::outcome::Outcome;
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_backends::backend::CheckpointRequest;
use snapwatcher_kubernetes::cluster::{CallError, LivePod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

/// Each function makes one call, and never repeats it.
pub trait OperationIo: Send + Sync + 'static {
    /// Reads the pod of that name; `None` if there is none.
    fn read_pod(&self, pod: &PodName) -> impl Future<Output = Result<Option<LivePod>, CallError>> + Send;

    /// Lists the labeled pods of a revision. Pods of other workloads may have the same revision.
    fn labeled_pods(
        &self,
        namespace: &str,
        revision: &str,
    ) -> impl Future<Output = Result<Vec<PodFacts>, CallError>> + Send;

    /// Finds the workload of a pod.
    fn workload(&self, pod: &PodFacts) -> impl Future<Output = Result<Workload, WorkloadError>> + Send;

    /// Creates a Checkpoint.
    fn create(&self, checkpoint: &Checkpoint) -> impl Future<Output = Result<Checkpoint, CallError>> + Send;

    /// Reads the Checkpoint of that name; `None` if there is none.
    fn read(&self, namespace: &str, name: &str) -> impl Future<Output = Result<Option<Checkpoint>, CallError>> + Send;

    /// Replaces the status if the Checkpoint still has the same resourceVersion.
    fn replace_status(&self, checkpoint: &Checkpoint) -> impl Future<Output = Result<Checkpoint, CallError>> + Send;

    /// Sends a request to the back-end.
    fn checkpoint(&self, request: &CheckpointRequest) -> impl Future<Output = Outcome> + Send;

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;

    fn now(&self) -> Timestamp;

    /// The time since the machine started, suspension included.
    fn since_boot(&self) -> Duration;

    /// A number from 0 to 1, by which waits differ.
    fn jitter(&self) -> f64;

    /// Whether no attempt may start any more.
    fn is_stopping(&self) -> bool;

    /// Whether a line about a Checkpoint of that namespace may appear in the log now.
    fn may_log(&self, _namespace: &str, _level: Level) -> bool {
        true
    }
}
