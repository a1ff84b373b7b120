//! What to create for a Checkpoint that has an archive: pure functions of the Checkpoint, its pod and its workload.

use snapwatcher_api::checkpoint::WorkloadReference;
use snapwatcher_api::snapshot::{
    ArchivedCheckpoint, ControllerReference, OriginCheckpoint, OriginPod, SavedPod, SnapshotOrigin, SnapshotSpec, name,
};
use snapwatcher_kubernetes::workload::Workload;

use crate::subject;

/// The most Snapshots that are created in one namespace while they exist: people can create Checkpoints without end.
pub(crate) const MOST_OF_NAMESPACE: usize = 1000;

/// Why no Snapshot is made of an archive. Each is final for its Checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NotSaved {
    /// The pod was gone, so its annotations and its workload are not known.
    PodGone,
    /// The annotation of the pod says so.
    OptedOut,
    /// The workload of the pod was gone.
    WorkloadGone,
    /// Which image the container ran is not known.
    ImageUnknown,
    /// The namespace has [`MOST_OF_NAMESPACE`].
    TooManySnapshots,
    /// Other objects have all its names.
    NameTaken,
}

impl NotSaved {
    pub(crate) const ALL: [Self; 6] = [
        Self::PodGone,
        Self::OptedOut,
        Self::WorkloadGone,
        Self::ImageUnknown,
        Self::TooManySnapshots,
        Self::NameTaken,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PodGone => "PodGone",
            Self::OptedOut => "OptedOut",
            Self::WorkloadGone => "WorkloadGone",
            Self::ImageUnknown => "ImageUnknown",
            Self::TooManySnapshots => "TooManySnapshots",
            Self::NameTaken => "NameTaken",
        }
    }

    /// What happened, why, and what to do.
    pub(crate) fn message(self) -> String {
        match self {
            Self::PodGone => {
                "the pod does not exist any more, so its workload is not known. Its archive stays on the node"
                    .to_owned()
            }
            Self::OptedOut => "the pod has the annotation `snap.weaversoft.io/save` with the value `false`".to_owned(),
            Self::WorkloadGone => {
                "the controller of the pod does not exist any more. Its archive stays on the node".to_owned()
            }
            Self::ImageUnknown => {
                "the status of the pod has no image ID of the container. Create a new Checkpoint".to_owned()
            }
            Self::TooManySnapshots => format!(
                "the namespace has {MOST_OF_NAMESPACE} Snapshots. Delete those that are not needed, and create a new Checkpoint"
            ),
            Self::NameTaken => {
                "Snapshots of other workloads have all its names. Delete them, and create a new Checkpoint".to_owned()
            }
        }
    }

    /// Whether the owner of the pod has to know of it.
    pub(crate) fn is_warning(self) -> bool {
        self != Self::OptedOut
    }
}

/// The pod of the Checkpoint, if it still exists and wants its checkpoint saved.
pub(crate) fn consenting<'p>(
    checkpoint: &ArchivedCheckpoint,
    pod: Option<&'p SavedPod>,
) -> Result<&'p SavedPod, NotSaved> {
    let pod = pod.filter(|pod| pod.facts.uid == checkpoint.pod_uid).ok_or(NotSaved::PodGone)?;
    if pod.is_opted_out { Err(NotSaved::OptedOut) } else { Ok(pod) }
}

/// The spec of the Snapshot, not encrypted, and replacing nothing.
pub(crate) fn spec(
    checkpoint: &ArchivedCheckpoint,
    pod: &SavedPod,
    workload: &Workload,
) -> Result<SnapshotSpec, NotSaved> {
    let container = pod.facts.container(&checkpoint.container);
    let image = checkpoint.image.clone().or_else(|| container.map(|container| container.image.to_string()));
    let image = image.filter(|image| !image.is_empty()).ok_or(NotSaved::ImageUnknown)?;
    // The image of the pod may have changed since.
    let same_image = container.filter(|container| *container.image == *image);
    let image_id = || same_image.and_then(|container| container.image_id.as_deref().map(str::to_owned));
    let image_id = checkpoint.image_id.clone().or_else(image_id);
    let revision = checkpoint.revision.clone().unwrap_or_else(|| pod.facts.revision().to_owned());
    let has_revision = pod.facts.revision() == revision;
    let controller = match &pod.facts.controller {
        Some(controller) => ControllerReference {
            kind: controller.kind.clone(),
            name: controller.name.clone(),
            uid: controller.uid.clone(),
        },
        // A pod without a controller is its own workload.
        None => {
            ControllerReference { kind: workload.kind.clone(), name: workload.name.clone(), uid: workload.uid.clone() }
        }
    };
    Ok(SnapshotSpec {
        workload: WorkloadReference {
            api_version: workload.api_version.clone(),
            kind: workload.kind.clone(),
            name: workload.name.clone(),
            uid: workload.uid.clone(),
        },
        controller,
        revision,
        revision_label: pod.revision_key.clone().filter(|_| has_revision),
        container: checkpoint.container.clone(),
        image,
        image_id: image_id.filter(|id| !id.is_empty()).ok_or(NotSaved::ImageUnknown)?,
        origin: SnapshotOrigin {
            checkpoint: OriginCheckpoint { name: checkpoint.name.clone(), uid: checkpoint.uid.clone() },
            pod: OriginPod { name: checkpoint.pod.name.to_string(), uid: checkpoint.pod_uid.clone() },
            node: checkpoint.node.clone(),
            archive: checkpoint.archive.clone(),
        },
        recipient: None,
        replaces: None,
    })
}

/// The names of the Snapshot, in the order in which they are tried.
pub(crate) fn names(spec: &SnapshotSpec, is_manual: bool) -> impl Iterator<Item = String> {
    name::DIGESTS.into_iter().map(move |digest| {
        let (workload, revision, container) = (&spec.workload, &spec.revision, &spec.container);
        if is_manual {
            name::of_checkpoint(workload, revision, container, &spec.origin.checkpoint.uid, digest)
        } else {
            name::of_revision(workload, revision, container, digest)
        }
    })
}

/// What an object is that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// This process, or another leader, has created it for the same Checkpoint.
    Own,
    /// It is of the same container of the same revision, from another Checkpoint.
    OfRevision,
    /// It is of something else: a longer name is tried.
    Other,
}

/// Compares a Snapshot that has the name with the one to create.
pub(crate) fn existing(found: &SnapshotSpec, wanted: &SnapshotSpec) -> Existing {
    // Which one it replaces depends on when it was created.
    let comparable = SnapshotSpec { replaces: wanted.replaces.clone(), ..found.clone() };
    if comparable == *wanted {
        Existing::Own
    } else if subject::is_same(found, wanted) {
        Existing::OfRevision
    } else {
        Existing::Other
    }
}

#[cfg(test)]
mod tests;
