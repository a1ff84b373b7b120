//! People can create Checkpoints under any name, and write attempts into their annotations.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::record::first_attempt;
use crate::record::transitions::AttemptTarget;

/// A Ready pod of namespace `attacks` on each of eight nodes.
fn pods() -> Vec<WatchedPod> {
    let of = |node: usize| {
        let name = format!("pod-{node}");
        pod(&name).namespace("attacks").uid(&name).ready(0).node(&format!("n{node}")).watched()
    };
    (0..8).map(of).collect()
}

/// A Checkpoint of that pod as SnapWatcher would have created it at that second, with an attempt of this holder.
fn forged(pod: WatchedPod, holder: &Holder, second: i64) -> Checkpoint {
    let pod = PodFacts::from(pod);
    let (name, uid, container) = (pod.name.name.to_string(), pod.uid.clone(), "app".to_owned());
    let target = CheckpointTarget::Pod { name, uid, container: container.clone(), image: fixtures::IMAGE.to_owned() };
    let name = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]).unwrap();
    let object = fixtures::checkpoint("web").named(&name).namespace("attacks").spec(|spec| *spec = (&target).into());
    let mut object = object.build();
    object.metadata.creation_timestamp = Some(Time(at(second)));
    let attempt = AttemptTarget::new(&pod, container, "Deployment/web".to_owned());
    first_attempt::write(&mut object, &attempt, holder, SignedDuration::from_secs(240), at(second));
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
