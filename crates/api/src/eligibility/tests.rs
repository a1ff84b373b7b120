use super::*;
use crate::checkpoint::WorkloadReference;
use crate::fixtures::{IMAGE, PodFixture, at, pod};
use crate::keys::{CONTAINERS, DELAY, SNAP};
use crate::pod::PodName;

/// Two containers, Ready since `at(0)`.
fn ready() -> PodFixture {
    pod("web").labeled().containers(["app", "proxy"]).ready(0)
}

fn annotated(pod: PodFixture, now: i64) -> Result<Vec<String>, Ineligible> {
    check(Some(&pod.facts()), Choice::Annotated, at(now))
}

fn manual(uid: Option<&str>, container: Option<&str>) -> CheckpointTarget {
    let (uid, container) = (uid.map(Into::into), container.map(Into::into));
    CheckpointTarget::Manual { name: "web".into(), uid, container, image: None }
}

fn automatic() -> CheckpointTarget {
    CheckpointTarget::Pod { name: "web".into(), uid: "u".into(), container: "app".into(), image: IMAGE.into() }
}

fn manual_of_image(image: &str) -> CheckpointTarget {
    CheckpointTarget::Manual { name: "web".into(), uid: None, container: None, image: Some(image.into()) }
}

fn of_revision(revision: &str) -> CheckpointTarget {
    let (workload, revision, container) = (WorkloadReference::default(), revision.into(), "app".into());
    CheckpointTarget::Revision { workload, revision, container }
}

#[test]
fn an_eligible_pod_has_its_chosen_containers() {
    assert_eq!(annotated(ready(), 0), Ok(vec!["app".into()]));
    assert_eq!(annotated(ready().annotation(CONTAINERS, "*"), 0), Ok(vec!["app".into(), "proxy".into()]));
    for target in
        [automatic(), manual(None, None), manual(Some("u"), Some("app")), manual_of_image(IMAGE), of_revision("u")]
    {
        let found = check(Some(&ready().facts()), Choice::Target(&target), at(0));
        assert_eq!(found, Ok(vec!["app".into()]), "{target:?}");
    }
}

#[test]
fn an_ineligible_pod_has_its_cause() {
    let not_started = Ineligible::NotStarted { container: "app".into() };
    for (case, pod, expected) in [
        ("snap: \"True\"", ready().label(SNAP, "True"), Ineligible::NotLabelled),
        ("no labels", pod("web").ready(0), Ineligible::NotLabelled),
        ("restored", ready().mutated("true"), Ineligible::AlreadyRestored),
        ("mirror pod", ready().mirror(), Ineligible::StaticPod),
        ("terminating", ready().terminating(), Ineligible::Terminating),
        ("pending", ready().phase("Pending"), Ineligible::NotRunning),
        ("succeeded", ready().phase("Succeeded"), Ineligible::Ended),
        ("failed", ready().phase("Failed"), Ineligible::Ended),
        ("not Ready", ready().not_ready(0), Ineligible::NotReady),
        ("no conditions", pod("web").labeled().phase("Running"), Ineligible::NotReady),
        ("not started", ready().not_started("app"), not_started),
        ("no container", pod("web").labeled().containers([]).ready(0), Ineligible::NoContainer),
    ] {
        assert_eq!(annotated(pod, 0), Err(expected), "{case}");
    }
    assert!(matches!(annotated(ready().annotation(DELAY, "soon"), 0), Err(Ineligible::InvalidAnnotation(_))));
}

#[test]
fn the_target_of_a_checkpoint_has_causes_of_its_own() {
    let several = || ready().annotation(CONTAINERS, "*");
    let no_such =
        Ineligible::NoSuchContainer { container: "nope".into(), containers: vec!["app".into(), "proxy".into()] };
    let replaced = Ineligible::Replaced { uid: "u".into(), expected: "other".into() };
    let image_changed =
        Ineligible::ImageChanged { container: "app".into(), image: "busybox:2".into(), expected: IMAGE.into() };
    let revision_changed = Ineligible::RevisionChanged { revision: "u".into(), expected: "1".into() };
    let updated = || ready().image("busybox:2");
    for (target, pod, expected) in [
        (automatic(), None, Ineligible::Gone),
        (automatic(), Some(updated()), image_changed.clone()),
        (automatic(), Some(updated().not_ready(1)), image_changed.clone()),
        (manual_of_image(IMAGE), Some(updated()), image_changed),
        (of_revision("1"), Some(ready()), revision_changed),
        (manual(Some("other"), None), Some(ready()), replaced),
        (manual(None, Some("nope")), Some(ready()), no_such),
        (manual(None, None), Some(several()), Ineligible::SeveralContainers(vec!["app".into(), "proxy".into()])),
    ] {
        let pod = pod.map(PodFixture::facts);
        assert_eq!(check(pod.as_ref(), Choice::Target(&target), at(0)), Err(expected), "{target:?}");
    }
}

