//! Why a pod is not eligible, and the words for it.

use std::fmt;

use jiff::Timestamp;

use crate::checkpoint::CheckpointTarget;
use crate::checkpoint_name::shortened;
use crate::outcome::Reason;
use crate::pod::{MOST_CONTAINERS, MOST_IMAGE_BYTES, PodName};

/// What happens to a pod that replaces one that is gone.
const SUCCESSOR: &str = "A new pod gets its own Checkpoint";

/// The longest image in a message, so that two of them and the rest fit into a status.
const LONGEST_IMAGE_SHOWN: usize = 160;

/// Why a pod is not eligible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ineligible {
    /// There is no pod of that name.
    Gone,
    /// The pod of that name has another UID than the Checkpoint names.
    Replaced {
        uid: String,
        expected: String,
    },
    /// The pod is being deleted.
    Terminating,
    /// The pod has ended, as that of a finished Job does.
    Ended,
    NotLabelled,
    StaticPod,
    AlreadyRestored,
    /// The text of the annotation's error.
    InvalidAnnotation(String),
    /// The pod has no containers.
    NoContainer,
    /// The pod has more than [`MOST_CONTAINERS`] containers, or their images are longer than [`MOST_IMAGE_BYTES`].
    TooManyContainers,
    /// The pod has no container of that name. `containers` are those that it has.
    NoSuchContainer {
        container: String,
        containers: Vec<String>,
    },
    /// The container has another image than the Checkpoint names: the pod was updated in place.
    ImageChanged {
        container: String,
        image: String,
        expected: String,
    },
    /// The pod belongs to another revision than the Checkpoint names: the pod was updated in place.
    RevisionChanged {
        revision: String,
        expected: String,
    },
    /// The annotations choose these containers, but one is needed.
    SeveralContainers(Vec<String>),
    NotRunning,
    NotReady,
    NotStarted {
        container: String,
    },
    NotScheduled,
    /// The delay ends at that time.
    Delayed(Timestamp),
}

