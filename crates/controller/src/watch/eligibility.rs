//! When a pod is worth checkpointing: the state decides, never the event that told it.

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::pod::{CheckpointOptions, PodFacts};

/// What follows from a pod's state for its chosen containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// These containers are to be claimed now.
    Claim(Vec<String>),
    /// Eligible but for its delay, which is over at that time.
    Delayed(Timestamp),
    /// Not now; a later state may change it.
    Wait(Cause),
    /// Not this pod, whatever it becomes, unless its labels or annotations change.
    Never(Cause),
}

/// What holds a pod back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    NotLabelled,
    AlreadyRestored,
    Mirror,
    Terminating,
    NotRunning,
    NotReady,
    NotStarted {
        container: String,
    },
    InvalidAnnotation(String),
    NoContainer,
    /// Its delay is over at that time.
    Delayed(Timestamp),
}

impl Cause {
    /// One CamelCase word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotLabelled => "NotLabelled",
            Self::AlreadyRestored => "AlreadyRestored",
            Self::Mirror => "MirrorPod",
            Self::Terminating => "Terminating",
            Self::NotRunning => "NotRunning",
            Self::NotReady => "NotReady",
            Self::NotStarted { .. } => "NotStarted",
            Self::InvalidAnnotation(_) => "InvalidAnnotation",
            Self::NoContainer => "NoContainer",
            Self::Delayed(_) => "Delayed",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::InvalidAnnotation(problem) => write!(f, ": {problem}"),
            Self::NotStarted { container } => write!(f, ": container `{container}`"),
            Self::Delayed(until) => write!(f, ": until {until}"),
            _ => Ok(()),
        }
    }
}

