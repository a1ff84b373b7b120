//! Whether a pod may be checkpointed now, and which of its containers.
//!
//! This is the only place that decides it: the watch, claims, attempts and the next pod of a revision all use it. The
//! result depends on the state of the pod alone, never on the kind of event that delivered it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::checkpoint::CheckpointTarget;
use crate::checkpoint_name::shortened;
use crate::outcome::Reason;
use crate::pod::{PodFacts, PodName};

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

/// Which containers are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Those that the annotations choose, after the delay.
    Annotated,
    /// The target of a Checkpoint. The delay does not matter any more.
    Target(&'a CheckpointTarget),
}

/// Returns the containers that can be checkpointed. `pod` is `None` if there is no pod of that name.
pub fn check(pod: Option<&PodFacts>, choice: Choice<'_>, now: Timestamp) -> Result<Vec<String>, Ineligible> {
    let pod = pod.ok_or(Ineligible::Gone)?;
    if let Choice::Target(target) = choice
        && let Some(expected) = uid(target)
        && *expected != pod.uid
    {
        return Err(Ineligible::Replaced { uid: pod.uid.clone(), expected: expected.clone() });
    }
    is_allowed(pod)?;
    let containers = chosen(pod, choice)?;
    if let Choice::Target(target) = choice {
        is_same_version(pod, &containers, target)?;
    }
    is_ready(pod, &containers)?;
    if let Choice::Annotated = choice
        && let Some(due) = end_of_delay(pod).filter(|due| *due > now)
    {
        return Err(Ineligible::Delayed(due));
    }
    Ok(containers)
}

fn uid(target: &CheckpointTarget) -> Option<&String> {
    match target {
        CheckpointTarget::Pod { uid, .. } => Some(uid),
        CheckpointTarget::Manual { uid, .. } => uid.as_ref(),
        CheckpointTarget::Revision { .. } => None,
    }
}

fn is_allowed(pod: &PodFacts) -> Result<(), Ineligible> {
    if pod.terminating {
        return Err(Ineligible::Terminating);
    }
    if pod.ended {
        return Err(Ineligible::Ended);
    }
    if !pod.labelled {
        return Err(Ineligible::NotLabelled);
    }
    if pod.mirror {
        return Err(Ineligible::StaticPod);
    }
    if pod.restored() {
        return Err(Ineligible::AlreadyRestored);
    }
    Ok(())
}

/// The container that a Checkpoint names, else those that the pod's annotations choose.
fn chosen(pod: &PodFacts, choice: Choice<'_>) -> Result<Vec<String>, Ineligible> {
    let named = match choice {
        Choice::Annotated => None,
        Choice::Target(CheckpointTarget::Pod { container, .. } | CheckpointTarget::Revision { container, .. }) => {
            Some(container)
        }
        Choice::Target(CheckpointTarget::Manual { container, .. }) => container.as_ref(),
    };
    if let Some(container) = named {
        if pod.container(container).is_none() {
            let containers = pod.containers.iter().map(|container| container.name.clone()).collect();
            return Err(Ineligible::NoSuchContainer { container: container.clone(), containers });
        }
        return Ok(vec![container.clone()]);
    }
    let options = pod.options.as_ref().map_err(|problem| Ineligible::InvalidAnnotation(problem.clone()))?;
    match (options.containers.as_slice(), choice) {
        ([], _) => Err(Ineligible::NoContainer),
        ([_, _, ..], Choice::Target(_)) => Err(Ineligible::SeveralContainers(options.containers.clone())),
        (containers, _) => Ok(containers.to_vec()),
    }
}

/// Whether the pod was not updated in place since the Checkpoint was created.
fn is_same_version(pod: &PodFacts, containers: &[String], target: &CheckpointTarget) -> Result<(), Ineligible> {
    let expected = match target {
        CheckpointTarget::Pod { image, .. } => Some(image),
        CheckpointTarget::Manual { image, .. } => image.as_ref(),
        CheckpointTarget::Revision { revision, .. } if revision != pod.revision() => {
            let (revision, expected) = (pod.revision().to_owned(), revision.clone());
            return Err(Ineligible::RevisionChanged { revision, expected });
        }
        CheckpointTarget::Revision { .. } => None,
    };
    let container = containers.iter().find_map(|name| pod.container(name));
    let Some((expected, container)) = expected.zip(container) else { return Ok(()) };
    if container.image == *expected {
        return Ok(());
    }
    let (container, image) = (container.name.clone(), container.image.clone());
    Err(Ineligible::ImageChanged { container, image, expected: expected.clone() })
}

fn is_ready(pod: &PodFacts, containers: &[String]) -> Result<(), Ineligible> {
    if !pod.running {
        return Err(Ineligible::NotRunning);
    }
    if pod.ready_since.is_none() {
        return Err(Ineligible::NotReady);
    }
    let is_started = |name: &String| pod.container(name).is_some_and(|container| container.started);
    if let Some(container) = containers.iter().find(|name| !is_started(name)) {
        return Err(Ineligible::NotStarted { container: container.clone() });
    }
    if pod.node.is_none() {
        return Err(Ineligible::NotScheduled);
    }
    Ok(())
}

/// Without a delay there is none: a clock behind the clock of the nodes must not cause one.
fn end_of_delay(pod: &PodFacts) -> Option<Timestamp> {
    let delay = pod.options.as_ref().ok().map(|options| options.delay).filter(|delay| !delay.is_zero())?;
    pod.ready_since?.checked_add(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX)).ok()
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
            Self::InvalidAnnotation(_) | Self::SeveralContainers(_) => Reason::InvalidSpec,
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

    /// Whether only a change of the pod's labels, annotations or identity makes it eligible.
    pub fn is_lasting(&self) -> bool {
        self.reason() != Reason::NotReady
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

#[cfg(test)]
mod tests;
