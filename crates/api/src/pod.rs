//! What is read of a pod: its name, its facts, and the checkpoint options in its annotations.
//!
//! Everything here is pure. Admission reads a pod before it has a name, the watch reads it with its status. Both parse the
//! annotations with [`CheckpointOptions`], so they always agree.

mod facts;
pub(crate) mod name;
mod options;
pub(crate) mod watched;

pub use facts::{ContainerFacts, ControllerReference, MOST_IMAGE_BYTES, PodFacts};
pub use name::{PodName, is_label_value, is_object_name};
pub use options::{CheckpointOptions, InvalidAnnotation, OncePer, OncePerSetting};
pub use watched::{
    MOST_CONTAINERS, WatchedCondition, WatchedContainer, WatchedContainerState, WatchedContainerStatus, WatchedPod,
    WatchedRunningState, WatchedSpec, WatchedStatus,
};
