//! Claims: when a container is claimed, and whether the claim is the first attempt.

use snapwatcher_api::keys::POD_TEMPLATE_HASH;

use super::*;

#[test]
fn a_claim_is_the_first_attempt_where_a_slot_is_free() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (_, attempts) = claim_of(&mut engine, effects);
    assert!(attempts);
}

#[test]
fn a_suspended_process_claims_without_an_attempt() {
    let settings = EngineSettings { is_suspended: true, ..settings() };
    let (mut engine, effects) = leading(settings, vec![ready("a")]);
    let (_, attempts) = claim_of(&mut engine, effects);
    assert!(!attempts);
}

#[test]
fn claims_of_one_namespace_that_take_long_delay_no_other_namespace() {
    let settings = EngineSettings { is_suspended: true, ..settings() };
    let of = |namespace: &str, name: &str| pod(name).namespace(namespace).uid(name).labeled().ready(0).watched();
    let names: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    let (mut engine, effects) = leading(settings, names.iter().map(|name| of("slow", name)).collect());
    let mut searches = operations(effects);
    let mut claims = 0;
    while let Some((id, operation)) = searches.pop() {
        match operation {
            Operation::FindWorkload { .. } => {
                searches.extend(operations(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 0)));
            }
            _ => claims += 1,
        }
    }
    assert_eq!(claims, 8);
    let effects = engine.on(pod_event(of("other", "b")), now(1));
    let (_, attempts) = claim_of(&mut engine, effects);
    assert!(!attempts);
}

#[test]
fn nothing_is_claimed_before_the_checkpoints_are_listed() {
    let mut engine = Engine::new(settings());
    engine.on(Input::Leads(true), now(0));
    for event in [Event::Init, Event::InitApply(ready("a")), Event::InitDone] {
        assert!(operations(engine.on(Input::Pods { scope: 0, event: Box::new(event) }, now(0))).is_empty());
    }
    engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Init) }, now(0));
    let effects = engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::InitDone) }, now(0));
    assert!(matches!(only(effects).1, Operation::FindWorkload { .. }));
}

/// The claims that start when the workloads of all pods are found.
fn claims_of(engine: &mut Engine, effects: Vec<Effect>) -> Vec<(OperationId, Operation)> {
    let finds = operations(effects).into_iter();
    finds.flat_map(|(id, _)| operations(finish(engine, id, OperationResult::Workload(Ok(workload())), 0))).collect()
}

#[test]
fn a_pod_on_a_busy_node_waits_unclaimed_and_is_then_claimed_without_an_attempt() {
    let (mut engine, effects) = leading(settings(), vec![ready("a"), ready("b")]);
    let claims = claims_of(&mut engine, effects);
    assert_eq!(claims.len(), 1, "both pods are on one node: {claims:?}");
    assert_eq!(engine.next_wakeup(now(0)), Duration::from_secs(2));
    let (_, operation) = only(engine.on(Input::Wakeup, now(2)));
    assert!(matches!(operation, Operation::Claim(claim) if !claim.attempts && claim.pod.uid == "b"));
}

#[test]
fn a_response_starts_the_next_claim_on_the_node() {
    let (mut engine, effects) = leading(settings(), vec![ready("a"), ready("b")]);
    let claims = claims_of(&mut engine, effects);
    let id = claims[0].0;
    let outcome = Outcome::Succeeded(Location::default());
    let progress = Progress::Responded { outcome, deadline: None };
    let (_, operation) = only(engine.on(Input::Progress { id, progress }, now(1)));
    assert!(matches!(operation, Operation::Claim(claim) if claim.attempts && claim.pod.uid == "b"));
}

