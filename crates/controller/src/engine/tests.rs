use kube::core::Status;
use kube::runtime::watcher::Event;

use std::sync::Arc;

use super::*;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget, Phase, set_conditions};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::eligibility::Ineligible;
use snapwatcher_api::fixtures::{self, at, pod};
use snapwatcher_api::keys::RESTORE_NAME;
use snapwatcher_api::outcome::{Location, Outcome, Reason};
use snapwatcher_api::pod::{OncePer, OncePerSetting, PodFacts, RevisionLabels, WatchedPod};
use snapwatcher_backends::backend::{CheckpointBackend, CheckpointRequest};
use snapwatcher_kubernetes::cluster::{CallError, Scope};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

use crate::operation::{
    AttemptResult, ClaimError, ClaimResult, OperationResult, OperationSettings, OutcomeWrite, Progress, SentAttempt,
};
use crate::record::transitions::{Holder, RetryPolicy, UnknownResult};

mod claims;
mod fairness;
mod forged;
mod looks;
mod rejected;
mod unprepared;

/// A back-end with one endpoint, of which nothing is requested here.
struct OneEndpoint;

impl CheckpointBackend for OneEndpoint {
    fn longest_attempt(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn endpoint<'a>(&self, _: Option<&'a str>) -> Option<&'a str> {
        Some("snaphook")
    }

    fn checkpoint<'a>(&'a self, _: &'a CheckpointRequest) -> futures::future::BoxFuture<'a, Outcome> {
        Box::pin(std::future::ready(Outcome::Succeeded(Location::default())))
    }
}

fn settings() -> EngineSettings {
    let policy = RetryPolicy {
        unknown_result: UnknownResult::Keep,
        max_attempts: 5,
        longest_wait: Duration::from_secs(300),
        holder_grace: Duration::from_secs(30),
    };
    EngineSettings {
        scopes: vec![Scope::All],
        operations: OperationSettings {
            holder: Holder { instance: "snapwatcher-0".into(), boot: "b1".into() },
            policy,
            max_pods_per_revision: 3,
            longest_request: Duration::from_secs(120),
        },
        limits: ConcurrencyLimits { concurrent: 8, per_node: 1, response_timeout: Duration::from_secs(120) },
        once_per: OncePerSetting { default: OncePer::Pod, is_limit: false },
        revision_labels: RevisionLabels::default(),
        is_suspended: false,
        longest_slot: Duration::from_secs(240),
        retention_interval: Duration::from_secs(600),
        decisions_per_step: 64,
        max_manual_checkpoints: 10,
        backend: Some(Arc::new(OneEndpoint)),
        seed: 1,
    }
}

fn now(second: i64) -> Now {
    Now { wall: at(second), boot: Duration::from_secs(1000 + second.unsigned_abs()) }
}

/// An engine that leads, with both first listings.
fn leading(settings: EngineSettings, pods: Vec<WatchedPod>) -> (Engine, Vec<Effect>) {
    let mut engine = Engine::new(settings);
    engine.on(Input::Leads(true), now(0));
    let checkpoints = [Event::Init, Event::InitDone];
    let mut effects = Vec::new();
    for event in checkpoints {
        effects.extend(engine.on(Input::Checkpoints { scope: 0, event: Box::new(event) }, now(0)));
    }
    let listed = std::iter::once(Event::Init).chain(pods.into_iter().map(Event::InitApply));
    for event in listed.chain([Event::InitDone]) {
        effects.extend(engine.on(Input::Pods { scope: 0, event: Box::new(event) }, now(0)));
    }
    (engine, effects)
}

fn ready(name: &str) -> WatchedPod {
    pod(name).uid(name).labeled().ready(0).watched()
}

fn operations(effects: Vec<Effect>) -> Vec<(OperationId, Operation)> {
    let operation = |effect| if let Effect::Start(id, operation) = effect { Some((id, operation)) } else { None };
    effects.into_iter().filter_map(operation).collect()
}

fn only(effects: Vec<Effect>) -> (OperationId, Operation) {
    let mut operations = operations(effects);
    assert_eq!(operations.len(), 1, "{operations:?}");
    operations.remove(0)
}

fn workload() -> Workload {
    Workload { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "web".into(), uid: "d".into() }
}

fn finish(engine: &mut Engine, id: OperationId, result: OperationResult, second: i64) -> Vec<Effect> {
    engine.on(Input::Finished { id, result }, now(second))
}

