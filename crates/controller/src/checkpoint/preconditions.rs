//! Whether a pod may be checkpointed now, and which container: checked before each claim and each attempt, on a pod that was
//! just read.
//!
//! A new condition also goes into `watch/eligibility.rs`, which decides when a pod is claimed.

use snapwatcher_api::checkpoint::CheckpointTarget;
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::{PodFacts, PodName};

/// A precondition that is not met, with a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetPrecondition {
    pub reason: Reason,
    pub message: String,
}

impl UnmetPrecondition {
    /// The pod of a Checkpoint that SnapWatcher created does not exist.
    pub fn pod_gone(name: &PodName) -> Self {
        unmet(Reason::PodGone, format!("pod `{name}` is gone. {SUCCESSOR}"))
    }
}

/// What happens to a pod that replaces one that is gone.
const SUCCESSOR: &str = "A new pod gets its own Checkpoint";

fn unmet(reason: Reason, message: String) -> UnmetPrecondition {
    UnmetPrecondition { reason, message }
}

/// Returns the container to checkpoint. `pod` is `None` if there is no pod of that name.
pub(super) fn check(
    target: &CheckpointTarget,
    name: &PodName,
    pod: Option<&PodFacts>,
) -> Result<String, UnmetPrecondition> {
    let pod = existing(target, name, pod)?;
    is_allowed(name, pod)?;
    let container = chosen_container(target, name, pod)?;
    is_ready(name, pod, container)?;
    Ok(container.to_owned())
}

/// The pod exists, is the one that the Checkpoint names, and is not being deleted.
fn existing<'a>(
    target: &CheckpointTarget,
    name: &PodName,
    pod: Option<&'a PodFacts>,
) -> Result<&'a PodFacts, UnmetPrecondition> {
    let (uid, is_manual) = match target {
        CheckpointTarget::Pod { uid, .. } => (Some(uid), false),
        CheckpointTarget::Revision { .. } => (None, false),
        CheckpointTarget::Manual { uid, .. } => (uid.as_ref(), true),
    };
    let Some(pod) = pod else {
        return Err(if is_manual {
            let message = format!("pod `{name}` does not exist. Create a Checkpoint of an existing pod");
            unmet(Reason::PodGone, message)
        } else {
            UnmetPrecondition::pod_gone(name)
        });
    };
    if let Some(uid) = uid
        && uid != &pod.uid
    {
        let remedy = if is_manual { "Create a Checkpoint with that UID, or without spec.pod.uid" } else { SUCCESSOR };
        let message = format!("pod `{name}` now has UID {} instead of {uid}. {remedy}", pod.uid);
        return Err(unmet(Reason::PodGone, message));
    }
    if pod.terminating {
        let remedy = if is_manual { "Create a Checkpoint of another pod" } else { SUCCESSOR };
        return Err(unmet(Reason::PodGone, format!("pod `{name}` is terminating. {remedy}")));
    }
    Ok(pod)
}

/// The pod has opted in, and it is of a kind that can be checkpointed.
fn is_allowed(name: &PodName, pod: &PodFacts) -> Result<(), UnmetPrecondition> {
    if !pod.labelled {
        let remedy = "Add the label, then recreate the Checkpoint";
        let message = format!("pod `{name}` is not labeled snap.weaversoft.io/snap=true. {remedy}");
        return Err(unmet(Reason::NotLabelled, message));
    }
    if pod.mirror {
        let remedy = "Run the workload as an ordinary pod";
        let message = format!("pod `{name}` is a static pod, which only its kubelet can control. {remedy}");
        return Err(unmet(Reason::StaticPod, message));
    }
    if pod.restored() {
        let message = format!(
            "pod `{name}` already runs from a checkpoint (snap.weaversoft.io/mutated=true), so it is not checkpointed again"
        );
        return Err(unmet(Reason::AlreadyRestored, message));
    }
    Ok(())
}

/// The container that the Checkpoint names, else the only one that the pod's annotations choose.
fn chosen_container<'a>(
    target: &'a CheckpointTarget,
    name: &PodName,
    pod: &'a PodFacts,
) -> Result<&'a str, UnmetPrecondition> {
    let container = match target {
        CheckpointTarget::Pod { container, .. } | CheckpointTarget::Revision { container, .. } => Some(container),
        CheckpointTarget::Manual { container, .. } => container.as_ref(),
    };
    match (container, &pod.options) {
        (Some(container), _) => Ok(container),
        (None, Ok(options)) => match options.containers.as_slice() {
            [container] => Ok(container),
            several => {
                let names = several.join(", ");
                let remedy = "Recreate the Checkpoint with one of them in spec.container";
                let message = format!("the annotations of pod `{name}` choose several containers: {names}. {remedy}");
                Err(unmet(Reason::InvalidSpec, message))
            }
        },
        (None, Err(problem)) => {
            let remedy = "Correct it, or recreate the Checkpoint with spec.container";
            let message = format!("an annotation of pod `{name}` is invalid: {problem}. {remedy}");
            Err(unmet(Reason::InvalidSpec, message))
        }
    }
}

