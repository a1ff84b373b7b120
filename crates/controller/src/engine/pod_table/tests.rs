mod updates;

use super::*;
use snapwatcher_api::fixtures::{self, PodFixture, at};
use snapwatcher_api::keys::{CONTAINERS, DELAY, POD_TEMPLATE_HASH};

/// Pod `pod-<uid>`, Ready or no longer Ready since `at(0)`.
fn pod(uid: &str, ready: bool) -> PodFixture {
    let pod = fixtures::pod(&format!("pod-{uid}")).uid(uid).labeled();
    if ready { pod.ready(0) } else { pod.not_ready(0) }
}

fn now(second: u64) -> Now {
    Now { wall: at(i64::try_from(second).unwrap()), boot: boot(second) }
}

fn boot(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn apply(table: &mut PodTable, uid: &str, ready: bool) -> Vec<PodAction> {
    table.apply(0, Event::Apply(pod(uid, ready).watched()), now(1))
}

fn name(uid: &str) -> PodName {
    PodName { namespace: "default".into(), name: format!("pod-{uid}").into() }
}

/// Container `app` of pod `pod-<uid>`.
fn app(uid: &str) -> ContainerKey {
    ContainerKey { pod: name(uid), uid: uid.into(), container: "app".into(), image: fixtures::IMAGE.into() }
}

/// UIDs of the pods to claim.
fn claims(actions: &[PodAction]) -> Vec<String> {
    let claim = |action: &PodAction| if let PodAction::Claim(key) = action { Some(key.uid.clone()) } else { None };
    actions.iter().filter_map(claim).collect()
}

fn event(table: &PodTable, uid: &str) -> &'static str {
    table.get(&name(uid)).unwrap().event.as_str()
}

#[test]
fn a_pod_eligible_when_first_seen_is_claimed_as_added() {
    let mut table = PodTable::default();
    table.apply(0, Event::Init, now(1));
    let actions = table.apply(0, Event::InitApply(pod("a", true).watched()), now(1));
    assert!(matches!(actions[0], PodAction::Seen(_)));
    assert_eq!((claims(&actions), event(&table, "a")), (vec!["a".to_owned()], "ADDED"));
}

#[test]
fn a_pod_that_becomes_ready_later_is_claimed_as_modified() {
    let mut table = PodTable::default();
    assert!(claims(&apply(&mut table, "a", false)).is_empty());
    assert_eq!(claims(&apply(&mut table, "a", true)), ["a"]);
    assert_eq!(event(&table, "a"), "MODIFIED");
}

#[test]
fn of_a_pod_that_does_not_run_yet_or_any_more_no_containers_are_kept() {
    let mut table = PodTable::default();
    let long =
        |pod: PodFixture| pod.containers(["app", "side", "third"]).annotation(CONTAINERS, "*").image(&"x".repeat(500));
    let waiting = || long(fixtures::pod("pod-a").uid("a").labeled());
    for state in [waiting(), waiting().phase("Pending"), waiting().node("n1").phase("Pending")] {
        assert!(claims(&table.apply(0, Event::Apply(state.watched()), now(1))).is_empty());
        let kept = &table.get(&name("a")).unwrap().pod;
        assert!(kept.containers.is_empty() && kept.options.as_ref().unwrap().containers.len() == 2);
        assert!(kept.has_container("side") && !kept.has_container("other"));
        assert!(format!("{kept:?}").len() < 1000, "{kept:?}");
    }
    let running = || waiting().ready(0);
    assert_eq!(claims(&table.apply(0, Event::Apply(running().watched()), now(2))), ["a", "a", "a"]);
    // It keeps them while it does not run for a while: an image may be changed meanwhile.
    table.apply(0, Event::Apply(running().phase("Unknown").watched()), now(3));
    assert_eq!(table.get(&name("a")).unwrap().pod.containers.len(), 3);
    table.apply(0, Event::Apply(running().phase("Succeeded").watched()), now(4));
    assert!(table.get(&name("a")).unwrap().pod.containers.is_empty());
}

