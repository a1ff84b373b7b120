//! The `Snapshot` custom resource: the saved checkpoint of one container of one revision of a workload.
//!
//! A Checkpoint is an act, and is deleted with its pods. A Snapshot is what it produced, and stays until its revision is gone.

pub mod name;
mod origin;
mod phase;
mod resource;
mod watched;

pub use origin::{ArchivedCheckpoint, SavedPod, is_kept};
pub use phase::SnapshotPhase;
pub use resource::{
    ControllerReference, NodeCopy, NodeCopyState, OriginCheckpoint, OriginPod, Snapshot, SnapshotOrigin, SnapshotSpec,
    SnapshotStatus,
};
pub use watched::WatchedSnapshot;

/// Condition type: True if the leader has compared the reports of the origin's node with the Checkpoint and its pod. Only an accepted
/// Snapshot is used.
pub const ACCEPTED: &str = "Accepted";
/// Condition type: True if the registry holds the Snapshot, and its manifest was read back by its digest.
pub const SAVED: &str = "Saved";