/// Assesses a pod: eligible by every rule, and Ready for as long as its delay asks.
pub fn assess(pod: &PodFacts, now: Timestamp) -> Verdict {
    if !pod.labelled {
        return Verdict::Never(Cause::NotLabelled);
    }
    if pod.mirror {
        return Verdict::Never(Cause::Mirror);
    }
    if pod.restored() {
        return Verdict::Never(Cause::AlreadyRestored);
    }
    if pod.terminating {
        return Verdict::Never(Cause::Terminating);
    }
    let CheckpointOptions { containers, delay, .. } = match &pod.options {
        Ok(wishes) => wishes,
        Err(problem) => return Verdict::Never(Cause::InvalidAnnotation(problem.clone())),
    };
    if containers.is_empty() {
        return Verdict::Never(Cause::NoContainer);
    }
    if !pod.running {
        return Verdict::Wait(Cause::NotRunning);
    }
    let Some(ready_since) = pod.ready_since else {
        return Verdict::Wait(Cause::NotReady);
    };
    let is_started = |name: &String| pod.container(name).is_some_and(|container| container.started);
    if let Some(container) = containers.iter().find(|name| !is_started(name)) {
        return Verdict::Wait(Cause::NotStarted { container: container.clone() });
    }
    let delay = SignedDuration::try_from(*delay).unwrap_or(SignedDuration::MAX);
    match ready_since.checked_add(delay) {
        Ok(due) if !delay.is_zero() && due > now => Verdict::Delayed(due),
        _ => Verdict::Claim(containers.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use snapwatcher_api::pod::WatchedPod;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A labelled pod of two containers, Ready since `at(0)`.
    fn eligible() -> Value {
        json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "labels": {"snap.weaversoft.io/snap": "true"}, "annotations": {}},
            "spec": {"nodeName": "n", "containers": [{"name": "app"}, {"name": "proxy"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(0).to_string()}],
                "containerStatuses": [
                    {"name": "app", "started": true, "state": {"running": {}}},
                    {"name": "proxy", "started": true, "state": {"running": {}}},
                ],
            },
        })
    }

    fn verdict(change: impl FnOnce(&mut Value), now: Timestamp) -> Verdict {
        let mut pod = eligible();
        change(&mut pod);
        assess(&serde_json::from_value::<WatchedPod>(pod).unwrap().into(), now)
    }

    fn annotated(key: &str, value: &str, now: Timestamp) -> Verdict {
        verdict(|pod| pod["metadata"]["annotations"][key] = json!(value), now)
    }

    #[test]
    fn an_eligible_pod_is_claimed_for_its_chosen_containers() {
        assert_eq!(verdict(|_| (), at(0)), Verdict::Claim(vec!["app".into()]));
        let both = Verdict::Claim(vec!["app".into(), "proxy".into()]);
        assert_eq!(annotated("snap.weaversoft.io/containers", "*", at(0)), both);
    }

    #[test]
    fn assess_names_what_holds_a_pod_back() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, Verdict); 11] = [
            (
                "snap: \"True\"",
                |pod| pod["metadata"]["labels"]["snap.weaversoft.io/snap"] = json!("True"),
                Verdict::Never(Cause::NotLabelled),
            ),
            ("no labels", |pod| pod["metadata"]["labels"] = json!({}), Verdict::Never(Cause::NotLabelled)),
            (
                "restored",
                |pod| pod["metadata"]["labels"]["snap.weaversoft.io/mutated"] = json!("true"),
                Verdict::Never(Cause::AlreadyRestored),
            ),
            (
                "mirror pod",
                |pod| pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!("x"),
                Verdict::Never(Cause::Mirror),
            ),
            (
                "terminating",
                |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
                Verdict::Never(Cause::Terminating),
            ),
            ("pending", |pod| pod["status"]["phase"] = json!("Pending"), Verdict::Wait(Cause::NotRunning)),
            ("succeeded", |pod| pod["status"]["phase"] = json!("Succeeded"), Verdict::Wait(Cause::NotRunning)),
            (
                "not Ready",
                |pod| pod["status"]["conditions"][0]["status"] = json!("False"),
                Verdict::Wait(Cause::NotReady),
            ),
            ("no conditions", |pod| pod["status"]["conditions"] = json!([]), Verdict::Wait(Cause::NotReady)),
            (
                "not started",
                |pod| pod["status"]["containerStatuses"][0]["started"] = json!(null),
                Verdict::Wait(Cause::NotStarted { container: "app".into() }),
            ),
            ("no container at all", |pod| pod["spec"]["containers"] = json!([]), Verdict::Never(Cause::NoContainer)),
        ];
        for (case, change, expected) in cases {
            assert_eq!(verdict(change, at(0)), expected, "{case}");
        }
    }

    #[test]
    fn mutated_given_as_anything_but_true_is_no_obstacle() {
        for value in ["false", "junk", ""] {
            let given = verdict(|pod| pod["metadata"]["labels"]["snap.weaversoft.io/mutated"] = json!(value), at(0));
            assert_eq!(given, Verdict::Claim(vec!["app".into()]), "{value:?}");
        }
    }

    #[test]
    fn a_delay_counts_from_the_last_time_the_pod_became_ready() {
        let delayed = |now| annotated("snap.weaversoft.io/delay", "30s", now);
        assert_eq!(delayed(at(0)), Verdict::Delayed(at(30)));
        assert_eq!(delayed(at(29)), Verdict::Delayed(at(30)));
        assert_eq!(delayed(at(30)), Verdict::Claim(vec!["app".into()]));
    }

    #[test]
    fn a_clock_behind_the_nodes_does_not_hold_back_a_pod_without_delay() {
        assert_eq!(verdict(|_| (), at(-100)), Verdict::Claim(vec!["app".into()]));
    }

    #[test]
    fn an_annotation_that_cannot_be_parsed_means_never() {
        let verdict = annotated("snap.weaversoft.io/delay", "soon", at(0));
        assert!(matches!(verdict, Verdict::Never(Cause::InvalidAnnotation(_))), "{verdict:?}");
    }
}
