use super::*;
use crate::record::plan::{AttemptKnowledge, NextStep, plan};
use snapwatcher_api::fixtures::{at, checkpoint, pod};

fn holder(boot: &str) -> Holder {
    Holder { instance: "snapwatcher-0".into(), boot: boot.into() }
}

fn pending() -> Checkpoint {
    checkpoint("web").build()
}

fn with_status(status: CheckpointStatus) -> Checkpoint {
    Checkpoint { status: Some(status), ..pending() }
}

fn target() -> AttemptTarget {
    AttemptTarget::new(&pod("web").ready(0).facts(), "app".into(), "Deployment/web".into())
}

fn in_progress() -> Checkpoint {
    with_status(start_attempt(&pending(), &target(), holder("b1").to_string(), SignedDuration::from_secs(130), at(0)))
}

fn policy(unknown_result: UnknownResult) -> RetryPolicy {
    RetryPolicy {
        unknown_result,
        max_attempts: 5,
        longest_wait: Duration::from_secs(300),
        holder_grace: Duration::from_secs(30),
    }
}

fn keep() -> RetryPolicy {
    policy(UnknownResult::Keep)
}

/// An attempt that was seen unchanged for that long.
fn seen(seconds: u64) -> AttemptKnowledge {
    AttemptKnowledge { age: Duration::from_secs(seconds), was_sent: false }
}

fn after(checkpoint: &Checkpoint, outcome: &Outcome, policy: &RetryPolicy, now: Timestamp) -> Checkpoint {
    let mut changed = checkpoint.clone();
    changed.status = Some(finish_attempt(checkpoint, outcome, policy, 0.5, now));
    changed
}

fn failed(reason: Reason) -> Outcome {
    Outcome::Failed { reason, message: Redacted::own("words"), retry_after: None }
}

#[test]
fn the_values_of_unknown_result_are_keep_and_retry() {
    use clap::ValueEnum as _;
    let names = UnknownResult::value_variants().iter().map(|value| value.to_possible_value().unwrap());
    let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
    assert_eq!(names, ["keep", "retry"]);
}

#[test]
fn a_late_success_replaces_whatever_its_checkpoint_waits_for() {
    let mine = in_progress();
    let written = mine.status.clone().unwrap();
    let mut waiting = after(&mine, &failed(Reason::NotReady), &keep(), at(1));
    assert_eq!(waiting.phase(), Phase::Pending);
    assert!(accepts_success(&written, &waiting) && !accepts_outcome(&written, &waiting));
    let mut of_other_pod = waiting.clone();
    of_other_pod.status.as_mut().unwrap().pod.as_mut().unwrap().uid = Some("other".into());
    assert!(!accepts_success(&written, &of_other_pod), "of another pod of the name");
    waiting.status.as_mut().unwrap().attempt = 2;
    assert!(!accepts_success(&written, &waiting), "a later attempt has begun");
}

#[test]
fn an_unmet_precondition_names_the_pod_as_far_as_it_is_known() {
    let status = |uid: Option<&str>, node: Option<&str>| {
        Some(PodStatus { name: "web".into(), uid: uid.map(Into::into), node: node.map(Into::into) })
    };
    let read = |uid: &str| Some(pod("web").uid(uid).node("n1").facts());
    let without_uid = checkpoint("web").spec(|spec| spec.pod.as_mut().unwrap().uid = None).build();
    for (case, checkpoint, read, expected) in [
        ("as read", pending(), read("u"), status(Some("u"), Some("n1"))),
        ("another pod of its name", pending(), read("other"), status(Some("u"), None)),
        ("gone after an attempt", in_progress(), None, status(Some("u"), Some("n1"))),
        ("no such pod", without_uid.clone(), None, status(None, None)),
        ("any pod of the name", without_uid, read("any"), status(Some("any"), Some("n1"))),
    ] {
        assert_eq!(unmet_pod(&checkpoint, read.as_ref()), expected, "{case}");
    }
}

#[test]
fn an_attempt_is_written_with_number_holder_and_deadline() {
    let status = in_progress().status.unwrap();
    assert_eq!((status.phase, status.attempt, status.failures), (Some(Phase::InProgress), 1, 0));
    assert_eq!(status.holder.as_deref(), Some("snapwatcher-0/b1"));
    assert_eq!((status.start_time.unwrap().0, status.deadline.unwrap().0), (at(0), at(130)));
}

