use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::*;
use snapwatcher_api::fixtures::{at, checkpoint};
use snapwatcher_api::keys::ATTEMPT;

fn slots(concurrent: usize, per_node: usize) -> Slots {
    let limits = ConcurrencyLimits { concurrent, per_node, response_timeout: Duration::from_secs(120) };
    Slots::new(limits, Duration::from_secs(250))
}

fn boot(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// When the clock since boot shows this, and the wall clock the same after its start.
fn now(second: u32) -> Now {
    Now { wall: at(second.into()), boot: boot(second.into()) }
}

fn key(name: &str) -> RecordKey {
    RecordKey::new("default", name)
}

/// The container `app` of the pod with UID `u`.
fn subject_app() -> Subject {
    Subject { namespace: "default".to_owned(), pod_uid: "u".to_owned(), container: "app".to_owned() }
}

fn take(slots: &mut Slots, name: &str, node: &str) -> bool {
    slots.take(&key(name), Some(node), None, boot(0))
}

/// In progress on node `n1`.
fn in_progress(deadline: Timestamp) -> Checkpoint {
    checkpoint("web").in_progress().status(|status| status.deadline = Some(MicroTime(deadline))).build()
}

/// In progress on node `n1`, by an annotation alone.
fn made_up() -> Checkpoint {
    let mut made_up = in_progress(at(100));
    made_up.metadata.annotations = Some([(ATTEMPT.to_owned(), "{}".to_owned())].into());
    made_up
}

#[test]
fn the_limits_in_all_and_of_each_node_hold() {
    let mut slots = slots(3, 1);
    let mut take = |namespace: &str, name: &str, node: &str| {
        slots.take(&RecordKey::new(namespace, name), Some(node), None, boot(0))
    };
    assert!(take("default", "a", "n1"));
    assert!(!take("default", "b", "n1"), "the node is full");
    assert!(take("default", "b", "n2") && take("other", "c", "n3"));
    assert!(!take("other", "d", "n4"), "all slots are taken");
    slots.release(&key("a"));
    assert!(slots.take(&key("d"), Some("n4"), None, boot(0)));
}

/// How many slots each of these namespaces gets, if each takes as many as it may before the next one takes any.
fn taken_in_turn<const N: usize>(concurrent: usize, namespaces: [&str; N]) -> [usize; N] {
    let mut slots = slots(concurrent, 1);
    slots.is_shared = true;
    let mut number = 0;
    namespaces.map(|namespace| {
        while slots.has_free(namespace, None, boot(0)) {
            number += 1;
            let key = RecordKey::new(namespace, &number.to_string());
            assert!(slots.take(&key, Some(&format!("n{number}")), None, boot(0)));
        }
        slots.taken_by(namespace, boot(0))
    })
}

#[test]
fn a_namespace_whose_attempts_take_long_leaves_half_of_the_slots_to_others() {
    assert_eq!(taken_in_turn(8, ["hostile", "other"]), [4, 2]);
    assert_eq!(taken_in_turn(2, ["hostile", "other"]), [1, 1]);
    assert_eq!(taken_in_turn(1, ["other"]), [1]);
}

#[test]
fn two_namespaces_whose_attempts_take_long_leave_slots_to_others() {
    assert_eq!(taken_in_turn(8, ["hostile", "accomplice", "a", "b"]), [4, 2, 1, 1]);
    assert_eq!(taken_in_turn(4, ["hostile", "accomplice", "a", "b"]), [2, 1, 1, 0]);
}

#[test]
fn checkpoints_of_other_holders_hold_slots_until_their_deadline() {
    let mut slots = slots(8, 1);
    slots.observe(&key("theirs"), Some(&in_progress(at(10))), now(0));
    assert!(!slots.has_free("default", Some("n1"), boot(9)));
    assert_eq!(slots.next_expiry(boot(0)), Some(boot(10)));
    assert!(slots.has_free("default", Some("n1"), boot(10)));
}

#[test]
fn a_request_without_a_response_holds_its_slot_longer() {
    let mut observed = slots(8, 1);
    let no_response = checkpoint("web")
        .in_progress()
        .reason(Phase::Unknown, Reason::NoResponse)
        .status(|status| status.deadline = Some(MicroTime(at(10))))
        .build();
    observed.observe(&key("r"), Some(&no_response), now(0));
    let mut own = slots(8, 1);
    assert!(take(&mut own, "r", "n1"));
    own.responded(&key("r"), Some(at(10)), now(0));
    own.release(&key("r"));
    for slots in [observed, own] {
        assert!(!slots.has_free("default", Some("n1"), boot(129)));
        assert!(slots.has_free("default", Some("n1"), boot(130)));
    }
}

#[test]
fn a_response_frees_the_slot_before_the_outcome_is_written() {
    let mut slots = slots(1, 1);
    assert!(take(&mut slots, "a", "n1"));
    assert!(!slots.has_free("default", None, boot(0)));
    slots.responded(&key("a"), None, now(0));
    assert!(slots.has_free("default", None, boot(0)));
}

#[test]
fn a_container_waits_for_the_outcome_although_its_slot_is_free() {
    let mut slots = slots(1, 1);
    let subject = || Some(subject_app());
    assert!(slots.take(&key("manual"), Some("n1"), subject(), boot(0)));
    slots.responded(&key("manual"), None, now(0));
    slots.release(&key("manual"));
    slots.drop_outcomes(|_| true);
    assert!(slots.has_free("default", Some("n1"), boot(0)));
    assert!(!slots.take(&key("automatic"), Some("n1"), subject(), boot(0)), "the outcome is not shown");
    slots.drop_expired(boot(0), now(900));
    assert!(!slots.take(&key("automatic"), Some("n1"), subject(), boot(900)));
    slots.drop_outcomes(|_| false);
    assert!(slots.take(&key("automatic"), Some("n1"), subject(), boot(900)));
}

#[test]
fn a_checkpoint_starts_no_attempt_before_its_last_request_has_expired() {
    let mut slots = slots(8, 8);
    assert!(take(&mut slots, "a", "n1"));
    slots.responded(&key("a"), Some(at(10)), now(0));
    assert!(!slots.take(&key("a"), Some("n2"), None, boot(129)), "the back-end may still work on n1");
    assert!(slots.take(&key("a"), Some("n2"), None, boot(130)));
}

#[test]
fn two_checkpoints_of_one_container_never_run_at_once() {
    let mut slots = slots(8, 8);
    let subject = || Some(subject_app());
    assert!(slots.take(&key("automatic"), Some("n1"), subject(), boot(0)));
    assert!(!slots.take(&key("manual"), Some("n1"), subject(), boot(0)));
    slots.release(&key("automatic"));
    assert!(slots.take(&key("manual"), Some("n1"), subject(), boot(0)));
}

#[test]
fn the_checkpoints_of_one_container_hold_one_slot() {
    let mut slots = slots(3, 8);
    slots.is_shared = true;
    for name in ["a", "b", "c"] {
        slots.observe(&key(name), Some(&in_progress(at(10))), now(0));
    }
    assert!(slots.has_free("default", Some("n1"), boot(1)));
    slots.observe(&key("a"), None, now(0));
    assert!(take(&mut slots, "other", "n2"));
    assert!(!slots.has_free("default", Some("n1"), boot(1)), "the others still hold it");
}

#[test]
fn an_attempt_on_an_unknown_node_hides_no_slot_of_its_container() {
    // The order of the slots differs between runs.
    for _ in 0..20 {
        let mut slots = slots(8, 1);
        assert!(slots.take(&key("manual"), None, Some(subject_app()), boot(0)));
        slots.observe(&key("automatic"), Some(&in_progress(at(10))), now(0));
        assert!(!slots.has_free("default", Some("n1"), boot(1)));
    }
}

#[test]
fn a_deleted_checkpoint_frees_its_slot() {
    let mut slots = slots(1, 1);
    slots.observe(&key("a"), Some(&in_progress(at(100))), now(0));
    slots.observe(&key("a"), None, now(0));
    assert!(slots.has_free("default", Some("n1"), boot(1)));
}

#[test]
fn a_deadline_of_a_wrong_clock_holds_no_slot_for_longer_than_an_attempt_takes() {
    let mut observed = slots(8, 1);
    for second in [0, 100] {
        observed.observe(&key("theirs"), Some(&in_progress(at(7200))), now(second));
    }
    let mut own = slots(8, 1);
    assert!(take(&mut own, "r", "n1"));
    own.responded(&key("r"), Some(at(7200)), now(0));
    // The attempt says itself that it takes 7,200 s.
    let mut stated = checkpoint("web").in_progress().build();
    let status = stated.status.as_mut().unwrap();
    (status.start_time, status.deadline) = (Some(MicroTime(at(7100))), Some(MicroTime(at(7200))));
    let mut short = slots(8, 1);
    short.observe(&key("theirs"), Some(&stated), now(0));
    for (slots, free_at) in [(observed, 7200), (own, 250), (short, 250)] {
        assert!(!slots.has_free("default", Some("n1"), boot(free_at - 1)), "{free_at}");
        assert!(slots.has_free("default", Some("n1"), boot(free_at)), "{free_at}");
    }
}

#[test]
fn a_slot_that_has_expired_before_it_is_seen_is_free() {
    let mut slots = slots(8, 1);
    let no_response = checkpoint("web").in_progress().reason(Phase::Unknown, Reason::NoResponse).build();
    slots.observe(&key("r"), Some(&no_response), now(130 + 120));
    assert!(slots.has_free("default", Some("n1"), boot(130 + 120)));
    slots.observe(&key("r"), Some(&no_response), now(130 + 119));
    assert!(!slots.has_free("default", Some("n1"), boot(130 + 119)));
}

#[test]
fn attempts_in_annotations_hold_no_more_slots_on_a_node_than_the_limit() {
    let mut slots = slots(6, 1);
    slots.is_shared = true;
    for number in 0..8 {
        let mut made_up = made_up();
        made_up.spec.container = Some(format!("c{number}"));
        slots.observe(&key(&number.to_string()), Some(&made_up), now(0));
    }
    assert!(!slots.has_free("default", Some("n1"), boot(0)));
    assert!(take(&mut slots, "a", "n2") && take(&mut slots, "b", "n3"));
    assert!(!slots.has_free("default", Some("n4"), boot(0)), "half of six");
}

#[test]
fn annotations_show_at_most_two_attempts_of_a_container() {
    let mut slots = slots(8, 1);
    for number in 0..50 {
        slots.observe(&key(&number.to_string()), Some(&made_up()), now(0));
    }
    assert_eq!(slots.held.len(), 2);
    slots.observe(&key("written"), Some(&in_progress(at(100))), now(0));
    assert_eq!(slots.held.len(), 3, "a status always counts");
}

#[test]
fn attempts_in_annotations_of_two_namespaces_leave_slots_to_others() {
    let mut slots = slots(8, 1);
    slots.is_shared = true;
    for (namespace, nodes) in [("hostile", 0..16), ("accomplice", 16..32)] {
        for number in nodes {
            let mut made_up = made_up();
            let pod = made_up.status.as_mut().unwrap().pod.as_mut().unwrap();
            (pod.uid, pod.node) = (Some(format!("u{number}")), Some(format!("n{number}")));
            slots.observe(&RecordKey::new(namespace, &number.to_string()), Some(&made_up), now(0));
        }
        assert!(!slots.has_free(namespace, Some("n40"), boot(0)));
    }
    assert!(slots.take(&RecordKey::new("other", "a"), Some("n40"), None, boot(0)));
    assert!(!slots.take(&RecordKey::new("other", "b"), Some("n41"), None, boot(0)), "the last one is for others");
    assert!(slots.take(&RecordKey::new("further", "a"), Some("n42"), None, boot(0)));
}

#[test]
fn the_only_namespace_with_pods_has_all_slots() {
    let mut slots = slots(2, 1);
    assert!(take(&mut slots, "a", "n1") && take(&mut slots, "b", "n2"));
}

#[test]
fn an_attempt_that_is_seen_again_after_its_slot_has_expired_holds_none() {
    let mut slots = slots(8, 1);
    let mut late = in_progress(at(7200));
    late.status.as_mut().unwrap().start_time = Some(MicroTime(at(7100)));
    slots.observe(&key("theirs"), Some(&late), now(0));
    assert!(!slots.drop_expired(boot(0), now(249)));
    assert!(slots.drop_expired(boot(249), now(250)) && !slots.drop_expired(boot(250), now(251)));
    assert_eq!(slots.next_expiry(boot(251)), None);
    slots.observe(&key("theirs"), Some(&late), now(300));
    assert!(slots.has_free("default", Some("n1"), boot(300)));
    slots.drop_expired(boot(300), now(7200));
    assert!(slots.held.is_empty());
}

/// People can change other Checkpoints all the time. Then what waits for a slot is not tried again.
#[test]
fn only_a_slot_that_is_taken_or_given_back_is_a_change() {
    let mut slots = slots(8, 8);
    assert!(!slots.take_changed());
    slots.observe(&key("a"), Some(&in_progress(at(100))), now(0));
    assert!(slots.take_changed() && !slots.take_changed());
    slots.observe(&key("a"), Some(&in_progress(at(100))), now(1));
    slots.observe(&key("unknown"), None, now(1));
    slots.share(false);
    assert!(!slots.take_changed());
    slots.observe(&key("a"), None, now(1));
    assert!(slots.take_changed());
    assert!(take(&mut slots, "b", "n1") && slots.take_changed());
    slots.responded(&key("b"), None, now(2));
    assert!(slots.take_changed());
}

/// Each look at one of many forged attempts costs the same.
#[test]
fn the_attempts_of_a_container_in_annotations_are_counted() {
    let mut slots = slots(8, 8);
    for number in 0..4 {
        slots.observe(&key(&number.to_string()), Some(&made_up()), now(0));
    }
    assert_eq!((slots.held.len(), slots.annotated.values().copied().collect::<Vec<_>>()), (2, vec![2]));
    slots.observe(&key("0"), Some(&made_up()), now(1));
    assert_eq!(slots.held.len(), 2, "one that is seen again is no further one");
    slots.observe(&key("0"), None, now(1));
    slots.observe(&key("3"), Some(&made_up()), now(1));
    slots.retain(|_, _| false);
    assert!(slots.annotated.is_empty());
}
