//! Reads what the services need from a Checkpoint object: its target, pod, container, node and name.

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::keys::NODE;

/// What the Checkpoint is to be taken of. `None`: its spec breaks the rules of the schema.
pub(super) fn target(checkpoint: &Checkpoint) -> Option<CheckpointTarget> {
    let is_derived = |target: &CheckpointTarget| checkpoint_name::is_derived(&checkpoint.name_any(), target);
    CheckpointTarget::parse(&checkpoint.spec, is_derived)
}

/// UID of the pod, from the spec or else as resolved.
pub(super) fn pod_uid(checkpoint: &Checkpoint) -> Option<&str> {
    let named = checkpoint.spec.pod.as_ref().and_then(|pod| pod.uid.as_deref());
    let status = checkpoint.status.as_ref();
    named.or_else(|| status.and_then(|status| status.pod.as_ref()).and_then(|pod| pod.uid.as_deref()))
}

/// The container, from the spec or else as resolved.
pub(super) fn container(checkpoint: &Checkpoint) -> Option<&str> {
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.container.as_deref());
    checkpoint.spec.container.as_deref().or_else(resolved)
}

/// The node of the pod as the claim labeled it, in the form of a label value.
pub(super) fn node(checkpoint: &Checkpoint) -> Option<String> {
    checkpoint.labels().get(NODE).cloned()
}

/// For messages and log fields.
pub(super) fn namespace_and_name(checkpoint: &Checkpoint) -> (String, String) {
    (checkpoint.namespace().unwrap_or_default(), checkpoint.name_any())
}
