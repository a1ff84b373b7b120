//! People can create Checkpoints under any name, and write attempts into their annotations.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use snapwatcher_api::checkpoint::WorkloadReference;

use super::*;
use crate::record::transitions::AttemptTarget;
use crate::record::{fields, first_attempt};

/// A Ready pod of namespace `attacks` on each of eight nodes.
fn pods() -> Vec<WatchedPod> {
    pods_on(8)
}

/// A Ready pod of namespace `attacks` on each of so many nodes.
fn pods_on(nodes: usize) -> Vec<WatchedPod> {
    let of = |node: usize| {
        let name = format!("pod-{node}");
        pod(&name).namespace("attacks").uid(&name).ready(0).node(&format!("n{node}")).watched()
    };
    (0..nodes).map(of).collect()
}

/// A Checkpoint of that pod as SnapWatcher would have created it at that second, with an attempt of this holder.
fn forged(pod: WatchedPod, holder: &Holder, second: i64) -> Checkpoint {
    let pod = PodFacts::from(pod);
    let (name, uid, container) = (pod.name.name.to_string(), pod.uid.clone(), "app".to_owned());
    let target = CheckpointTarget::Pod { name, uid, container: container.clone(), image: fixtures::IMAGE.to_owned() };
    with_attempt(&target, &AttemptTarget::new(&pod, container, "Deployment/web".to_owned()), holder, second)
}

/// The Checkpoint of that target as SnapWatcher would have created it at that second, with that attempt in its annotation.
fn with_attempt(target: &CheckpointTarget, attempt: &AttemptTarget, holder: &Holder, second: i64) -> Checkpoint {
    let name = checkpoint_name::derived(target, checkpoint_name::DIGESTS[0]).unwrap();
    let object = fixtures::checkpoint("web").named(&name).namespace("attacks").spec(|spec| *spec = target.into());
    let mut object = object.build();
    object.metadata.creation_timestamp = Some(Time(at(second)));
    first_attempt::write(&mut object, attempt, holder, SignedDuration::from_secs(240), at(second));
    object
}

/// Whether a pod of another namespace is attempted on that node although there are forged attempts on all eight.
fn is_attempted(node: &str, holder: &Holder, second: i64) -> bool {
    let (mut engine, _) = leading(settings(), pods());
    for pod in pods() {
        let event = Box::new(Event::Apply(forged(pod, holder, second)));
        engine.on(Input::Checkpoints { scope: 0, event }, now(second));
    }
    let other = pod("other").namespace("harmed").uid("other").labeled().ready(0).node(node).watched();
    let (id, operation) = only(engine.on(pod_event(other), now(second)));
    assert!(matches!(operation, Operation::FindWorkload { .. }), "{operation:?}");
    let claims = operations(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), second));
    claims.iter().any(|(_, operation)| matches!(operation, Operation::Claim(claim) if claim.attempts))
}

#[test]
fn forged_attempts_of_one_namespace_never_hold_all_slots() {
    let former = Holder { instance: "snapwatcher-1".into(), boot: "b9".into() };
    assert!(is_attempted("n9", &former, 1), "a former leader may have sent them");
    assert!(!is_attempted("n1", &former, 1), "one may be under way on this node");
    assert!(is_attempted("n1", &former, 600), "no former leader sends any more");
    let own = settings().operations.holder;
    for second in [1, 600] {
        assert!(is_attempted("n1", &own, second), "this process knows what it has sent");
    }
}

#[test]
fn attempts_on_more_nodes_than_a_leader_has_attempts_hold_no_node() {
    let nodes = settings().limits.concurrent + 1;
    let pods = pods_on(nodes);
    let former = Holder { instance: "snapwatcher-1".into(), boot: "b9".into() };
    for (attempts, expected) in [(nodes - 1, false), (nodes, true)] {
        let (mut engine, _) = leading(settings(), pods.clone());
        for pod in pods.iter().take(attempts).cloned() {
            let event = Box::new(Event::Apply(forged(pod, &former, 1)));
            engine.on(Input::Checkpoints { scope: 0, event }, now(1));
        }
        engine.slots.share(true);
        assert_eq!(engine.slots.has_free("harmed", Some("n1"), now(1).boot), expected, "{attempts} attempts");
    }
}

/// The Checkpoint of a revision of a workload that does not exist, with an attempt of this holder on that pod.
fn of_no_workload(number: usize, pod: WatchedPod, holder: &Holder) -> Checkpoint {
    let pod = PodFacts::from(pod);
    let workload = WorkloadReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
        uid: format!("made-up-{number}"),
    };
    let target = CheckpointTarget::Revision { workload, revision: "r".to_owned(), container: "app".to_owned() };
    let attempt = AttemptTarget::new(&pod, "app".to_owned(), "Deployment/web".to_owned());
    with_attempt(&target, &AttemptTarget { revision: "r".to_owned(), ..attempt }, holder, 1)
}