#[test]
fn a_pod_with_a_checkpoint_is_not_claimed_again_until_it_is_deleted() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (id, _) = claim_of(&mut engine, effects);
    assert!(operations(finish(&mut engine, id, OperationResult::Claim(Ok(ClaimResult::AlreadyClaimed)), 0)).is_empty());
    let event = Event::Apply(ready("a"));
    assert!(operations(engine.on(Input::Pods { scope: 0, event: Box::new(event) }, now(1))).is_empty());
    let mut checkpoint = fixtures::checkpoint("a").phase(Phase::Succeeded).build();
    checkpoint.spec.pod.as_mut().unwrap().uid = Some("a".into());
    checkpoint.spec.image = Some(fixtures::IMAGE.into());
    let event = Event::Apply(checkpoint.clone());
    engine.on(Input::Checkpoints { scope: 0, event: Box::new(event) }, now(1));
    let effects = engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Delete(checkpoint)) }, now(2));
    assert!(matches!(only(effects).1, Operation::FindWorkload { .. }));
}

fn target_of(operation: Operation) -> CheckpointTarget {
    let Operation::Claim(claim) = operation else { panic!("{operation:?}") };
    claim.target
}

/// Ends all claims: the API server has their Checkpoints already.
fn claim_all(engine: &mut Engine, effects: Vec<Effect>) {
    let mut work = operations(effects);
    while let Some((id, operation)) = work.pop() {
        let result = match operation {
            Operation::FindWorkload { .. } => OperationResult::Workload(Ok(workload())),
            _ => OperationResult::Claim(Ok(ClaimResult::AlreadyClaimed)),
        };
        work.extend(operations(finish(engine, id, result, 0)));
    }
}

#[test]
fn a_pod_updated_in_place_is_claimed_with_its_new_image() {
    for (once_per, is_one_pod) in [(OncePer::Pod, true), (OncePer::Pod, false), (OncePer::Revision, true)] {
        let of = |name: &str, version: &str| {
            let pod = pod(name).uid(name).labeled().image(&format!("web:{version}")).ready(0);
            let pod = pod.restarts("app", version.parse().unwrap());
            pod.label("pod-template-hash", version).watched()
        };
        let mut pods = vec![of("a", "1")];
        // Another pod of the same owner is updated later.
        if !is_one_pod {
            pods.push(of("b", "1"));
        }
        let (mut engine, effects) = leading(
            EngineSettings { once_per: OncePerSetting { default: once_per, is_limit: false }, ..settings() },
            pods,
        );
        claim_all(&mut engine, effects);
        let (id, operation) = only(engine.on(pod_event(of("a", "2")), now(3)));
        assert!(matches!(operation, Operation::FindWorkload { .. }), "{operation:?}");
        let found = finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 3);
        match target_of(only(found).1) {
            CheckpointTarget::Pod { image, .. } => assert_eq!((once_per, image.as_str()), (OncePer::Pod, "web:2")),
            CheckpointTarget::Revision { revision, .. } => {
                assert_eq!((once_per, revision.as_str()), (OncePer::Revision, "2"));
            }
            target @ CheckpointTarget::Manual { .. } => panic!("{target:?}"),
        }
    }
}

#[test]
fn a_new_pod_of_a_controller_without_a_hash_label_is_claimed_once_for_each_revision_that_a_named_key_has() {
    // A StrimziPodSet creates pods of the same names again, with the revision in an annotation.
    let of = |uid: &str, revision: &str| {
        let pod = pod("kafka-0").uid(uid).labeled().controlled_by("core.strimzi.io/v1beta2", "StrimziPodSet", "kafka");
        pod.annotation("strimzi.io/revision", revision).ready(0).watched()
    };
    let once_per = OncePerSetting { default: OncePer::Revision, is_limit: false };
    let revision_labels = RevisionLabels::new(vec!["strimzi.io/revision".to_owned()], false);
    let (mut engine, effects) = leading(EngineSettings { once_per, revision_labels, ..settings() }, vec![]);
    assert!(operations(effects).is_empty());
    let mut revisions = Vec::new();
    for (uid, revision) in [("a", "6a6a679b"), ("b", "0c1d2e3f")] {
        let (id, operation) = only(engine.on(pod_event(of(uid, revision)), now(3)));
        assert!(matches!(operation, Operation::FindWorkload { .. }), "{operation:?}");
        let found = finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 3);
        let (id, claim) = only(found);
        let CheckpointTarget::Revision { revision, .. } = target_of(claim) else { panic!("no revision") };
        revisions.push(revision);
        finish(&mut engine, id, OperationResult::Claim(Ok(ClaimResult::AlreadyClaimed)), 3);
    }
    assert_eq!(revisions, ["6a6a679b", "0c1d2e3f"]);
}

