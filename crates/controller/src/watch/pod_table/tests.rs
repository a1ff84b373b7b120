use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn pod(uid: &str, ready: bool, annotations: &Value) -> WatchedPod {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": "default", "name": format!("pod-{uid}"), "uid": uid,
            "labels": {"snap.weaversoft.io/snap": "true"}, "annotations": annotations,
        },
        "spec": {"nodeName": "n", "containers": [{"name": "app"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at(0).to_string()}],
            "containerStatuses": [{"name": "app", "started": true, "state": {"running": {}}}],
        },
    }))
    .unwrap()
}

fn apply(table: &mut Table, uid: &str, ready: bool) -> Vec<Task> {
    table.apply(0, Event::Apply(pod(uid, ready, &json!({}))), at(1))
}

/// UIDs of the pods to claim, each with how it was first seen.
fn claims(tasks: &[Task]) -> Vec<String> {
    let claim = |task: &Task| match task {
        Task::Claim { pod, seen_as, .. } => Some(format!("{} {}", pod.uid, seen_as.as_str())),
        _ => None,
    };
    tasks.iter().filter_map(claim).collect()
}

#[test]
fn a_pod_eligible_when_first_seen_is_claimed_as_added() {
    let mut table = Table::default();
    table.apply(0, Event::Init, at(1));
    let tasks = table.apply(0, Event::InitApply(pod("a", true, &json!({}))), at(1));
    assert!(matches!(tasks[0], Task::Seen(_)));
    assert_eq!(claims(&tasks), ["a ADDED"]);
}

#[test]
fn a_pod_that_becomes_ready_later_is_claimed_as_modified() {
    let mut table = Table::default();
    assert!(claims(&apply(&mut table, "a", false)).is_empty());
    assert_eq!(claims(&apply(&mut table, "a", true)), ["a MODIFIED"]);
}

#[test]
fn a_claim_is_asked_for_once_however_often_the_pod_is_told() {
    let mut table = Table::default();
    assert_eq!(claims(&apply(&mut table, "a", true)).len(), 1);
    assert!(claims(&apply(&mut table, "a", true)).is_empty(), "under way");
    table.claimed("a", "app", at(1));
    for ready in [true, false, true] {
        assert!(claims(&apply(&mut table, "a", ready)).is_empty(), "made");
    }
}

#[test]
fn a_relist_repeats_nothing_and_tells_what_is_gone() {
    let mut table = Table::default();
    for uid in ["a", "b"] {
        apply(&mut table, uid, true);
        table.claimed(uid, "app", at(1));
    }
    table.apply(0, Event::Init, at(2));
    assert!(table.apply(0, Event::InitApply(pod("a", true, &json!({}))), at(2)).is_empty());
    let gone = table.apply(0, Event::InitDone, at(2));
    assert_eq!(gone, [Task::Changed(PodName { namespace: "default".into(), name: "pod-b".into() })]);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_relist_of_one_namespace_leaves_the_pods_of_another_alone() {
    let mut table = Table::default();
    apply(&mut table, "a", true);
    table.apply(1, Event::Init, at(2));
    assert!(table.apply(1, Event::InitDone, at(2)).is_empty());
    assert_eq!(table.len(), 1);
}

#[test]
fn an_attempt_that_waits_is_told_when_its_pod_turns_ready_again_and_when_it_goes() {
    let mut table = Table::default();
    apply(&mut table, "a", true);
    table.claimed("a", "app", at(1));
    let changed = [Task::Changed(PodName { namespace: "default".into(), name: "pod-a".into() })];
    assert!(apply(&mut table, "a", true).is_empty(), "nothing has changed");
    let held = apply(&mut table, "a", false);
    assert!(matches!(held[..], [Task::Held { cause: Cause::NotReady, .. }]), "{held:?}");
    assert!(apply(&mut table, "a", true).contains(&changed[0]));
    assert_eq!(table.apply(0, Event::Delete(pod("a", true, &json!({}))), at(3)), changed);
}

#[test]
fn a_delay_is_looked_at_again_when_it_is_over() {
    let mut table = Table::default();
    let delayed = pod("a", true, &json!({"snap.weaversoft.io/delay": "30s"}));
    let tasks = table.apply(0, Event::Apply(delayed), at(1));
    assert!(tasks.contains(&Task::LookAgain { uid: "a".into(), at: at(30) }), "{tasks:?}");
    assert!(
        tasks.iter().any(|task| matches!(task, Task::Held { cause: Cause::Delayed(until), .. } if *until == at(30)))
    );
    assert_eq!(claims(&table.look_again("a", at(30))), ["a ADDED"]);
}

#[test]
fn a_failed_claim_is_made_again_after_waits_that_double_up_to_a_limit() {
    let mut table = Table::default();
    apply(&mut table, "a", true);
    let mut now = at(1);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let Some(Task::LookAgain { at, .. }) = table.failed("a", "app", SignedDuration::from_secs(1), now) else {
            panic!("a failed claim comes back");
        };
        assert!(table.look_again("a", now).is_empty(), "not before it is due");
        assert_eq!(claims(&table.look_again("a", at)).len(), 1);
        waits.push(at.duration_since(now).as_secs());
        now = at;
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8, 8, 8]);
}