/// The end of an attempt of pod `a` whose request succeeded.
fn sent_with_success(checkpoint: Arc<Checkpoint>, is_written: bool) -> AttemptResult {
    let (pod, container) = (pod("a").facts(), "app".to_owned());
    let outcome = Outcome::Succeeded(Location::default());
    let written = if is_written { OutcomeWrite::Done } else { OutcomeWrite::Superseded };
    AttemptResult::Sent(Box::new(SentAttempt { pod, container, outcome, checkpoint, written }))
}

/// The claim of a pod whose workload is found at once.
fn claim_of(engine: &mut Engine, effects: Vec<Effect>) -> (OperationId, bool) {
    let (id, operation) = only(effects);
    assert!(matches!(operation, Operation::FindWorkload { .. }), "{operation:?}");
    let (id, operation) = only(finish(engine, id, OperationResult::Workload(Ok(workload())), 0));
    let Operation::Claim(claim) = operation else { panic!("{operation:?}") };
    (id, claim.attempts)
}

fn pod_event(pod: WatchedPod) -> Input {
    Input::Pods { scope: 0, event: Box::new(Event::Apply(pod)) }
}

#[test]
fn what_is_kept_of_a_checkpoint_is_small() {
    let (mut engine, _) = leading(settings(), vec![]);
    let long = "x".repeat(1 << 20);
    let checkpoint = fixtures::checkpoint("a").phase(Phase::Pending).label("note", &long).build();
    engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) }, now(1));
    let kept = engine.records.unfinished(&RecordKey::new("default", "a-app")).unwrap();
    assert!(format!("{:?}", kept.checkpoint).len() < 3000);
}

#[test]
fn an_attempt_of_this_process_that_was_never_sent_is_cancelled() {
    let (mut engine, _) = leading(settings(), vec![]);
    let checkpoint = fixtures::checkpoint("a").in_progress().build();
    let effects = engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) }, now(1));
    assert!(matches!(only(effects).1, Operation::Cancel(_)));
}

#[test]
fn a_queued_checkpoint_that_another_process_attempts_meanwhile_is_left_to_it() {
    let limits = ConcurrencyLimits { concurrent: 1, ..settings().limits };
    let (mut engine, _) = leading(EngineSettings { limits, ..settings() }, vec![ready("a"), ready("b")]);
    let event = |checkpoint| Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) };
    let pending = |name: &str| fixtures::checkpoint(name).phase(Phase::Pending).build();
    let (first, _) = only(engine.on(event(pending("a")), now(1)));
    assert!(operations(engine.on(event(pending("b")), now(1))).is_empty(), "the only slot is taken");
    let theirs = fixtures::checkpoint("b").in_progress();
    engine.on(event(theirs.status(|status| status.holder = Some("snapwatcher-1/b1".into())).build()), now(2));
    let ended = AttemptResult::NotSent { written: None };
    let effects = finish(&mut engine, first, OperationResult::Attempt(Ok(ended)), 400);
    let is_attempt = |(_, operation): &(OperationId, Operation)| matches!(operation, Operation::Attempt(_));
    assert!(!operations(effects).iter().any(is_attempt));
}

#[test]
fn an_attempt_of_a_pod_that_the_watch_does_not_know_continues_on_the_node_of_the_live_read() {
    let (mut engine, _) = leading(settings(), vec![]);
    let checkpoint = fixtures::checkpoint("a").phase(Phase::Pending).build();
    let effects = engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) }, now(1));
    let (id, operation) = only(effects);
    assert!(matches!(operation, Operation::Attempt(attempt) if attempt.node.is_none()));
    let result = OperationResult::Attempt(Ok(AttemptResult::OtherNode("n1".into())));
    let (_, operation) = only(finish(&mut engine, id, result, 1));
    assert!(matches!(operation, Operation::Attempt(attempt) if attempt.node.as_deref() == Some("n1")));
}

/// An engine that has sent the attempt of a Checkpoint of pod `a`, the operation, and the Checkpoint as it was written before.
fn with_sent_attempt() -> (Engine, OperationId, Arc<Checkpoint>) {
    let (mut engine, _) = leading(settings(), vec![ready("a")]);
    let event = |checkpoint| Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) };
    let effects = engine.on(event(fixtures::checkpoint("a").phase(Phase::Pending).build()), now(1));
    let attempts = operations(effects).into_iter().find(|(_, operation)| matches!(operation, Operation::Attempt(_)));
    let (id, _) = attempts.unwrap();
    let sent = Arc::new(fixtures::checkpoint("a").in_progress().build());
    engine.on(Input::Progress { id, progress: Progress::Requested(sent.clone()) }, now(1));
    engine.on(event((*sent).clone()), now(1));
    (engine, id, sent)
}