#[test]
fn a_claim_of_an_image_that_the_pod_no_longer_has_is_made_of_the_new_one() {
    let of =
        |image: &str, restarts| pod("a").uid("a").labeled().image(image).ready(0).restarts("app", restarts).watched();
    let (mut engine, effects) = leading(settings(), vec![of("web:1", 0)]);
    let (id, _) = claim_of(&mut engine, effects);
    assert!(operations(engine.on(pod_event(of("web:2", 1)), now(1))).is_empty(), "the claim is under way");
    let cause = Ineligible::ImageChanged { container: "app".into(), image: "web:2".into(), expected: "web:1".into() };
    let name = PodName { namespace: "default".into(), name: "a".into() };
    let error = ClaimError::Ineligible { pod: name, cause };
    let mut effects = finish(&mut engine, id, OperationResult::Claim(Err(error)), 1);
    effects.extend(engine.on(Input::Wakeup, now(1)));
    let (id, _) = only(effects);
    let found = finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 1);
    assert!(matches!(target_of(only(found).1), CheckpointTarget::Pod { image, .. } if image == "web:2"));
}

#[test]
fn without_a_back_end_a_claim_is_only_reported() {
    let settings = EngineSettings { backend: None, ..settings() };
    let mut engine = Engine::new(settings);
    engine.on(Input::Leads(true), now(0));
    let effects = engine.on(Input::Pods { scope: 0, event: Box::new(Event::Apply(ready("a"))) }, now(0));
    let (id, _) = only(effects);
    let effects = finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 0);
    let is_claimed =
        |effect: &Effect| matches!(effect, Effect::Report(report) if matches!(**report, Report::Claimed(_)));
    assert!(effects.iter().any(is_claimed) && operations(effects).is_empty());
}

#[test]
fn a_container_is_not_claimed_while_a_manual_attempt_of_it_runs() {
    let (mut engine, _) = leading(settings(), vec![]);
    let manual = |phase| {
        let reason = if phase == Phase::Succeeded { "Succeeded" } else { "InProgress" };
        let spec = fixtures::checkpoint("a").named("manual").spec(|spec| {
            spec.image = Some(fixtures::IMAGE.into());
            spec.pod.as_mut().unwrap().uid = Some("a".into());
        });
        let mut manual = spec.in_progress().phase(phase).build();
        let status = manual.status.as_mut().unwrap();
        status.holder = Some("other/b".into());
        set_conditions(&mut status.conditions, phase, reason, None, None, at(0));
        Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(manual)) }
    };
    assert!(operations(engine.on(manual(Phase::InProgress), now(1))).is_empty());
    let (id, operation) = only(engine.on(pod_event(ready("a")), now(1)));
    assert!(matches!(operation, Operation::FindWorkload { .. }));
    assert!(operations(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 1)).is_empty());
    for second in [4, 60] {
        assert!(operations(engine.on(Input::Wakeup, now(second))).is_empty(), "{second}");
    }
    assert!(operations(engine.on(manual(Phase::Succeeded), now(61))).is_empty());
    assert!(operations(engine.on(Input::Wakeup, now(70))).is_empty());
    assert_eq!(engine.kept().claims, 0);
}

