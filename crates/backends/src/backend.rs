//! What a back-end is asked for, and the trait by which any of them is asked.
//!
//! The trait stands here and not beside its implementations, so that back-ends depend on checkpoints and never the
//! other way round.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use snapwatcher_api::pod::PodName;

use snapwatcher_api::outcome::Outcome;

/// One attempt, as a back-end sees it.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    pub pod: PodName,
    pub node: String,
    pub container: String,
    /// `<Checkpoint uid>-<failures>`: the same for repeats of a request that may have had its effect.
    pub idempotency_key: String,
    /// The whole Pod as just read; only for a back-end that [needs](Backend::needs_pod) it.
    pub pod_object: Option<Value>,
}

/// Who takes checkpoints.
pub trait Backend: Send + Sync {
    /// Whether [`CheckpointRequest::pod_object`] is to be filled.
    fn needs_pod(&self) -> bool;

    /// The longest one attempt can take; the written deadline follows from it.
    fn longest_attempt(&self) -> Duration;

    /// Which address is asked for the pods of that node: what keeps one attempt from being made keeps all of the same
    /// address. `None`: it is known only with the node.
    fn address<'a>(&self, node: Option<&'a str>) -> Option<&'a str>;

    /// Makes one request, never a second one, and says what came of it.
    fn checkpoint<'a>(&'a self, ask: &'a CheckpointRequest) -> BoxFuture<'a, Outcome>;
}
