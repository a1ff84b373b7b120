//! What a Snapshot is made of: a Checkpoint that has an archive, and its pod. Pure readers of both objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, Phase};
use crate::checkpoint_name::is_derived;
use crate::keys::{KEEP, SAVE};
use crate::pod::{PodFacts, PodName, RevisionLabels, WatchedPod};

/// A Checkpoint that has succeeded and whose archive is on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedCheckpoint {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// A person has created it, so it replaces what is saved of its revision.
    pub is_manual: bool,
    pub pod: PodName,
    pub pod_uid: String,
    pub container: String,
    pub revision: Option<String>,
    pub image: Option<String>,
    pub image_id: Option<String>,
    pub node: String,
    pub archive: String,
}

impl ArchivedCheckpoint {
    /// `None`: the Checkpoint has no archive, is being deleted, or it is decided already what is saved of it.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let metadata = &checkpoint.metadata;
        let status = checkpoint.status.as_ref()?;
        let is_decided = status.snapshot.is_some() || checkpoint.is_not_saved();
        if checkpoint.phase() != Phase::Succeeded || is_decided || metadata.deletion_timestamp.is_some() {
            return None;
        }
        let CheckpointStatus { pod, container, revision, image, image_id, location, .. } = status.clone();
        let (pod, location) = (pod?, location?);
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let target = CheckpointTarget::parse(&checkpoint.spec, |target| is_derived(&name, target));
        Some(Self {
            is_manual: matches!(target, None | Some(CheckpointTarget::Manual { .. })),
            pod: PodName { namespace: namespace.as_str().into(), name: pod.name.as_str().into() },
            pod_uid: pod.uid?,
            uid: metadata.uid.clone()?,
            container: container?,
            node: location.node?,
            archive: location.archive?,
            namespace,
            name,
            revision,
            image,
            image_id,
        })
    }
}

/// A pod as it is read for a Snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedPod {
    pub facts: PodFacts,
    /// The key of the label or annotation that names the revision.
    pub revision_key: Option<String>,
    /// The annotation [`SAVE`] is `false`.
    pub is_opted_out: bool,
}

impl SavedPod {
    /// Reads a pod, whose revision the labels and annotations of those keys name.
    pub fn read(pod: WatchedPod, revision_labels: &RevisionLabels) -> Self {
        let none = std::collections::BTreeMap::new();
        let (labels, annotations) = (&pod.metadata.labels, &pod.metadata.annotations);
        let (labels, annotations) = (labels.as_ref().unwrap_or(&none), annotations.as_ref().unwrap_or(&none));
        let named = revision_labels.named(labels, annotations).ok().flatten();
        let is_opted_out = annotations.get(SAVE).is_some_and(|value| value == "false");
        Self { revision_key: named.map(|(key, _)| key), is_opted_out, facts: PodFacts::read(pod, revision_labels) }
    }
}

/// Whether the annotation [`KEEP`] protects a Snapshot.
pub fn is_kept(metadata: &ObjectMeta) -> bool {
    let value = metadata.annotations.as_ref().and_then(|annotations| annotations.get(KEEP));
    value.is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{LocationStatus, SAVED, SnapshotReference, set_condition};
    use crate::fixtures::{CheckpointFixture, at, checkpoint, pod};
    use crate::keys::POD_TEMPLATE_HASH;

    fn archived() -> CheckpointFixture {
        checkpoint("web").in_progress().phase(Phase::Succeeded).status(|status| {
            let (archive, node) = (Some("/var/lib/kubelet/checkpoints/a.tar".to_owned()), Some("n1".to_owned()));
            status.location = Some(LocationStatus { archive, node, ..LocationStatus::default() });
        })
    }

    #[test]
    fn a_checkpoint_is_saved_once_and_only_with_an_archive() {
        let found = ArchivedCheckpoint::of(&archived().build()).unwrap();
        assert_eq!((found.container.as_str(), found.node.as_str(), found.is_manual), ("app", "n1", true));
        let saved = SnapshotReference::default();
        let not_saved = |status: &mut CheckpointStatus| {
            set_condition(&mut status.conditions, SAVED, "False", "PodGone", "", None, at(0));
        };
        for (case, checkpoint) in [
            ("no status", checkpoint("web")),
            ("still in progress", archived().phase(Phase::InProgress)),
            ("an image", archived().status(|status| status.location = Some(LocationStatus::default()))),
            ("no location", archived().status(|status| status.location = None)),
            ("saved", archived().status(|status| status.snapshot = Some(saved))),
            ("not to be saved", archived().status(not_saved)),
        ] {
            assert_eq!(ArchivedCheckpoint::of(&checkpoint.build()), None, "{case}");
        }
    }

    #[test]
    fn the_annotation_save_and_the_key_of_the_revision_are_read() {
        let labels = RevisionLabels::default();
        let plain = SavedPod::read(pod("web").label(POD_TEMPLATE_HASH, "d1").watched(), &labels);
        assert_eq!((plain.revision_key.as_deref(), plain.is_opted_out), (Some(POD_TEMPLATE_HASH), false));
        for (value, is_opted_out) in [("false", true), ("true", false), ("False", false), ("", false)] {
            let read = SavedPod::read(pod("web").annotation(SAVE, value).watched(), &labels);
            assert_eq!((read.revision_key, read.is_opted_out), (None, is_opted_out), "{value}");
        }
    }

    #[test]
    fn only_the_value_true_keeps_a_snapshot() {
        for (value, expected) in [("true", true), ("false", false), ("yes", false)] {
            let annotations = Some([(KEEP.to_owned(), value.to_owned())].into());
            assert_eq!(is_kept(&ObjectMeta { annotations, ..ObjectMeta::default() }), expected, "{value}");
        }
        assert!(!is_kept(&ObjectMeta::default()));
    }
}