#[test]
fn a_container_is_not_claimed_before_the_watch_shows_the_success_of_an_own_manual_attempt() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (find, _) = only(effects);
    let spec = fixtures::checkpoint("a").named("manual").spec(|spec| {
        spec.image = Some(fixtures::IMAGE.into());
        spec.pod.as_mut().unwrap().uid = Some("a".into());
    });
    let version = |mut checkpoint: Checkpoint, version: &str| {
        checkpoint.metadata.resource_version = Some(version.to_owned());
        checkpoint
    };
    let shown = |checkpoint| Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) };
    let (attempt, _) = only(engine.on(shown(version(spec.clone().build(), "1")), now(1)));
    assert!(operations(finish(&mut engine, find, OperationResult::Workload(Ok(workload())), 1)).is_empty());

    let outcome = Outcome::Succeeded(Location::default());
    let progress = Progress::Responded { outcome, deadline: None };
    assert!(operations(engine.on(Input::Progress { id: attempt, progress }, now(2))).is_empty());
    let mut succeeded = version(spec.in_progress().phase(Phase::Succeeded).build(), "3");
    let status = succeeded.status.as_mut().unwrap();
    set_conditions(&mut status.conditions, Phase::Succeeded, "Succeeded", None, None, at(0));
    let result = OperationResult::Attempt(Ok(sent_with_success(Arc::new(succeeded.clone()), true)));
    assert!(operations(finish(&mut engine, attempt, result, 2)).is_empty());
    for second in [3, 60] {
        assert!(operations(engine.on(Input::Wakeup, now(second))).is_empty(), "{second}");
    }
    assert!(operations(engine.on(shown(succeeded), now(61))).is_empty());
    assert_eq!(engine.kept().claims, 0);
}

#[test]
fn a_container_is_claimed_again_while_the_attempt_of_its_deleted_checkpoint_runs() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (id, operation) = only(effects);
    assert!(matches!(operation, Operation::FindWorkload { .. }));
    let (attempt, claim) = only(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 0));
    let Operation::Claim(claim) = claim else { panic!("{claim:?}") };
    let mut created = fixtures::checkpoint("a").named(&claim.name).in_progress().build();
    created.spec = (&claim.target).into();
    engine.on(Input::Progress { id: attempt, progress: Progress::Claimed(Arc::new(created.clone())) }, now(1));
    let mut effects = Vec::new();
    for event in [Event::Apply(created.clone()), Event::Delete(created)] {
        effects.extend(engine.on(Input::Checkpoints { scope: 0, event: Box::new(event) }, now(10)));
    }
    let (found, _) = only(effects);
    // An outage keeps the claim waiting until leadership changes.
    let (other, _) = only(engine.on(pod_event(ready("b")), now(10)));
    let timed_out = CallError::TimedOut { what: "read".into() };
    let error = WorkloadError::Lookup { pod: "default/b".into(), source: Arc::new(timed_out) };
    finish(&mut engine, other, OperationResult::Workload(Err(error)), 10);
    assert!(operations(finish(&mut engine, found, OperationResult::Workload(Ok(workload())), 10)).is_empty());
    engine.on(Input::Leads(false), now(100));
    engine.on(Input::Leads(true), now(100));
    for event in [Event::Init, Event::InitDone] {
        engine.on(Input::Checkpoints { scope: 0, event: Box::new(event) }, now(100));
    }
    let (id, _) = only(engine.on(pod_event(ready("a")), now(100)));
    let (_, operation) = only(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 100));
    assert!(matches!(operation, Operation::Claim(_)), "{operation:?}");
}

#[test]
fn nothing_is_kept_of_a_checkpoint_that_was_deleted_while_the_watch_was_interrupted() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (id, _) = claim_of(&mut engine, effects);
    let mut created = fixtures::checkpoint("a").in_progress().build();
    created.metadata.resource_version = Some("5".into());
    let created = Arc::new(created);
    for progress in [Progress::Claimed(created.clone()), Progress::Requested(created.clone())] {
        engine.on(Input::Progress { id, progress }, now(1));
    }
    engine.on(Input::Pods { scope: 0, event: Box::new(Event::Delete(ready("a"))) }, now(2));
    for event in [Event::Init, Event::InitDone] {
        engine.on(Input::Checkpoints { scope: 0, event: Box::new(event) }, now(3));
    }
    let result = OperationResult::Claim(Ok(ClaimResult::Attempted(sent_with_success(created, true))));
    finish(&mut engine, id, result, 4);
    let kept = |engine: &Engine| (engine.kept().written, engine.kept().sent);
    assert_eq!(kept(&engine), (1, 1), "the watch can be behind");
    engine.on(Input::Wakeup, now(400));
    assert_eq!(kept(&engine), (0, 0));
}

