//! What is read of a pod: its name, its facts, and the checkpoint options in its annotations.
//!
//! Everything here is pure. Admission reads a pod before it has a name, the watch reads it with its status. Both parse the
//! annotations with [`CheckpointOptions`], so they always agree.

mod container;
mod facts;
mod first_entries;
mod limits;
pub(crate) mod name;
mod options;
pub(crate) mod revision;
pub(crate) mod watched;

pub use container::{ContainerDigest, ContainerFacts};
pub use facts::{ControllerReference, MOST_IMAGE_BYTES, PodFacts};
pub use first_entries::{first_entries, push, read_entries};
pub use limits::{ContainerLimits, PodLimits};
pub use name::{PodName, is_label_key, is_label_value, is_object_name};
pub use options::{CheckpointOptions, InvalidAnnotation, OncePer, OncePerSetting};
pub use revision::{RevisionLabels, is_label_of_kubernetes};
pub use watched::{
    CONTAINERS_KEPT, MOST_CONTAINERS, SIDECAR_RESTART_POLICY, WatchedCondition, WatchedContainer,
    WatchedContainerState, WatchedContainerStatus, WatchedPod, WatchedRunningState, WatchedSpec, WatchedStatus,
};