#[test]
fn only_the_process_that_made_the_attempt_writes_its_outcome() {
    let mine = in_progress();
    let written = mine.status.clone().unwrap();
    assert!(accepts_outcome(&written, &mine));
    let other = |change: fn(&mut CheckpointStatus)| {
        let mut checkpoint = mine.clone();
        change(checkpoint.status.as_mut().unwrap());
        checkpoint
    };
    let earlier_boot = other(|status| status.holder = Some(holder("b2").to_string()));
    assert!(!accepts_outcome(&written, &earlier_boot), "of an earlier boot of the same instance");
    assert!(!accepts_outcome(&written, &other(|status| status.attempt = 2)), "another attempt");
    let same_number = other(|status| status.start_time = Some(MicroTime(at(1))));
    assert!(!accepts_outcome(&written, &same_number), "the same number, counted from an outdated Checkpoint");
    let unknown = |reason| after(&mine, &failed(reason), &keep(), at(1));
    assert!(accepts_outcome(&written, &unknown(Reason::Interrupted)), "the real outcome replaces Interrupted");
    assert!(!accepts_outcome(&written, &unknown(Reason::NoResponse)));
    let done = after(&mine, &Outcome::Succeeded(Location::default()), &keep(), at(1));
    assert!(!accepts_outcome(&written, &done));
}

#[test]
fn each_reason_leads_to_its_phase() {
    for reason in Reason::ALL {
        let (phase, failures) = match reason.retry_class() {
            RetryClass::NotTried => (Phase::Pending, 0),
            RetryClass::TriedAndFailed => (Phase::Pending, 1),
            RetryClass::Final => (Phase::Failed, 0),
            RetryClass::Unknown => (Phase::Unknown, 0),
        };
        let after = after(&in_progress(), &failed(reason), &keep(), at(5));
        let status = after.status.clone().unwrap();
        assert_eq!((after.phase(), status.failures), (phase, failures), "{reason}");
        assert_eq!(after.reason(), Some(reason.as_str()), "{reason}");
        assert_eq!(status.completion_time.is_some(), phase.is_final(), "{reason}");
        let failed = status.conditions.iter().find(|condition| condition.type_ == "Failed").unwrap();
        assert_eq!(failed.status == "True", matches!(phase, Phase::Failed | Phase::Unknown), "{reason}");
    }
}

#[test]
fn with_retry_an_unknown_result_is_repeated_and_only_responses_are_counted() {
    for (reason, failures) in [(Reason::NoResponse, 1), (Reason::InvalidResponse, 1), (Reason::Interrupted, 0)] {
        let after = after(&in_progress(), &failed(reason), &policy(UnknownResult::Retry), at(5));
        assert_eq!((after.phase(), after.status.unwrap().failures), (Phase::Pending, failures), "{reason}");
    }
}

#[test]
fn the_fifth_counted_failure_is_final() {
    let mut checkpoint = in_progress();
    for failures in 1..=5 {
        checkpoint = after(&checkpoint, &failed(Reason::BackendError), &keep(), at(failures));
        let expected = if failures < 5 { Phase::Pending } else { Phase::Failed };
        assert_eq!(checkpoint.phase(), expected, "{failures}");
    }
    let mut checkpoint = in_progress();
    for number in 1..=50 {
        checkpoint = after(&checkpoint, &failed(Reason::Unreachable), &keep(), at(number));
    }
    assert_eq!(checkpoint.phase(), Phase::Pending, "an unreachable endpoint never counts");
    for number in 1..=50 {
        checkpoint = after(&checkpoint, &failed(Reason::Interrupted), &policy(UnknownResult::Retry), at(number));
    }
    assert_eq!(checkpoint.phase(), Phase::Pending, "an interruption never counts");
}