#[test]
fn a_refused_claim_is_made_again_by_the_next_state() {
    let mut table = Table::default();
    apply(&mut table, "a", true);
    table.refused("a", "app");
    assert_eq!(claims(&apply(&mut table, "a", true)).len(), 1);
}

#[test]
fn a_deleted_record_lets_its_pod_be_claimed_again() {
    let mut table = Table::default();
    for uid in ["a", "b"] {
        apply(&mut table, uid, true);
        table.claimed(uid, "app", at(1));
    }
    assert_eq!(claims(&table.forget_claims(Some("a"), at(2))), ["a ADDED"]);
    table.claimed("a", "app", at(1));
    assert_eq!(table.forget_claims(None, at(2)).len(), 2);
}

#[test]
fn a_record_deleted_while_its_pod_is_claimed_is_looked_for_again() {
    let mut table = Table::default();
    apply(&mut table, "a", true);
    assert!(table.forget_claims(Some("a"), at(1)).is_empty(), "the claim is under way");
    assert_eq!(table.claimed("a", "app", at(1)), Some(Task::LookAgain { uid: "a".into(), at: at(3) }));
    assert_eq!(claims(&table.look_again("a", at(3))), ["a ADDED"]);
    assert_eq!(table.claimed("a", "app", at(3)), None);
}

#[test]
fn a_pod_that_is_never_claimed_by_itself_is_told_when_it_turns_ready() {
    let mut table = Table::default();
    let told = |tasks: Vec<Task>| tasks.iter().any(|task| matches!(task, Task::Changed(_)));
    let broken = |ready| Event::Apply(pod("a", ready, &json!({"snap.weaversoft.io/delay": "soon"})));
    assert!(!told(table.apply(0, broken(false), at(1))));
    assert!(told(table.apply(0, broken(true), at(2))), "a record made by hand may wait for it");
}

#[test]
fn a_cause_is_told_when_it_changes() {
    let mut table = Table::default();
    let is_held = |tasks: Vec<Task>| tasks.iter().any(|task| matches!(task, Task::Held { .. }));
    assert!(is_held(apply(&mut table, "a", false)));
    assert!(!is_held(apply(&mut table, "a", false)));
    let unblocked = apply(&mut table, "a", true);
    assert!(unblocked.iter().any(|task| matches!(task, Task::Freed(_))), "{unblocked:?}");
    assert!(is_held(apply(&mut table, "a", false)));
}

#[test]
fn a_pod_made_anew_under_the_same_name_is_another_pod() {
    let mut table = Table::default();
    apply(&mut table, "a", true);
    table.claimed("a", "app", at(1));
    let mut again = pod("a2", true, &json!({}));
    again.metadata.name = Some("pod-a".into());
    assert_eq!(claims(&table.apply(0, Event::Apply(again), at(2))), ["a2 ADDED"]);
}

#[test]
fn who_asks_whether_a_pod_is_there_is_told_of_each_that_is_watched() {
    let alive = KnownPods::default();
    let mut table = Table::new(alive.clone());
    for uid in ["a", "b", "c"] {
        apply(&mut table, uid, true);
    }
    table.apply(0, Event::Delete(pod("a", true, &json!({}))), at(2));
    table.apply(0, Event::Init, at(3));
    table.apply(0, Event::InitApply(pod("c", true, &json!({}))), at(3));
    table.apply(0, Event::InitDone, at(3));
    assert_eq!(["a", "b", "c"].map(|uid| alive.contains(uid)), [false, false, true]);
}