#[test]
fn a_claim_that_the_api_server_rejects_is_repeated_more_rarely_than_others() {
    let ineligible = || ClaimError::Ineligible { pod: pod("a").facts().name, cause: Ineligible::Gone };
    let errors: [(fn() -> ClaimError, _); 2] = [(|| ClaimError::NoDefinition, 45..=60), (ineligible, 6..=10)];
    for (error, expected) in errors {
        let (mut engine, mut effects) = leading(settings(), vec![ready("a")]);
        let mut wait = 0;
        for round in 1..=8 {
            let (id, _) = claim_of(&mut engine, effects);
            finish(&mut engine, id, OperationResult::Claim(Err(error())), round * 100);
            wait = engine.next_wakeup(now(round * 100)).as_secs();
            effects = engine.on(Input::Wakeup, now(round * 100 + 99));
        }
        assert!(expected.contains(&wait), "{wait} s after {:?}", error());
    }
}

#[test]
fn a_listing_of_many_claimed_pods_is_decided_in_short_steps() {
    let names: Vec<String> = (0..200).map(|number| format!("p{number}")).collect();
    let mut engine = Engine::new(settings());
    engine.on(Input::Leads(true), now(0));
    let pods = names.iter().map(|name| Event::InitApply(ready(name)));
    for event in std::iter::once(Event::Init).chain(pods).chain([Event::InitDone]) {
        engine.on(Input::Pods { scope: 0, event: Box::new(event) }, now(0));
    }
    let succeeded = |name: &String| {
        let checkpoint = fixtures::checkpoint(name).spec(|spec| {
            spec.image = Some(fixtures::IMAGE.into());
            spec.pod.as_mut().unwrap().uid = Some(name.clone());
        });
        Event::InitApply(checkpoint.in_progress().phase(Phase::Succeeded).build())
    };
    for event in std::iter::once(Event::Init).chain(names.iter().map(succeeded)) {
        engine.on(Input::Checkpoints { scope: 0, event: Box::new(event) }, now(0));
    }
    let mut effects = engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::InitDone) }, now(0));
    let mut claimed = Vec::new();
    loop {
        let is_claimed = |effect: &&Effect| matches!(effect, Effect::Report(report) if matches!(**report, Report::AlreadyClaimed { .. }));
        claimed.push(effects.iter().filter(is_claimed).count());
        if engine.next_wakeup(now(0)) > Duration::ZERO {
            break;
        }
        effects = engine.on(Input::Wakeup, now(0));
    }
    assert_eq!(claimed, [64, 64, 64, 8]);
}

#[test]
fn the_deleted_checkpoint_of_a_revision_concerns_no_pod_of_another_namespace() {
    let of = |namespace: &str| {
        pod("web").namespace(namespace).uid(namespace).labeled().label(POD_TEMPLATE_HASH, "r").ready(0).watched()
    };
    let once_per = OncePerSetting { default: OncePer::Revision, is_limit: false };
    let (mut engine, effects) = leading(EngineSettings { once_per, ..settings() }, vec![of("a"), of("b")]);
    claim_all(&mut engine, effects);
    let mut deleted = fixtures::checkpoint("web").namespace("a").in_progress().phase(Phase::Failed).build();
    deleted.spec.pod = None;
    deleted.spec.revision = Some("r".to_owned());
    let event = Box::new(Event::Delete(deleted));
    let (_, operation) = only(engine.on(Input::Checkpoints { scope: 0, event }, now(10)));
    let Operation::FindWorkload { pod } = operation else { panic!("{operation:?}") };
    assert_eq!(&*pod.name.namespace, "a");
}