#[test]
fn waits_double_and_respect_retry_after() {
    let mut checkpoint = in_progress();
    let mut waits = Vec::new();
    for number in 1..=9 {
        checkpoint.status.as_mut().unwrap().attempt = number;
        checkpoint = after(&checkpoint, &failed(Reason::Unreachable), &keep(), at(0));
        let next = checkpoint.status.as_ref().unwrap().next_attempt_time.as_ref().unwrap().0;
        waits.push(next.duration_since(at(0)).as_secs());
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
    let busy = Outcome::Failed {
        reason: Reason::Busy,
        message: Redacted::own("busy"),
        retry_after: Some(Duration::from_secs(90)),
    };
    let waiting = after(&in_progress(), &busy, &keep(), at(0));
    assert_eq!(waiting.status.as_ref().unwrap().next_attempt_time, Some(MicroTime(at(90))));
    let step = |now| plan(&waiting, &holder("b1"), &keep(), AttemptKnowledge::default(), now);
    assert_eq!((step(at(60)), step(at(90))), (NextStep::After(Duration::from_secs(30)), NextStep::Attempt));
}

#[test]
fn a_success_keeps_the_location_of_the_checkpoint() {
    let status = |location| after(&in_progress(), &Outcome::Succeeded(location), &keep(), at(5)).status.unwrap();
    let archive = Location { archive: Some("/var/lib/a.tar".into()), node: Some("n1".into()), ..Location::default() };
    let with_archive = status(archive);
    assert_eq!(with_archive.location.unwrap().node.as_deref(), Some("n1"));
    assert_eq!(with_archive.phase, Some(Phase::Succeeded));
    assert_eq!(status(Location::default()).location, None);
}

#[test]
fn an_attempt_in_progress_is_left_to_its_holder_while_that_may_be_alive() {
    let found = in_progress(); // 130 s from start to deadline
    let step = |me: &Holder, seconds| plan(&found, me, &keep(), seen(seconds), at(0));
    assert_eq!(step(&holder("b1"), 0), NextStep::Cancel, "my own, and never sent");
    let sent = AttemptKnowledge { was_sent: true, ..seen(0) };
    assert_eq!(plan(&found, &holder("b1"), &keep(), sent, at(0)), NextStep::MarkInterrupted, "my own");
    assert_eq!(step(&holder("b2"), 0), NextStep::MarkInterrupted, "of an earlier boot of mine");
    let other = Holder { instance: "snapwatcher-1".into(), boot: "b1".into() };
    assert_eq!(step(&other, 0), NextStep::After(Duration::from_secs(160)));
    assert_eq!(step(&other, 159), NextStep::After(Duration::from_secs(1)));
    assert_eq!(step(&other, 160), NextStep::MarkInterrupted);
}

#[test]
fn a_pending_checkpoint_is_attempted_at_its_next_attempt_time() {
    let step =
        |checkpoint: &Checkpoint, now| plan(checkpoint, &holder("b1"), &keep(), AttemptKnowledge::default(), now);
    assert_eq!(step(&pending(), at(0)), NextStep::Attempt, "just claimed");
    assert_eq!(step(&after(&pending(), &failed(Reason::NotReady), &keep(), at(1)), at(1)), NextStep::Attempt);
    let cancelled = with_status(cancel_attempt(&in_progress(), &Redacted::own("paused"), at(1)));
    assert_eq!(step(&cancelled, at(1)), NextStep::Attempt, "cancelled before it was sent");
    for reason in [Reason::Rejected, Reason::NoResponse] {
        assert_eq!(step(&after(&in_progress(), &failed(reason), &keep(), at(1)), at(999)), NextStep::Rest, "{reason}");
    }
}

#[test]
fn a_next_attempt_time_far_in_the_future_delays_an_attempt_by_ten_minutes() {
    let waiting = after(&in_progress(), &failed(Reason::Unreachable), &keep(), at(86_400));
    let step = |seconds| plan(&waiting, &holder("b1"), &keep(), seen(seconds), at(0));
    assert_eq!(step(0), NextStep::After(Duration::from_secs(600)), "the clock was set back by a day");
    assert_eq!(step(599), NextStep::After(Duration::from_secs(1)));
    assert_eq!(step(600), NextStep::Attempt);
}

#[test]
fn the_next_pod_of_a_revision_starts_without_failures() {
    let rejected = after(&in_progress(), &failed(Reason::Rejected), &keep(), at(1));
    let status = retry_on_next_pod(&rejected, rejected.status.clone().unwrap(), at(1));
    assert_eq!((status.phase, status.failures, status.completion_time), (Some(Phase::Pending), 0, None));
    assert_eq!(status.tried_pods, ["u"]);
    assert_eq!(status.attempt, 1, "the number of attempts only grows");
}

#[test]
fn attempts_and_failures_only_grow() {
    let error = after(&in_progress(), &failed(Reason::BackendError), &keep(), at(1));
    let again = start_attempt(&error, &target(), holder("b2").to_string(), SignedDuration::from_secs(1), at(2));
    assert_eq!((again.attempt, again.failures, again.completion_time), (2, 1, None));
}
