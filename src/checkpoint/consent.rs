//! Whether a pod, as just read, may be checkpointed for a record, and which container: decided right before each claim
//! and each attempt.

use crate::pod::{PodFacts, Wishes};

use super::outcome::Reason;
use super::resource::Wish;

/// Why not, with words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub message: String,
}

fn refuse<T>(reason: Reason, message: String) -> Result<T, Refusal> {
    Err(Refusal { reason, message })
}

/// The container of that pod to checkpoint now. `pod` is `None` where there is none of that name.
pub fn container_now(wish: &Wish, pod: Option<&PodFacts>) -> Result<String, Refusal> {
    let (uid, wished) = match wish {
        Wish::Pod { uid, container, .. } => (Some(uid), Some(container)),
        Wish::Revision { container, .. } => (None, Some(container)),
        Wish::ByHand { uid, container, .. } => (uid.as_ref(), container.as_ref()),
    };
    let Some(pod) = pod else {
        return refuse(Reason::PodGone, "there is no such pod (any more)".to_owned());
    };
    if let Some(uid) = uid
        && uid != &pod.uid
    {
        return refuse(Reason::PodGone, format!("the pod of that name has UID {} now, not {uid}", pod.uid));
    }
    if pod.terminating {
        return refuse(Reason::PodGone, format!("pod {} is terminating", pod.name));
    }
    if !pod.labelled {
        let words = "carry the label snap.weaversoft.io/snap: \"true\"";
        return refuse(Reason::NotLabelled, format!("pod {} does not {words}, its owner's consent", pod.name));
    }
    if pod.mirror {
        return refuse(
            Reason::Rejected,
            format!("pod {} is a static pod's copy, whose containers only its kubelet knows", pod.name),
        );
    }
    if pod.restored() {
        return refuse(
            Reason::Restored,
            format!("pod {} runs from a checkpoint already (mutated: \"true\")", pod.name),
        );
    }
    let container = match (wished, &pod.wishes) {
        (Some(container), _) => container,
        (None, Ok(Wishes { containers, .. })) => match containers.as_slice() {
            [container] => container,
            several => {
                let names = several.join(", ");
                return refuse(
                    Reason::InvalidSpec,
                    format!("the pod's annotation chooses {names}: name one in spec.container"),
                );
            }
        },
        (None, Err(problem)) => {
            return refuse(Reason::InvalidSpec, format!("{problem}; name the container in spec.container"));
        }
    };
    let Some(facts) = pod.container(container) else {
        return refuse(Reason::NoSuchContainer, format!("pod {} has no container `{container}`", pod.name));
    };
    if !pod.running || pod.ready_since.is_none() || !facts.started {
        return refuse(
            Reason::NotReady,
            format!("waiting for pod {} to be Ready with container `{container}` started", pod.name),
        );
    }
    if pod.node.is_none() {
        return refuse(Reason::NotReady, format!("pod {} is on no node", pod.name));
    }
    Ok(container.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::WatchedPod;

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

    fn by_hand(uid: Option<&str>, container: Option<&str>) -> Wish {
        Wish::ByHand { name: "web".into(), uid: uid.map(Into::into), container: container.map(Into::into) }
    }

    #[test]
    fn a_ready_pod_that_consents_is_checkpointed() {
        let automatic = Wish::Pod { name: "web".into(), uid: "u".into(), container: "app".into() };
        for wish in [automatic, by_hand(None, None), by_hand(Some("u"), Some("app"))] {
            assert_eq!(container_now(&wish, Some(&ready())).as_deref(), Ok("app"), "{wish:?}");
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
            ("restored", app(), change(|pod| pod.mutated = Some("true".into())), Reason::Restored),
            ("no such container", by_hand(None, Some("nope")), change(|_| ()), Reason::NoSuchContainer),
            ("a static pod's copy", app(), change(|pod| pod.mirror = true), Reason::Rejected),
            ("not Ready", app(), change(|pod| pod.ready_since = None), Reason::NotReady),
            ("not running", app(), change(|pod| pod.running = false), Reason::NotReady),
            ("container not started", by_hand(None, Some("proxy")), change(|_| ()), Reason::NotReady),
            (
                "annotation broken",
                by_hand(None, None),
                change(|pod| pod.wishes = Err("broken".into())),
                Reason::InvalidSpec,
            ),
        ] {
            assert_eq!(container_now(&wish, pod.as_ref()).map_err(|refusal| refusal.reason), Err(reason), "{case}");
        }
    }
}
