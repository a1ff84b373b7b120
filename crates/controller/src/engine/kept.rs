//! How much the engine keeps, for tests that it is bounded.

use super::state::Engine;

/// How many of each kind the engine keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub pods: usize,
    /// All Checkpoints of the watched namespaces.
    pub records: usize,
    /// Operations that run.
    pub operations: usize,
    /// Checkpoints on which an operation works.
    pub busy: usize,
    /// What waits for a slot.
    pub queued: usize,
    /// Containers that wait to be claimed.
    pub claims: usize,
    /// Containers whose last claim was rejected, until another one is accepted.
    pub rejected: usize,
    /// Checkpoints that are being claimed.
    pub claiming: usize,
    pub timers: usize,
    /// Subjects whose Checkpoints are looked at, or were a short time ago.
    pub looks: usize,
    /// Checkpoints whose watch is behind a write of this process.
    pub written: usize,
    /// Checkpoints whose last attempt this process has sent.
    pub sent: usize,
}

impl Engine {
    /// How many times it has looked at a Checkpoint, for tests that an event costs little.
    pub fn look_count(&self) -> u64 {
        self.look_count
    }

    /// How much it keeps now.
    pub fn kept(&self) -> Kept {
        Kept {
            pods: self.pods.len(),
            records: self.records.len(),
            operations: self.operations.len(),
            busy: self.busy.len(),
            queued: self.queue.len() + self.blocked.len(),
            claims: self.claims.len() + self.unlisted.len() + self.prepared.len() + self.unattempted.len(),
            rejected: self.rejected.len(),
            claiming: self.claiming.values().map(|followers| 1 + followers.len()).sum(),
            timers: self.timers.len(),
            looks: self.looks.len(),
            written: self.written.len(),
            sent: self.sent.len(),
        }
    }
}
