//! How many checkpoints are taken at once: each freezes its container and loads its node.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Attempts under way in this process at the most.
pub const MAX_CONCURRENT: usize = 8;

/// The slots for attempts. Cloning gives another handle to the same slots.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// One slot, given back when dropped.
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT)))
    }
}

impl Budget {
    /// Waits for a slot, first come first served. `None`: never, since the semaphore is not closed.
    pub async fn slot(&self) -> Option<Slot> {
        self.0.clone().acquire_owned().await.ok().map(Slot)
    }
}
