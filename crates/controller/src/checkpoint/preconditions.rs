//! Whether a pod, as just read, may be checkpointed for a record, and which container: decided right before each claim
//! and each attempt.

use snapwatcher_api::pod::{CheckpointOptions, PodFacts, PodName};

use snapwatcher_api::checkpoint::CheckpointTarget;
use snapwatcher_api::outcome::Reason;

/// Why not, with words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub message: String,
}

/// What becomes of a pod that takes the place of one that is gone.
const SUCCESSOR: &str = "a new pod gets a record of its own";

fn refuse<T>(reason: Reason, message: String) -> Result<T, Refusal> {
    Err(Refusal { reason, message })
}

/// The container of the pod of that name to checkpoint now. `pod` is `None` where there is none.
pub fn container_now(wish: &CheckpointTarget, name: &PodName, pod: Option<&PodFacts>) -> Result<String, Refusal> {
    let (uid, wished) = match wish {
        CheckpointTarget::Pod { uid, container, .. } => (Some(uid), Some(container)),
        CheckpointTarget::Revision { container, .. } => (None, Some(container)),
        CheckpointTarget::Manual { uid, container, .. } => (uid.as_ref(), container.as_ref()),
    };
    let Some(pod) = pod else {
        let message = match wish {
            CheckpointTarget::Manual { .. } => format!("there is no pod {name}: create a Checkpoint of another one"),
            _ => format!("pod {name} is gone; {SUCCESSOR}"),
        };
        return refuse(Reason::PodGone, message);
    };
    if let Some(uid) = uid
        && uid != &pod.uid
    {
        let remedy = match wish {
            CheckpointTarget::Manual { .. } => "create a Checkpoint with that UID, or without spec.pod.uid",
            _ => SUCCESSOR,
        };
        return refuse(Reason::PodGone, format!("pod {name} has UID {} now, not {uid}; {remedy}", pod.uid));
    }
    if pod.terminating {
        return refuse(Reason::PodGone, format!("pod {name} is terminating"));
    }
    if !pod.labelled {
        let label = "the label snap.weaversoft.io/snap: \"true\", its owner's consent";
        let remedy = "label it, and create the Checkpoint anew";
        return refuse(Reason::NotLabelled, format!("pod {name} does not carry {label}: {remedy}"));
    }
    if pod.mirror {
        return refuse(
            Reason::StaticPod,
            format!("pod {name} is a static pod's copy, whose containers only its kubelet knows"),
        );
    }
    if pod.restored() {
        let words = "runs from a checkpoint already (mutated: \"true\"), so it is not checkpointed again";
        return refuse(Reason::AlreadyRestored, format!("pod {name} {words}"));
    }
    let container = match (wished, &pod.options) {
        (Some(container), _) => container,
        (None, Ok(CheckpointOptions { containers, .. })) => match containers.as_slice() {
            [container] => container,
            several => {
                let names = several.join(", ");
                return refuse(
                    Reason::InvalidSpec,
                    format!("the annotation of pod {name} chooses {names}: name one in spec.container"),
                );
            }
        },
        (None, Err(problem)) => {
            return refuse(Reason::InvalidSpec, format!("pod {name}: {problem}; name the container in spec.container"));
        }
    };
    let Some(facts) = pod.container(container) else {
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        let message = format!("pod {name} has no container `{container}`: name one of {}", names.join(", "));
        return refuse(Reason::NoSuchContainer, message);
    };
    if !pod.running || pod.ready_since.is_none() || !facts.started {
        return refuse(
            Reason::NotReady,
            format!("waiting for pod {name} to be Ready with container `{container}` started"),
        );
    }
    if pod.node.is_none() {
        return refuse(Reason::NotReady, format!("waiting for pod {name} to be on a node"));
    }
    Ok(container.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use snapwatcher_api::pod::WatchedPod;

    fn ready() -> PodFacts {
        let pod: WatchedPod = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "labels": {"snap.weaversoft.io/snap": "true"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "app"}, {"name": "proxy"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [
                    {"name": "app", "started": true, "state": {"running": {}}},
                    {"name": "proxy", "started": false, "state": {"running": {}}},
                ],
            },
        }))
        .unwrap();
        pod.into()
    }

    fn by_hand(uid: Option<&str>, container: Option<&str>) -> CheckpointTarget {
        CheckpointTarget::Manual { name: "web".into(), uid: uid.map(Into::into), container: container.map(Into::into) }
    }

    #[test]
    fn a_ready_pod_that_consents_is_checkpointed() {
        let automatic = CheckpointTarget::Pod { name: "web".into(), uid: "u".into(), container: "app".into() };
        for wish in [automatic, by_hand(None, None), by_hand(Some("u"), Some("app"))] {
            assert_eq!(container_now(&wish, &ready().name, Some(&ready())).as_deref(), Ok("app"), "{wish:?}");
        }
    }

    #[test]
    fn each_refusal_names_its_reason() {
        let change = |change: fn(&mut PodFacts)| {
            let mut pod = ready();
            change(&mut pod);
            Some(pod)
        };
        let app = || by_hand(None, Some("app"));
        for (case, wish, pod, reason) in [
            ("no pod", app(), None, Reason::PodGone),
            ("another pod of that name", by_hand(Some("other"), None), change(|_| ()), Reason::PodGone),
            ("terminating", app(), change(|pod| pod.terminating = true), Reason::PodGone),
            ("label removed", app(), change(|pod| pod.labelled = false), Reason::NotLabelled),
            ("restored", app(), change(|pod| pod.mutated = Some("true".into())), Reason::AlreadyRestored),
            ("no such container", by_hand(None, Some("nope")), change(|_| ()), Reason::NoSuchContainer),
            ("a static pod's copy", app(), change(|pod| pod.mirror = true), Reason::StaticPod),
            ("not Ready", app(), change(|pod| pod.ready_since = None), Reason::NotReady),
            ("not running", app(), change(|pod| pod.running = false), Reason::NotReady),
            ("container not started", by_hand(None, Some("proxy")), change(|_| ()), Reason::NotReady),
            (
                "annotation broken",
                by_hand(None, None),
                change(|pod| pod.options = Err("broken".into())),
                Reason::InvalidSpec,
            ),
        ] {
            let refusal = container_now(&wish, &ready().name, pod.as_ref()).unwrap_err();
            assert_eq!(refusal.reason, reason, "{case}");
            assert!(refusal.message.contains("pod default/web"), "{case}: {}", refusal.message);
        }
    }
}