/// The container exists and has started, and the pod is Ready on a node.
fn is_ready(name: &PodName, pod: &PodFacts, container: &str) -> Result<(), UnmetPrecondition> {
    let Some(facts) = pod.container(container) else {
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        let names = names.join(", ");
        let remedy = "Recreate the Checkpoint with one of its containers";
        let message = format!("pod `{name}` has no container `{container}`. {remedy}: {names}");
        return Err(unmet(Reason::NoSuchContainer, message));
    };
    if !pod.running || pod.ready_since.is_none() || !facts.started {
        let message = format!("waiting for pod `{name}` to be Ready and its container `{container}` to be started");
        return Err(unmet(Reason::NotReady, message));
    }
    if pod.node.is_none() {
        return Err(unmet(Reason::NotReady, format!("waiting for pod `{name}` to be scheduled to a node")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::pod;

    /// Ready; its container `proxy` has not started.
    fn ready() -> PodFacts {
        pod("web").labeled().containers(["app", "proxy"]).ready(0).not_started("proxy").facts()
    }

    fn manual(uid: Option<&str>, container: Option<&str>) -> CheckpointTarget {
        CheckpointTarget::Manual { name: "web".into(), uid: uid.map(Into::into), container: container.map(Into::into) }
    }

    #[test]
    fn a_ready_labeled_pod_is_checkpointed() {
        let automatic = CheckpointTarget::Pod { name: "web".into(), uid: "u".into(), container: "app".into() };
        for target in [automatic, manual(None, None), manual(Some("u"), Some("app"))] {
            assert_eq!(check(&target, &ready().name, Some(&ready())).as_deref(), Ok("app"), "{target:?}");
        }
    }

    #[test]
    fn only_a_checkpoint_of_snapwatcher_is_followed_by_one_for_a_new_pod() {
        let terminating = PodFacts { terminating: true, ..ready() };
        let automatic = CheckpointTarget::Pod { name: "web".into(), uid: "u".into(), container: "app".into() };
        for pod in [None, Some(&terminating)] {
            let message = |target| check(&target, &ready().name, pod).unwrap_err().message;
            assert!(message(automatic.clone()).ends_with(SUCCESSOR));
            assert!(!message(manual(None, None)).contains(SUCCESSOR));
        }
    }

    #[test]
    fn each_unmet_precondition_names_its_reason() {
        let change = |change: fn(&mut PodFacts)| {
            let mut pod = ready();
            change(&mut pod);
            Some(pod)
        };
        let app = || manual(None, Some("app"));
        for (case, target, pod, reason) in [
            ("no pod", app(), None, Reason::PodGone),
            ("another pod of that name", manual(Some("other"), None), change(|_| ()), Reason::PodGone),
            ("terminating", app(), change(|pod| pod.terminating = true), Reason::PodGone),
            ("label removed", app(), change(|pod| pod.labelled = false), Reason::NotLabelled),
            ("restored", app(), change(|pod| pod.mutated = Some("true".into())), Reason::AlreadyRestored),
            ("no such container", manual(None, Some("nope")), change(|_| ()), Reason::NoSuchContainer),
            ("a static pod", app(), change(|pod| pod.mirror = true), Reason::StaticPod),
            ("not Ready", app(), change(|pod| pod.ready_since = None), Reason::NotReady),
            ("not running", app(), change(|pod| pod.running = false), Reason::NotReady),
            ("without a node", app(), change(|pod| pod.node = None), Reason::NotReady),
            ("container not started", manual(None, Some("proxy")), change(|_| ()), Reason::NotReady),
            (
                "invalid annotation",
                manual(None, None),
                change(|pod| pod.options = Err("broken".into())),
                Reason::InvalidSpec,
            ),
        ] {
            let unmet = check(&target, &ready().name, pod.as_ref()).unwrap_err();
            assert_eq!(unmet.reason, reason, "{case}");
            assert!(unmet.message.contains("pod `default/web`"), "{case}: {}", unmet.message);
        }
    }
}