#[test]
fn checkpoints_with_made_up_attempts_beyond_the_limit_of_their_namespace_are_ended() {
    let own = settings().operations.holder;
    let (mut engine, _) = leading(EngineSettings { max_manual_checkpoints: 2, ..settings() }, pods());
    let mut ended = 0;
    for number in 0..6 {
        let object = of_no_workload(number, pods().remove(0), &own);
        let event = Box::new(Event::Apply(object));
        for (_, operation) in operations(engine.on(Input::Checkpoints { scope: 0, event }, now(1))) {
            match operation {
                Operation::WriteUnmet { reason, .. } => {
                    assert_eq!(reason, Reason::TooManyCheckpoints);
                    ended += 1;
                }
                // The attempt of this holder, which it never sent.
                Operation::Cancel(_) => assert!(number < 2, "{number}"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(ended, 4, "all but two");
}

#[test]
fn made_up_attempts_of_pods_that_do_not_exist_are_not_waited_for_beyond_the_limit() {
    let former = Holder { instance: "snapwatcher-1".into(), boot: "b9".into() };
    let (mut engine, _) = leading(EngineSettings { max_manual_checkpoints: 2, ..settings() }, pods());
    let mut ended = 0;
    for number in 0..6 {
        let name = format!("ghost-{number}");
        let ghost = pod(&name).namespace("attacks").uid(&name).ready(0).node("n1").watched();
        let event = Box::new(Event::Apply(forged(ghost, &former, 1)));
        for (_, operation) in operations(engine.on(Input::Checkpoints { scope: 0, event }, now(1))) {
            assert!(
                matches!(operation, Operation::WriteUnmet { reason: Reason::TooManyCheckpoints, .. }),
                "{operation:?}"
            );
            ended += 1;
        }
    }
    assert_eq!(ended, 4, "all but two");
}

#[test]
fn what_is_kept_of_a_forged_attempt_is_short() {
    let long = Holder { instance: "x".repeat(2000), boot: "b9".into() };
    for (holder, counts) in [(long, false), (Holder { instance: "x".repeat(253), boot: "b9".into() }, true)] {
        let mut checkpoint = forged(pods().remove(0), &holder, 1);
        assert_eq!(first_attempt::read(&mut checkpoint, SignedDuration::from_secs(240)), counts);
        first_attempt::drop_text(&mut checkpoint);
        assert!(first_attempt::is_in(&checkpoint) && serde_json::to_string(&checkpoint.metadata).unwrap().len() < 400);
    }
}

#[test]
fn only_the_first_names_of_a_container_do_not_count_towards_the_limit() {
    let (mut engine, _) = leading(EngineSettings { max_manual_checkpoints: 2, ..settings() }, pods());
    let target = fields::target(&forged(pods().remove(0), &settings().operations.holder, 1)).unwrap();
    let mut ended = Vec::new();
    for (number, name) in checkpoint_name::names(&target).take(8).enumerate() {
        let object =
            fixtures::checkpoint("web").named(&name).namespace("attacks").spec(|spec| *spec = (&target).into());
        let event = Box::new(Event::Apply(object.build()));
        let effects = engine.on(Input::Checkpoints { scope: 0, event }, now(1));
        let is_ended = |(_, operation): &(OperationId, Operation)| {
            matches!(operation, Operation::WriteUnmet { reason: Reason::TooManyCheckpoints, .. })
        };
        ended.extend(operations(effects).iter().any(is_ended).then_some(number));
    }
    assert_eq!(ended, [5, 6, 7], "three do not count, and two may");
}

/// A Checkpoint of this name, of a pod that does not exist.
fn decoy(name: &str) -> Input {
    let spec = fixtures::checkpoint("web").named(name).spec(|spec| spec.pod.as_mut().unwrap().uid = Some("x".into()));
    Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(spec.reason(Phase::Failed, Reason::PodGone).build())) }
}

#[test]
fn a_pod_whose_names_are_taken_by_three_checkpoints_of_other_targets_is_claimed_under_a_further_one() {
    let (mut engine, _) = leading(settings(), vec![]);
    let (name, uid, container) = ("a".to_owned(), "a".to_owned(), "app".to_owned());
    let target = CheckpointTarget::Pod { name, uid, container, image: fixtures::IMAGE.to_owned() };
    let names: Vec<String> = checkpoint_name::names(&target).take(5).collect();
    for name in &names[..3] {
        engine.on(decoy(name), now(0));
    }
    let effects = engine.on(pod_event(ready("a")), now(1));
    let (id, operation) = only(effects);
    assert!(matches!(operation, Operation::FindWorkload { .. }), "{operation:?}");
    let (id, claim) = only(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 1));
    assert!(matches!(&claim, Operation::Claim(claim) if claim.name == names[3]), "{claim:?}");
    // The API server knows one more than the watch has shown.
    let (_, claim) = only(finish(&mut engine, id, OperationResult::Claim(Ok(ClaimResult::NameTaken)), 1));
    assert!(matches!(&claim, Operation::Claim(claim) if claim.name == names[4]), "{claim:?}");
}
