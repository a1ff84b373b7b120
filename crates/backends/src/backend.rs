//! The trait of all back-ends, and the request that they receive.

use std::time::Duration;

use futures::future::BoxFuture;

use snapwatcher_api::outcome::Outcome;
use snapwatcher_api::pod::PodName;
use snapwatcher_kubernetes::cluster::{PodDetail, PodNeed};

/// The longest wait that a server may set by `Retry-After`; as long as the longest back-off.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// What one attempt requests.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    pub pod: PodName,
    pub node: String,
    pub container: String,
    pub pod_uid: String,
    pub checkpoint_uid: String,
    /// The Checkpoint is one that SnapWatcher creates on its own.
    pub is_automatic: bool,
    /// `<Checkpoint uid>-<failures>`: another one after each failure that counts.
    pub idempotency_key: String,
    /// What the back-end [needs](CheckpointBackend::pod_need) of the pod, as just read.
    pub pod_detail: PodDetail,
}

/// A checkpoint that was taken, as its Checkpoint shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenCheckpoint {
    pub checkpoint_uid: String,
    pub namespace: String,
    pub pod_uid: String,
    pub container: String,
    /// The node that holds its archive.
    pub node: String,
    /// The Checkpoint is one that SnapWatcher creates on its own.
    pub is_automatic: bool,
    /// How the back-end counted its archive.
    pub counted_bytes: Option<u64>,
    /// How long ago it was taken.
    pub age: Duration,
}

/// Takes checkpoints.
pub trait CheckpointBackend: Send + Sync {
    /// What [`CheckpointRequest::pod_detail`] has to hold.
    fn pod_need(&self) -> PodNeed {
        PodNeed::Nothing
    }

    /// The longest time that one attempt can take. The deadline in the Checkpoint follows from it.
    fn longest_attempt(&self) -> Duration;

    /// The endpoint that receives the requests for pods of that node. Attempts at one endpoint share a circuit breaker.
    /// `None`: the endpoint depends on the node, and the node is not known yet.
    fn endpoint<'a>(&self, node: Option<&'a str>) -> Option<&'a str>;

    /// Takes over a checkpoint that the watch shows, for a back-end that limits how many are taken in some time. The limit then holds
    /// over restarts and changes of the leader. The same one may be shown several times.
    fn recall(&self, _taken: &TakenCheckpoint) {}

    /// Sends one request, never a second one, and returns its outcome.
    fn checkpoint<'a>(&'a self, request: &'a CheckpointRequest) -> BoxFuture<'a, Outcome>;
}
