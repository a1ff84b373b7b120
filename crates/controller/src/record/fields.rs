//! Reads what the services need from a Checkpoint object: its target, pod, container, image, node and name.

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::PodName;

/// What the Checkpoint is to be taken of. `None`: its spec breaks the rules of the schema.
pub(crate) fn target(checkpoint: &Checkpoint) -> Option<CheckpointTarget> {
    let is_derived = |target: &CheckpointTarget| checkpoint_name::is_derived(&checkpoint.name_any(), target);
    CheckpointTarget::parse(&checkpoint.spec, is_derived)
}

/// The pod, from the spec or else as resolved.
pub(crate) fn pod_name(checkpoint: &Checkpoint) -> Option<PodName> {
    let named = checkpoint.spec.pod.as_ref().map(|pod| &pod.name);
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.pod.as_ref()).map(|pod| &pod.name);
    let name = named.or_else(resolved)?.as_str().into();
    Some(PodName { namespace: checkpoint.namespace().unwrap_or_default().into(), name })
}

/// UID of the pod, from the spec or else as resolved.
pub(crate) fn pod_uid(checkpoint: &Checkpoint) -> Option<&str> {
    let named = checkpoint.spec.pod.as_ref().and_then(|pod| pod.uid.as_deref());
    let status = checkpoint.status.as_ref();
    named.or_else(|| status.and_then(|status| status.pod.as_ref()).and_then(|pod| pod.uid.as_deref()))
}

/// The container, from the spec or else as resolved.
pub(crate) fn container(checkpoint: &Checkpoint) -> Option<&str> {
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.container.as_deref());
    checkpoint.spec.container.as_deref().or_else(resolved)
}

/// The image of the container, from the spec or else as resolved.
pub(crate) fn image(checkpoint: &Checkpoint) -> Option<&str> {
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.image.as_deref());
    checkpoint.spec.image.as_deref().or_else(resolved)
}

/// The revision, from the spec or else as resolved.
pub(crate) fn revision(checkpoint: &Checkpoint) -> Option<&str> {
    let resolved = || checkpoint.status.as_ref().and_then(|status| status.revision.as_deref());
    checkpoint.spec.revision.as_deref().or_else(resolved)
}

/// Whether the status already has this reason and message.
pub(crate) fn is_shown(checkpoint: &Checkpoint, reason: Reason, message: &str) -> bool {
    let shown = checkpoint.status.as_ref().and_then(|status| status.message.as_deref());
    checkpoint.reason() == Some(reason.as_str()) && shown == Some(message)
}
