//! The trait of all back-ends, and the request that they receive.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use snapwatcher_api::outcome::Outcome;
use snapwatcher_api::pod::PodName;

/// The longest wait that a server may set by `Retry-After`; as long as the longest back-off.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// What one attempt requests.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    pub pod: PodName,
    pub node: String,
    pub container: String,
    /// `<Checkpoint uid>-<failures>`: another one after each failure that counts.
    pub idempotency_key: String,
    /// The whole Pod object as just read, for a back-end that [needs](CheckpointBackend::needs_pod) it.
    pub pod_object: Option<Value>,
}

/// Takes checkpoints.
pub trait CheckpointBackend: Send + Sync {
    /// Whether [`CheckpointRequest::pod_object`] has to be filled.
    fn needs_pod(&self) -> bool;

    /// The longest time that one attempt can take. The deadline in the Checkpoint follows from it.
    fn longest_attempt(&self) -> Duration;

    /// The endpoint that receives the requests for pods of that node. Attempts at one endpoint share a circuit breaker.
    /// `None`: the endpoint depends on the node, and the node is not known yet.
    fn endpoint<'a>(&self, node: Option<&'a str>) -> Option<&'a str>;

    /// Sends one request, never a second one, and returns its outcome.
    fn checkpoint<'a>(&'a self, request: &'a CheckpointRequest) -> BoxFuture<'a, Outcome>;
}