#[test]
fn an_attempt_that_was_sent_is_never_cancelled_although_its_outcome_is_not_written() {
    let (mut engine, id, sent) = with_sent_attempt();
    finish(&mut engine, id, OperationResult::Attempt(Ok(sent_with_success(sent, false))), 2);
    let next = operations(engine.on(Input::Wakeup, now(400)));
    let is_interrupted = |(_, operation): &(OperationId, Operation)| matches!(operation, Operation::MarkInterrupted(_));
    assert!(next.iter().any(is_interrupted), "{next:?}");
}

#[test]
fn an_attempt_whose_outcome_is_rejected_is_marked_interrupted_and_never_made_again() {
    let (mut engine, id, sent) = with_sent_attempt();
    let denied = || {
        let status = Status::failure("admission webhook \"v\" denied the request: no", "").with_code(500);
        CallError::Failed { what: "write".into(), source: Box::new(kube::Error::Api(Box::new(status))) }
    };
    let AttemptResult::Sent(mut ended) = sent_with_success(sent, false) else { panic!() };
    ended.written = OutcomeWrite::Rejected(denied());
    finish(&mut engine, id, OperationResult::Attempt(Ok(AttemptResult::Sent(ended))), 2);
    let mut tries = 0;
    for second in 3..4000 {
        for (id, operation) in operations(engine.on(Input::Wakeup, now(second))) {
            match operation {
                Operation::MarkInterrupted(_) => tries += 1,
                Operation::FindWorkload { .. } => continue,
                other => panic!("{other:?}"),
            }
            finish(&mut engine, id, OperationResult::Written(Err(denied())), second);
        }
    }
    assert!((5..60).contains(&tries), "{tries}, ever less often");
    assert!(!engine.is_outage(now(4000)), "no other namespace is paused");
}

#[test]
fn an_attempt_of_an_earlier_boot_is_marked_interrupted_at_once() {
    let (mut engine, _) = leading(settings(), vec![]);
    let checkpoint = fixtures::checkpoint("a").in_progress();
    let checkpoint = checkpoint.status(|status| status.holder = Some("snapwatcher-0/b0".into())).build();
    let effects = engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(checkpoint)) }, now(1));
    assert!(matches!(only(effects).1, Operation::MarkInterrupted(_)));
}

#[test]
fn a_replica_that_no_longer_leads_starts_nothing() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (id, _) = only(effects);
    engine.on(Input::Leads(false), now(1));
    assert!(operations(finish(&mut engine, id, OperationResult::Workload(Ok(workload())), 1)).is_empty());
    assert!(engine.is_idle());
}

#[test]
fn a_clock_that_is_set_back_delays_no_retry() {
    let (mut engine, effects) = leading(settings(), vec![ready("a")]);
    let (id, _) = only(effects);
    let source = CallError::TimedOut { what: "read ReplicaSet `web`".into() };
    let lookup = WorkloadError::Lookup { pod: "a".into(), source: source.into() };
    let hour = 3600;
    let set_back = |second: i64| Now { wall: at(second - hour), ..now(second) };
    assert!(operations(finish(&mut engine, id, OperationResult::Workload(Err(lookup)), 0)).is_empty());
    let wait = engine.next_wakeup(set_back(0));
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    engine.on(Input::Pods { scope: 0, event: Box::new(Event::Apply(ready("a"))) }, set_back(1));
    assert!(matches!(only(engine.on(Input::Wakeup, set_back(2))).1, Operation::FindWorkload { .. }));
}

#[test]
fn an_outage_of_the_api_server_pauses_claims_and_is_reported_once() {
    let (mut engine, effects) = leading(settings(), (0..3).map(|number| ready(&format!("p{number}"))).collect());
    let unreachable = || CallError::TimedOut { what: "read ReplicaSet `web`".into() };
    let lookups: Vec<_> = operations(effects).into_iter().map(|(id, _)| id).collect();
    assert_eq!(lookups.len(), 3);
    let (mut outages, mut failures) = (0, 0);
    for id in lookups {
        let lookup = WorkloadError::Lookup { pod: "p".into(), source: unreachable().into() };
        for effect in finish(&mut engine, id, OperationResult::Workload(Err(lookup)), 0) {
            let Effect::Report(report) = effect else { panic!("nothing starts in an outage: {effect:?}") };
            outages += usize::from(matches!(*report, Report::OutageStarted(_)));
            failures +=
                usize::from(matches!(*report, Report::ClaimFailed { error, .. } if error.unreachable().is_some()));
        }
    }
    assert_eq!((outages, failures), (1, 3));
    // The pods' retries are due, and wait for the end of the pause.
    let pause = engine.next_wakeup(now(0));
    assert!(pause <= Duration::from_millis(1250), "{pause:?}");
    assert_eq!(operations(engine.on(Input::Wakeup, now(2))).len(), 3, "they are tried again");
}

