//! What is read from a pod: its labels and annotations, its containers, whether it is ready.
//!
//! Everything here is pure. Admission reads a pod before it has a name, the watch reads it with its status;
//! both go through the keys and [`CheckpointOptions`] of this module, so that they can't disagree.

mod facts;
mod options;

use std::fmt;

pub use facts::{ContainerFacts, Controller, PodFacts, WatchedPod};
pub use options::{CheckpointOptions, InvalidAnnotation, OncePer};

/// What the keys of SNAP begin with.
pub const PREFIX: &str = "snap.weaversoft.io/";
/// Label by which a pod opts in; exactly [`OPTED_IN`] counts.
pub const SNAP: &str = "snap.weaversoft.io/snap";
/// The value of [`SNAP`] that opts in.
pub const OPTED_IN: &str = "true";
/// Label that tells a pod from its own image ("false") from one started from a checkpoint ([`RESTORED`]).
pub const MUTATED: &str = "snap.weaversoft.io/mutated";
/// The value of [`MUTATED`] on a pod that runs from a checkpoint image: it is never checkpointed again.
pub const RESTORED: &str = "true";
/// The value of [`MUTATED`] on a pod that runs from its own image; what admission writes.
pub const ORIGINAL: &str = "false";
/// Annotation: which containers to checkpoint.
pub const CONTAINERS: &str = "snap.weaversoft.io/containers";
/// Annotation: how long the pod must have been Ready.
pub const DELAY: &str = "snap.weaversoft.io/delay";
/// Annotation: `pod` or `revision`.
pub const ONCE_PER: &str = "snap.weaversoft.io/once-per";
/// Annotation written by admission: UID of the admission request that labelled the pod.
pub const ADMISSION: &str = "snap.weaversoft.io/admission";
/// Annotation of a static pod's copy in the API server, see
/// <https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation that names the container `kubectl` picks, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-kubernetes-io-default-container>.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Namespace and name of a pod; written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