#[test]
fn a_look_at_a_revision_is_a_look_at_its_pods_alone() {
    let mut table = PodTable::default();
    let of = |uid: &str, revision: &str| pod(uid, true).label(POD_TEMPLATE_HASH, revision).watched();
    for number in 0..60 {
        let revision = ["1", "2"][number % 2];
        table.apply(0, Event::Apply(of(&number.to_string(), revision)), now(1));
    }
    let count =
        |table: &PodTable, revision: &str, workload: &str| table.of_revision("default", revision, workload).count();
    assert_eq!((count(&table, "1", "made-up"), count(&table, "3", "d")), (30, 0), "workloads are not known yet");
    for number in 0..58 {
        table.set_workload(&name(&number.to_string()), &number.to_string(), "d");
    }
    assert_eq!((count(&table, "1", "made-up"), count(&table, "1", "d"), count(&table, "2", "d")), (1, 30, 30));
    assert_eq!(table.of_revision("other", "1", "d").count(), 0);
    // An update in place, a deletion, and another pod of the same name.
    table.apply(0, Event::Apply(of("0", "2")), now(2));
    table.apply(0, Event::Delete(of("2", "1")), now(2));
    let other = fixtures::pod("pod-4").uid("other").label(POD_TEMPLATE_HASH, "1").watched();
    table.apply(0, Event::Apply(other), now(2));
    assert_eq!((count(&table, "1", "d"), count(&table, "2", "d"), count(&table, "1", "made-up")), (28, 31, 2));
    table.apply(0, Event::Init, now(3));
    table.apply(0, Event::InitDone, now(3));
    assert_eq!(
        (count(&table, "1", "d"), table.by_revision.names(RevisionDigest::new("default", "1", None)).count()),
        (0, 0)
    );
}

#[test]
fn a_container_is_claimed_once_however_many_events_arrive() {
    let mut table = PodTable::default();
    assert_eq!(claims(&apply(&mut table, "a", true)).len(), 1);
    assert!(claims(&apply(&mut table, "a", true)).is_empty(), "under way");
    table.claim_done(&app("a"), now(1));
    for ready in [true, false, true] {
        assert!(claims(&apply(&mut table, "a", ready)).is_empty(), "made");
    }
}

#[test]
fn a_relist_repeats_no_claim_and_removes_pods_that_are_gone() {
    let mut table = PodTable::default();
    for uid in ["a", "b"] {
        apply(&mut table, uid, true);
        table.claim_done(&app(uid), now(1));
    }
    table.apply(0, Event::Init, now(2));
    assert!(table.apply(0, Event::InitApply(pod("a", true).watched()), now(2)).is_empty());
    let gone = table.apply(0, Event::InitDone, now(2));
    assert_eq!(gone, [PodAction::changed(&pod("b", true).facts())]);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_relist_of_one_namespace_leaves_the_pods_of_another_alone() {
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    table.apply(1, Event::Init, now(2));
    assert!(table.apply(1, Event::InitDone, now(2)).is_empty());
    assert_eq!(table.len(), 1);
}

#[test]
fn a_pod_that_becomes_ready_again_or_is_deleted_has_changed() {
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    table.claim_done(&app("a"), now(1));
    let changed = [PodAction::changed(&pod("a", true).facts())];
    assert!(apply(&mut table, "a", true).is_empty(), "nothing has changed");
    let blocked = apply(&mut table, "a", false);
    assert!(matches!(blocked[..], [PodAction::Blocked { cause: Ineligible::NotReady, .. }]), "{blocked:?}");
    assert!(apply(&mut table, "a", true).contains(&changed[0]));
    assert_eq!(table.apply(0, Event::Delete(pod("a", true).watched()), now(3)), changed);
}

#[test]
fn a_delayed_pod_is_rechecked_when_the_delay_has_passed() {
    let mut table = PodTable::default();
    let delayed = pod("a", true).annotation(DELAY, "30s").watched();
    let actions = table.apply(0, Event::Apply(delayed), now(1));
    assert!(actions.contains(&PodAction::Recheck { pod: name("a"), at: boot(30) }), "{actions:?}");
    assert!(actions.iter().any(
        |action| matches!(action, PodAction::Blocked { cause: Ineligible::Delayed(until), .. } if *until == at(30))
    ));
    assert_eq!(claims(&table.recheck(&name("a"), now(30))), ["a"]);
}

#[test]
fn a_failed_claim_is_retried_after_waits_that_double_up_to_a_limit() {
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    let mut second = 1;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let Some(PodAction::Recheck { at, .. }) =
            table.claim_failed(&app("a"), CLAIM_RETRY, Backoff::NO_JITTER, now(second))
        else {
            panic!("a failed claim is retried");
        };
        assert!(claims(&table.recheck(&name("a"), now(second))).is_empty(), "not before it is due");
        assert_eq!(claims(&table.recheck(&name("a"), now(at.as_secs()))).len(), 1);
        waits.push(at.as_secs() - second);
        second = at.as_secs();
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8, 8, 8]);
}

#[test]
fn each_of_two_failed_claims_of_a_pod_is_retried() {
    let mut table = PodTable::default();
    let two =
        fixtures::pod("pod-a").uid("a").labeled().containers(["app", "side"]).annotation(CONTAINERS, "*").ready(0);
    let two = two.watched();
    table.apply(0, Event::Apply(two), now(1));
    let side = ContainerKey { container: "side".into(), ..app("a") };
    let recheck = |second| PodAction::Recheck { pod: name("a"), at: boot(second) };
    assert_eq!(table.claim_failed(&side, CLAIM_RETRY, Backoff::NO_JITTER, now(1)), Some(recheck(2)));
    table.recheck(&name("a"), now(2));
    assert_eq!(table.claim_failed(&app("a"), CLAIM_RETRY, Backoff::NO_JITTER, now(2)), Some(recheck(3)));
    let earlier = table.claim_failed(&side, CLAIM_RETRY, Backoff::NO_JITTER, now(2));
    assert_eq!(earlier, Some(recheck(3)), "the retry of the other one is not put off");
    assert!(table.recheck(&name("a"), now(3)).contains(&recheck(4)), "the other one is not forgotten");
}

