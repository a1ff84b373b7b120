//! The `Checkpoint` custom resource, and what is derived from it: the target of a spec, and the conditions of a status.

mod conditions;
mod phase;
mod resource;
mod target;
mod watched;

pub use conditions::{COMPLETE, FAILED, SAVED, set_condition, set_conditions};
pub use phase::Phase;
pub use resource::{
    Checkpoint, CheckpointSpec, CheckpointStatus, LocationStatus, PodReference, PodStatus, SnapshotReference,
    WorkloadReference,
};
pub use target::CheckpointTarget;
pub use watched::WatchedCheckpoint;