#[test]
fn a_checkpoint_whose_status_is_refused_is_attempted_ever_more_rarely_however_often_it_changes() {
    let (mut engine, _) = leading(settings(), Vec::new());
    let changed = |version: i64| {
        let object = fixtures::checkpoint("web").named("full").label("note", &version.to_string()).build();
        Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(object)) }
    };
    let refused = || CallError::TimedOut { what: "update the status".into() }.without_effect();
    let (mut second, mut waits) = (1, Vec::new());
    let mut started = operations(engine.on(changed(0), now(second)));
    for _ in 0..7 {
        assert!(matches!(started[..], [(_, Operation::Attempt(_))]), "{started:?}");
        let id = started.remove(0).0;
        finish(&mut engine, id, OperationResult::Attempt(Err(refused())), second);
        let refused_at = second;
        while started.is_empty() {
            second += 1;
            started = operations(engine.on(changed(second), now(second)));
        }
        waits.push(second - refused_at);
    }
    for (wait, expected) in waits.iter().zip([15, 30, 60, 120, 240, 300, 300]) {
        assert!((expected * 3 / 4..=expected * 5 / 4 + 1).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_manual_checkpoint_beyond_the_limit_of_its_namespace_fails_without_an_attempt() {
    let settings = EngineSettings { max_manual_checkpoints: 1, is_suspended: false, ..settings() };
    let (mut engine, _) = leading(settings, Vec::new());
    let mut create = |name: &str| {
        let object = fixtures::checkpoint("web").named(name).build();
        operations(engine.on(Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(object)) }, now(1)))
    };
    assert!(matches!(create("first")[..], [(_, Operation::Attempt(_))]));
    let second = create("second");
    let [(_, Operation::WriteUnmet { reason, message, .. })] = &second[..] else { panic!("{second:?}") };
    assert_eq!(*reason, Reason::TooManyCheckpoints);
    assert!(message.contains("already had 1 unfinished Checkpoints that SnapWatcher did not create"), "{message}");
}

#[test]
fn a_checkpoint_that_only_its_label_calls_a_copy_does_not_keep_a_pod_from_its_checkpoint() {
    let (name, uid, container) = ("web".to_owned(), "web".to_owned(), "app".to_owned());
    let target = CheckpointTarget::Pod { name, uid, container, image: fixtures::IMAGE.to_owned() };
    let name = checkpoint_name::names(&target).next().unwrap();
    let (mut engine, _) = leading(settings(), vec![]);
    let copy = fixtures::checkpoint("web").named(&name).label(RESTORE_NAME, "r").spec(|spec| *spec = (&target).into());
    let event = Box::new(Event::Apply(copy.build()));
    let mut started = operations(engine.on(Input::Checkpoints { scope: 0, event }, now(1)));
    started.extend(operations(engine.on(pod_event(ready("web")), now(1))));
    assert!(started.iter().any(|(_, operation)| matches!(operation, Operation::Attempt(_))), "{started:?}");
    let is_unmet = |(_, operation): &(OperationId, Operation)| matches!(operation, Operation::WriteUnmet { .. });
    assert!(!started.iter().any(is_unmet), "{started:?}");
}

#[test]
fn a_checkpoint_from_a_backup_fails_without_an_attempt() {
    for (is_suspended, writes) in [(false, 1), (true, 0)] {
        let settings = EngineSettings { is_suspended, ..settings() };
        let (mut engine, _) = leading(settings, vec![ready("web")]);
        let object = fixtures::checkpoint("web").named("copy").label(RESTORE_NAME, "r").build();
        let event = Box::new(Event::Apply(object));
        let started = operations(engine.on(Input::Checkpoints { scope: 0, event }, now(1)));
        let of_copy: Vec<_> = started
            .iter()
            .filter_map(|(_, operation)| match operation {
                Operation::WriteUnmet { reason, .. } => Some(*reason),
                Operation::Attempt(_) => panic!("an attempt: {operation:?}"),
                _ => None,
            })
            .collect();
        // While the program is suspended, a restore has the time to write the status.
        assert_eq!(of_copy, vec![Reason::FromBackup; writes]);
    }
}