impl Ineligible {
    /// The CamelCase word with which the text of `waiting_for` starts.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gone | Self::Replaced { .. } => "PodGone",
            Self::Terminating => "Terminating",
            Self::Ended => "Ended",
            Self::NotLabelled => "NotLabelled",
            Self::StaticPod => "StaticPod",
            Self::AlreadyRestored => "AlreadyRestored",
            Self::InvalidAnnotation(_) => "InvalidAnnotation",
            Self::NoContainer => "NoContainer",
            Self::TooManyContainers => "TooManyContainers",
            Self::NoSuchContainer { .. } => "NoSuchContainer",
            Self::ImageChanged { .. } => "ImageChanged",
            Self::RevisionChanged { .. } => "RevisionChanged",
            Self::SeveralContainers(_) => "SeveralContainers",
            Self::NotRunning => "NotRunning",
            Self::NotReady => "NotReady",
            Self::NotStarted { .. } => "NotStarted",
            Self::NotScheduled => "NotScheduled",
            Self::Delayed(_) => "Delayed",
        }
    }

    /// The reason in the status of a Checkpoint, in its Event and in metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Gone | Self::Replaced { .. } | Self::Terminating | Self::Ended => Reason::PodGone,
            Self::NotLabelled => Reason::NotLabelled,
            Self::StaticPod => Reason::StaticPod,
            Self::AlreadyRestored => Reason::AlreadyRestored,
            Self::NoContainer | Self::NoSuchContainer { .. } => Reason::NoSuchContainer,
            Self::InvalidAnnotation(_) | Self::SeveralContainers(_) | Self::TooManyContainers => Reason::InvalidSpec,
            Self::ImageChanged { .. } => Reason::ImageChanged,
            // The Checkpoint of a revision waits for another pod.
            Self::RevisionChanged { .. }
            | Self::NotRunning
            | Self::NotReady
            | Self::NotStarted { .. }
            | Self::NotScheduled
            | Self::Delayed(_) => Reason::NotReady,
        }
    }

    /// What a person reads in the status of the Checkpoint `target` of that pod.
    pub fn message(&self, pod: &PodName, target: &CheckpointTarget) -> String {
        let is_manual = matches!(target, CheckpointTarget::Manual { .. });
        match self {
            Self::Gone if is_manual => format!("pod `{pod}` does not exist. Create a Checkpoint of an existing pod"),
            Self::Gone => format!("pod `{pod}` is gone. {SUCCESSOR}"),
            Self::Replaced { uid, expected } => {
                let remedy =
                    if is_manual { "Create a Checkpoint with that UID, or without spec.pod.uid" } else { SUCCESSOR };
                format!("pod `{pod}` now has UID {uid} instead of {expected}. {remedy}")
            }
            Self::Terminating if is_manual => {
                format!("pod `{pod}` is terminating. Create a Checkpoint of the pod that replaces it")
            }
            Self::Terminating => format!("pod `{pod}` is terminating. {SUCCESSOR}"),
            Self::Ended if is_manual => {
                format!(
                    "pod `{pod}` has ended, and its containers do not run again. Create a Checkpoint of a running pod"
                )
            }
            Self::Ended => format!("pod `{pod}` has ended, and its containers do not run again. {SUCCESSOR}"),
            Self::NotLabelled => format!(
                "pod `{pod}` is not labeled snap.weaversoft.io/snap=true. Add the label, then recreate the Checkpoint"
            ),
            Self::StaticPod => format!(
                "pod `{pod}` is a static pod, which only its kubelet can control. Run the workload as an ordinary pod"
            ),
            Self::AlreadyRestored => format!(
                "pod `{pod}` already runs from a checkpoint (snap.weaversoft.io/mutated=true), so it is not checkpointed \
                 again"
            ),
            Self::InvalidAnnotation(problem) => format!(
                "an annotation of pod `{pod}` is invalid: {problem}. Correct it, or recreate the Checkpoint with \
                 spec.container"
            ),
            Self::NoContainer => format!("pod `{pod}` has no container. Recreate the Checkpoint of another pod"),
            Self::TooManyContainers => format!(
                "pod `{pod}` has more than {MOST_CONTAINERS} containers, or their images are longer than \
                 {MOST_IMAGE_BYTES} bytes together. Such a pod is not checkpointed. Split it into smaller pods"
            ),
            Self::NoSuchContainer { container, containers } => format!(
                "pod `{pod}` has no container `{container}`. Recreate the Checkpoint with one of its containers: {}",
                containers.join(", ")
            ),
            Self::ImageChanged { container, image, expected } => {
                let remedy = if is_manual {
                    "Create a Checkpoint of that image, or without spec.image"
                } else {
                    "The new image gets its own Checkpoint"
                };
                let shown = |image: &str| shortened(image, LONGEST_IMAGE_SHOWN);
                let (image, expected) = (shown(image), shown(expected));
                format!(
                    "container `{container}` of pod `{pod}` now has image `{image}` instead of `{expected}`. {remedy}"
                )
            }
            Self::RevisionChanged { revision, expected } => {
                format!("waiting for a pod of revision {expected}: pod `{pod}` now has revision {revision}")
            }
            Self::SeveralContainers(containers) => format!(
                "the annotations of pod `{pod}` choose several containers: {}. Recreate the Checkpoint with one of them \
                 in spec.container",
                containers.join(", ")
            ),
            Self::NotRunning | Self::NotReady | Self::Delayed(_) => format!("waiting for pod `{pod}` to be Ready"),
            Self::NotStarted { container } => {
                format!("waiting for container `{container}` of pod `{pod}` to be started")
            }
            Self::NotScheduled => format!("waiting for pod `{pod}` to be scheduled to a node"),
        }
    }
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::InvalidAnnotation(problem) => write!(f, ": {problem}"),
            Self::NotStarted { container }
            | Self::NoSuchContainer { container, .. }
            | Self::ImageChanged { container, .. } => {
                write!(f, ": container `{container}`")
            }
            Self::SeveralContainers(containers) => write!(f, ": {}", containers.join(", ")),
            Self::Delayed(until) => write!(f, ": until {until}"),
            _ => Ok(()),
        }
    }
}
