//! Whether a pod is eligible to be checkpointed. It depends on the state of the pod alone, never on the kind of event.
//!
//! A new condition also goes into `checkpoint/preconditions.rs`, which tests the pod as read right before a claim or attempt.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::pod::{CheckpointOptions, PodFacts};

/// What follows from the state of a pod for its chosen containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Eligibility {
    /// These containers can be claimed now.
    Eligible(Vec<String>),
    /// Eligible at that time, when the delay has passed.
    Delayed(Timestamp),
    /// Not eligible now. A later state may change it.
    NotYet(Ineligible),
    /// Not eligible, unless its labels or annotations change.
    Never(Ineligible),
}

/// Why a pod is not eligible; `waiting_for` in `/pods`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ineligible {
    NotLabelled,
    AlreadyRestored,
    StaticPod,
    Terminating,
    NotRunning,
    NotReady,
    NotStarted {
        container: String,
    },
    InvalidAnnotation(String),
    NoContainer,
    /// The delay has passed at that time.
    Delayed(Timestamp),
}

impl Ineligible {
    /// The CamelCase word with which the text of `waiting_for` starts.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::NotLabelled => "NotLabelled",
            Self::AlreadyRestored => "AlreadyRestored",
            Self::StaticPod => "StaticPod",
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

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::InvalidAnnotation(problem) => write!(f, ": {problem}"),
            Self::NotStarted { container } => write!(f, ": container `{container}`"),
            Self::Delayed(until) => write!(f, ": until {until}"),
            _ => Ok(()),
        }
    }
}

/// Assesses a pod at that time.
pub(super) fn assess(pod: &PodFacts, now: Timestamp) -> Eligibility {
    if !pod.labelled {
        return Eligibility::Never(Ineligible::NotLabelled);
    }
    if pod.mirror {
        return Eligibility::Never(Ineligible::StaticPod);
    }
    if pod.restored() {
        return Eligibility::Never(Ineligible::AlreadyRestored);
    }
    if pod.terminating {
        return Eligibility::Never(Ineligible::Terminating);
    }
    let CheckpointOptions { containers, delay, .. } = match &pod.options {
        Ok(options) => options,
        Err(problem) => return Eligibility::Never(Ineligible::InvalidAnnotation(problem.clone())),
    };
    if containers.is_empty() {
        return Eligibility::Never(Ineligible::NoContainer);
    }
    if !pod.running {
        return Eligibility::NotYet(Ineligible::NotRunning);
    }
    let Some(ready_since) = pod.ready_since else {
        return Eligibility::NotYet(Ineligible::NotReady);
    };
    let is_started = |name: &String| pod.container(name).is_some_and(|container| container.started);
    if let Some(container) = containers.iter().find(|name| !is_started(name)) {
        return Eligibility::NotYet(Ineligible::NotStarted { container: container.clone() });
    }
    let delay = SignedDuration::try_from(*delay).unwrap_or(SignedDuration::MAX);
    match ready_since.checked_add(delay) {
        Ok(due) if !delay.is_zero() && due > now => Eligibility::Delayed(due),
        _ => Eligibility::Eligible(containers.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::{PodFixture, at, pod};
    use snapwatcher_api::keys::{CONTAINERS, DELAY, SNAP};

    /// Two containers, Ready since `at(0)`.
    fn eligible() -> PodFixture {
        pod("web").labeled().containers(["app", "proxy"]).ready(0)
    }

    fn app() -> Eligibility {
        Eligibility::Eligible(vec!["app".into()])
    }

    #[test]
    fn an_eligible_pod_is_claimed_for_its_chosen_containers() {
        assert_eq!(assess(&eligible().facts(), at(0)), app());
        let both = Eligibility::Eligible(vec!["app".into(), "proxy".into()]);
        assert_eq!(assess(&eligible().annotation(CONTAINERS, "*").facts(), at(0)), both);
    }

    #[test]
    fn assess_names_why_a_pod_is_not_eligible() {
        use Eligibility::{Never, NotYet};
        let not_started = Ineligible::NotStarted { container: "app".into() };
        let cases = [
            ("snap: \"True\"", eligible().label(SNAP, "True"), Never(Ineligible::NotLabelled)),
            ("no labels", pod("web").ready(0), Never(Ineligible::NotLabelled)),
            ("restored", eligible().mutated("true"), Never(Ineligible::AlreadyRestored)),
            ("mirror pod", eligible().mirror(), Never(Ineligible::StaticPod)),
            ("terminating", eligible().terminating(), Never(Ineligible::Terminating)),
            ("pending", eligible().phase("Pending"), NotYet(Ineligible::NotRunning)),
            ("succeeded", eligible().phase("Succeeded"), NotYet(Ineligible::NotRunning)),
            ("not Ready", eligible().not_ready(0), NotYet(Ineligible::NotReady)),
            ("no conditions", pod("web").labeled().phase("Running"), NotYet(Ineligible::NotReady)),
            ("not started", eligible().not_started("app"), NotYet(not_started)),
            ("no container", pod("web").labeled().containers([]).ready(0), Never(Ineligible::NoContainer)),
        ];
        for (case, pod, expected) in cases {
            assert_eq!(assess(&pod.facts(), at(0)), expected, "{case}");
        }
    }

    #[test]
    fn mutated_with_another_value_than_true_does_not_matter() {
        for value in ["false", "junk", ""] {
            assert_eq!(assess(&eligible().mutated(value).facts(), at(0)), app(), "{value:?}");
        }
    }

    #[test]
    fn a_delay_counts_from_the_last_time_the_pod_became_ready() {
        let delayed = |now| assess(&eligible().annotation(DELAY, "30s").facts(), now);
        assert_eq!(delayed(at(0)), Eligibility::Delayed(at(30)));
        assert_eq!(delayed(at(29)), Eligibility::Delayed(at(30)));
        assert_eq!(delayed(at(30)), app());
    }

    #[test]
    fn a_clock_behind_the_clock_of_the_nodes_does_not_delay_a_pod_without_delay() {
        assert_eq!(assess(&eligible().facts(), at(-100)), app());
    }

    #[test]
    fn a_pod_with_an_invalid_annotation_is_never_eligible() {
        let result = assess(&eligible().annotation(DELAY, "soon").facts(), at(0));
        assert!(matches!(result, Eligibility::Never(Ineligible::InvalidAnnotation(_))), "{result:?}");
    }

    /// Two causes are left out: the watch selects by the label, and the API server accepts no pod without containers.
    #[test]
    fn the_page_of_troubleshooting_lists_the_causes() {
        let page = include_str!("../../../../docs/troubleshooting.md");
        let rows: Vec<&str> = page.split("| `waiting_for` |").nth(1).unwrap().lines().collect();
        for cause in [
            Ineligible::NotRunning,
            Ineligible::NotReady,
            Ineligible::NotStarted { container: "app".into() },
            Ineligible::Delayed(at(0)),
            Ineligible::InvalidAnnotation("broken".into()),
            Ineligible::AlreadyRestored,
            Ineligible::StaticPod,
            Ineligible::Terminating,
        ] {
            let start = format!("| {} |", cause.as_str());
            assert!(rows.iter().any(|row| row.starts_with(&start)), "{}", cause.as_str());
        }
    }
}