#[test]
fn a_sidecar_is_eligible_if_it_is_named_and_started() {
    let with_sidecar = || ready().sidecar("cache").ready(0);
    assert_eq!(annotated(with_sidecar(), 0), Ok(vec!["app".into()]));
    assert_eq!(annotated(with_sidecar().annotation(CONTAINERS, "*"), 0), Ok(vec!["app".into(), "proxy".into()]));
    assert_eq!(annotated(with_sidecar().annotation(CONTAINERS, "cache"), 0), Ok(vec!["cache".into()]));
    let waiting = with_sidecar().annotation(CONTAINERS, "cache").not_started("cache");
    assert_eq!(annotated(waiting, 0), Err(Ineligible::NotStarted { container: "cache".into() }));
    let manual = manual(None, Some("cache"));
    let found = check(Some(&with_sidecar().facts()), Choice::Target(&manual), at(0));
    assert_eq!(found, Ok(vec!["cache".into()]));
}

#[test]
fn a_summary_of_a_pod_that_does_not_run_has_the_cause_of_the_whole_pod() {
    let waiting = || pod("web").labeled().containers(["app", "proxy", "side"]);
    let several = || waiting().annotation(CONTAINERS, "*");
    for (target, pod, expected) in [
        (automatic(), waiting(), "NotRunning"),
        (manual(None, None), waiting(), "NotRunning"),
        (manual_of_image(IMAGE), waiting(), "NotRunning"),
        (of_revision("u"), waiting(), "NotRunning"),
        (manual(None, Some("nope")), waiting(), "NoSuchContainer"),
        (manual_of_image("busybox:2"), waiting(), "ImageChanged"),
        (manual(None, None), several(), "SeveralContainers"),
        (manual(None, None), pod("web").labeled().containers([]), "NoContainer"),
    ] {
        for facts in [pod.clone().facts(), pod.facts().summary()] {
            let found = check(Some(&facts), Choice::Target(&target), at(0)).unwrap_err();
            assert_eq!(found.as_str(), expected, "{target:?}");
        }
    }
    let summary = several().facts().summary();
    assert_eq!(check(Some(&summary), Choice::Annotated, at(0)), Err(Ineligible::NotRunning));
    let invalid = pod("web").labeled().annotation(DELAY, "soon").facts().summary();
    assert!(matches!(check(Some(&invalid), Choice::Annotated, at(0)), Err(Ineligible::InvalidAnnotation(_))));
}

#[test]
fn a_delay_counts_from_the_last_time_the_pod_became_ready() {
    let delayed = || ready().annotation(DELAY, "30s");
    assert_eq!(annotated(delayed(), 0), Err(Ineligible::Delayed(at(30))));
    assert_eq!(annotated(delayed(), 29), Err(Ineligible::Delayed(at(30))));
    assert_eq!(annotated(delayed(), 30), Ok(vec!["app".into()]));
    let manual = manual(None, None);
    assert!(check(Some(&delayed().facts()), Choice::Target(&manual), at(0)).is_ok(), "a person does not wait");
}

#[test]
fn a_clock_behind_the_clock_of_the_nodes_does_not_delay_a_pod_without_delay() {
    assert_eq!(annotated(ready(), -100), Ok(vec!["app".into()]));
}

#[test]
fn mutated_with_another_value_than_true_does_not_matter() {
    for value in ["false", "junk", ""] {
        assert_eq!(annotated(ready().mutated(value), 0), Ok(vec!["app".into()]), "{value:?}");
    }
}

#[test]
fn a_message_names_the_pod_and_what_to_do() {
    let name = PodName { namespace: "default".into(), name: "web".into() };
    let terminating = |target| Ineligible::Terminating.message(&name, &target);
    assert_eq!(terminating(automatic()), "pod `default/web` is terminating. A new pod gets its own Checkpoint");
    let message = terminating(manual(None, None));
    assert_eq!(message, "pod `default/web` is terminating. Create a Checkpoint of the pod that replaces it");
    let changed = |image: &str, target: CheckpointTarget| {
        let (container, image, expected) = ("app".to_owned(), image.to_owned(), IMAGE.to_owned());
        Ineligible::ImageChanged { container, image, expected }.message(&name, &target)
    };
    let message = "container `app` of pod `default/web` now has image `busybox:2` instead of `busybox:1`";
    assert_eq!(changed("busybox:2", automatic()), format!("{message}. The new image gets its own Checkpoint"));
    assert_eq!(
        changed("busybox:2", manual_of_image(IMAGE)),
        format!("{message}. Create a Checkpoint of that image, or without spec.image")
    );
    assert!(changed(&"i".repeat(512), automatic()).len() < 400);
}

/// Two causes are left out: the watch selects by the label, and the API server accepts no pod without containers. The
/// others are causes of a Checkpoint, which its status shows.
#[test]
fn the_page_of_troubleshooting_lists_the_causes() {
    let page = include_str!("../../../../docs/troubleshooting.md");
    let rows: Vec<&str> = page.split("| `waiting_for` |").nth(1).unwrap().lines().collect();
    for cause in [
        Ineligible::NotRunning,
        Ineligible::NotReady,
        Ineligible::NotScheduled,
        Ineligible::NotStarted { container: "app".into() },
        Ineligible::Delayed(at(0)),
        Ineligible::InvalidAnnotation("broken".into()),
        Ineligible::AlreadyRestored,
        Ineligible::StaticPod,
        Ineligible::Terminating,
        Ineligible::Ended,
    ] {
        let start = format!("| {} |", cause.as_str());
        assert!(rows.iter().any(|row| row.starts_with(&start)), "{}", cause.as_str());
    }
}