#[test]
fn a_claim_that_was_ineligible_is_repeated_by_the_next_state() {
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    assert_eq!(table.claim_ineligible(&app("a"), now(1)), None);
    assert_eq!(claims(&apply(&mut table, "a", true)).len(), 1);
}

#[test]
fn a_claim_before_the_end_of_the_delay_is_repeated_at_its_end() {
    let mut table = PodTable::default();
    table.apply(0, Event::Apply(pod("a", true).annotation(DELAY, "30s").watched()), now(40));
    let recheck = PodAction::Recheck { pod: name("a"), at: boot(30) };
    assert_eq!(table.claim_ineligible(&app("a"), now(10)), Some(recheck), "the clock was set back");
}

#[test]
fn a_deleted_checkpoint_lets_its_pod_be_claimed_again() {
    let mut table = PodTable::default();
    for uid in ["a", "b"] {
        apply(&mut table, uid, true);
        table.claim_done(&app(uid), now(1));
    }
    assert_eq!(claims(&table.reclaim(|entry| entry.pod.uid == "a", now(2))), ["a"]);
    table.claim_done(&app("a"), now(1));
    assert_eq!(table.reclaim(|_| true, now(2)).len(), 2);
}

#[test]
fn a_claim_is_repeated_if_a_checkpoint_was_deleted_during_it() {
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    assert!(table.reclaim(|entry| entry.pod.uid == "a", now(1)).is_empty(), "the claim is under way");
    assert_eq!(table.claim_done(&app("a"), now(1)), Some(PodAction::Recheck { pod: name("a"), at: boot(3) }));
    assert_eq!(claims(&table.recheck(&name("a"), now(3))), ["a"]);
    assert_eq!(table.claim_done(&app("a"), now(3)), None);
}

fn is_changed(actions: &[PodAction]) -> bool {
    actions.iter().any(|action| matches!(action, PodAction::Changed { .. }))
}

#[test]
fn a_pod_that_starts_to_run_has_changed_before_it_is_ready() {
    let mut table = PodTable::default();
    let mut has_changed =
        |phase: &str| is_changed(&table.apply(0, Event::Apply(pod("a", false).phase(phase).watched()), now(1)));
    assert_eq!(["Pending", "Running", "Running"].map(&mut has_changed), [false, true, false]);
}

#[test]
fn a_pod_with_an_invalid_annotation_has_changed_when_it_becomes_ready() {
    let mut table = PodTable::default();
    let broken = |pod: PodFixture| Event::Apply(pod.annotation(DELAY, "soon").watched());
    assert!(!is_changed(&table.apply(0, broken(pod("a", false).phase("Pending")), now(1))));
    table.apply(0, broken(pod("a", false)), now(2));
    assert!(!is_changed(&table.apply(0, broken(pod("a", false)), now(3))));
    assert!(is_changed(&table.apply(0, broken(pod("a", true)), now(4))), "a manual Checkpoint may wait for it");
}

#[test]
fn a_cause_is_reported_when_it_changes() {
    let mut table = PodTable::default();
    let is_blocked = |actions: Vec<PodAction>| actions.iter().any(|action| matches!(action, PodAction::Blocked { .. }));
    assert!(is_blocked(apply(&mut table, "a", false)));
    assert!(!is_blocked(apply(&mut table, "a", false)));
    let unblocked = apply(&mut table, "a", true);
    assert!(unblocked.iter().any(|action| matches!(action, PodAction::Unblocked(_))), "{unblocked:?}");
    assert!(is_blocked(apply(&mut table, "a", false)));
}

#[test]
fn a_new_pod_of_the_same_name_is_another_pod() {
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    table.claim_done(&app("a"), now(1));
    let mut again = pod("a2", true).watched();
    again.metadata.name = Some("pod-a".into());
    assert_eq!(claims(&table.apply(0, Event::Apply(again), now(2))), ["a2"]);
}

#[test]
fn a_pod_that_ends_has_changed() {
    let mut table = PodTable::default();
    apply(&mut table, "a", false);
    let ended = || Event::Apply(pod("a", false).phase("Failed").watched());
    assert!(is_changed(&table.apply(0, ended(), now(2))), "a Checkpoint may wait for it");
    assert!(!is_changed(&table.apply(0, ended(), now(3))));
}
