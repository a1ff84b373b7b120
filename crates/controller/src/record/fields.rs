//! Reads what the services need from a Checkpoint object: its target, pod, container, image, node and name.

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::keys::{ATTEMPT, CLAIMED_BY, RESTORE_NAME};
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::PodName;

/// What the Checkpoint is to be taken of. `None`: its spec breaks the rules of the schema.
pub(crate) fn target(checkpoint: &Checkpoint) -> Option<CheckpointTarget> {
    let is_derived = |target: &CheckpointTarget| checkpoint_name::is_derived(&checkpoint.name_any(), target);
    CheckpointTarget::parse(&checkpoint.spec, is_derived)
}

/// Whether SnapWatcher creates Checkpoints of this name and spec on its own.
pub(crate) fn is_automatic(checkpoint: &Checkpoint) -> bool {
    matches!(target(checkpoint), Some(CheckpointTarget::Pod { .. } | CheckpointTarget::Revision { .. }))
}

/// Whether SnapWatcher, or a restore of the status, has written a phase.
pub(crate) fn has_phase(checkpoint: &Checkpoint) -> bool {
    checkpoint.status.as_ref().is_some_and(|status| status.phase.is_some())
}

/// Whether a backup tool has created the Checkpoint without the status of the original. Its request was made, or is for pods that
/// are gone, so it must not be made again. One with a derived name is a copy only if it carries what SnapWatcher writes into each:
/// otherwise a person has created it, and it would keep the pod from its Checkpoint.
pub(crate) fn is_from_backup(checkpoint: &Checkpoint) -> bool {
    let is_manual = || matches!(target(checkpoint), None | Some(CheckpointTarget::Manual { .. }));
    let has_original = || [CLAIMED_BY, ATTEMPT].iter().any(|key| checkpoint.annotations().contains_key(*key));
    !has_phase(checkpoint) && checkpoint.labels().contains_key(RESTORE_NAME) && (has_original() || is_manual())
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

/// Pod, UID of the pod, and container, where SnapWatcher has chosen them: from the status, or from the spec of a Checkpoint that
/// SnapWatcher created. `None` if there is only the spec of a person, who may name what does not exist.
pub(crate) fn resolved(checkpoint: &Checkpoint) -> Option<(PodName, String, String)> {
    let named = |name: String, uid, container| {
        let namespace = checkpoint.namespace().unwrap_or_default().into();
        Some((PodName { namespace, name: name.into() }, uid, container))
    };
    let status = checkpoint.status.clone().unwrap_or_default();
    let pod = status.pod.and_then(|pod| Some((pod.name, pod.uid?)));
    match (pod, status.container) {
        (Some((name, uid)), Some(container)) => named(name, uid, container),
        (pod, None) => match (target(checkpoint)?, pod) {
            (CheckpointTarget::Pod { name, uid, container, .. }, _)
            | (CheckpointTarget::Revision { container, .. }, Some((name, uid))) => named(name, uid, container),
            (CheckpointTarget::Revision { .. } | CheckpointTarget::Manual { .. }, _) => None,
        },
        (None, Some(_)) => None,
    }
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

#[cfg(test)]
mod tests {
    use snapwatcher_api::checkpoint::{Phase, WorkloadReference};
    use snapwatcher_api::fixtures::{CONTAINER, CheckpointFixture, IMAGE, POD_UID, checkpoint};

    use super::*;

    fn app_of_web() -> (PodName, String, String) {
        let pod = PodName { namespace: "default".into(), name: "web".into() };
        (pod, POD_UID.to_owned(), CONTAINER.to_owned())
    }

    #[test]
    fn the_spec_of_a_person_names_no_pod_and_no_container() {
        let by_hand = checkpoint("web").spec(|spec| spec.image = Some(IMAGE.to_owned()));
        assert_eq!(resolved(&by_hand.clone().build()), None);
        // The pod did not exist: its name and UID are those of the spec.
        let ended = by_hand.clone().in_progress().status(|status| status.container = None).phase(Phase::Failed);
        assert_eq!(resolved(&ended.build()), None);
        assert_eq!(resolved(&by_hand.in_progress().build()), Some(app_of_web()));
    }

    #[test]
    fn a_derived_checkpoint_names_its_pod_before_it_has_a_status() {
        let derived = checkpoint("web").spec(|spec| spec.image = Some(IMAGE.to_owned()));
        let (uid, container) = (POD_UID.to_owned(), CONTAINER.to_owned());
        let target = CheckpointTarget::Pod { name: "web".to_owned(), uid, container, image: IMAGE.to_owned() };
        let name = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]).unwrap();
        assert_eq!(resolved(&derived.named(&name).build()), Some(app_of_web()));
    }

    #[test]
    fn only_a_copy_of_what_snapwatcher_created_is_from_a_backup_under_a_derived_name() {
        let manual = checkpoint("web").label(RESTORE_NAME, "r").build();
        assert!(is_from_backup(&manual));
        let derived = checkpoint("web").spec(|spec| spec.image = Some(IMAGE.to_owned()));
        let (uid, container) = (POD_UID.to_owned(), CONTAINER.to_owned());
        let target = CheckpointTarget::Pod { name: "web".to_owned(), uid, container, image: IMAGE.to_owned() };
        for name in checkpoint_name::names(&target).take(4) {
            let mut made_up = derived.clone().named(&name).label(RESTORE_NAME, "r").build();
            assert!(!is_from_backup(&made_up), "{name}");
            made_up.annotations_mut().insert(CLAIMED_BY.to_owned(), "snapwatcher-0/b1/u".to_owned());
            assert!(is_from_backup(&made_up), "{name}");
        }
    }

    #[test]
    fn a_checkpoint_of_a_revision_names_the_chosen_pod() {
        let of_revision = |checkpoint: CheckpointFixture| {
            checkpoint.spec(|spec| {
                spec.pod = None;
                let (api_version, kind) = ("apps/v1".to_owned(), "Deployment".to_owned());
                let (name, uid) = ("web".to_owned(), "d".to_owned());
                spec.workload = Some(WorkloadReference { api_version, kind, name, uid });
                spec.revision = Some("r".to_owned());
            })
        };
        assert_eq!(resolved(&of_revision(checkpoint("web")).build()), None);
        let chosen = of_revision(checkpoint("web").in_progress());
        assert_eq!(resolved(&chosen.clone().build()), Some(app_of_web()));
        assert_eq!(resolved(&chosen.status(|status| status.container = None).build()), Some(app_of_web()));
    }
}
