//! Whether a pod may be checkpointed now, and which of its containers.
//!
//! This is the only place that decides it: the watch, claims, attempts and the next pod of a revision all use it. The
//! result depends on the state of the pod alone, never on the kind of event that delivered it.

mod ineligible;

use jiff::{SignedDuration, Timestamp};

use crate::checkpoint::CheckpointTarget;
use crate::pod::PodFacts;

pub use ineligible::Ineligible;

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
    if pod.too_many_containers {
        return Err(Ineligible::TooManyContainers);
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
        if !pod.has_container(container) {
            let containers = pod.containers.iter().map(|container| container.name.to_string()).collect();
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
    let Some((expected, container)) = expected.zip(containers.first()) else { return Ok(()) };
    if pod.has_image(container, expected) != Some(false) {
        return Ok(());
    }
    // A summary does not know it. The live read of the pod, which decides, does.
    let image = pod.container(container).map(|container| container.image.to_string()).unwrap_or_default();
    Err(Ineligible::ImageChanged { container: container.clone(), image, expected: expected.clone() })
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

#[cfg(test)]
mod tests;
