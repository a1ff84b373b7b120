use super::*;
use snapwatcher_api::checkpoint::{CheckpointSpec, PodReference};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn holder(boot: &str) -> Holder {
    Holder { instance: "snapwatcher-0".into(), boot: boot.into() }
}

fn record(status: Option<CheckpointStatus>) -> Checkpoint {
    let pod = PodReference { name: "web".into(), uid: Some("u".into()) };
    let mut record = Checkpoint::new(
        "web-app",
        CheckpointSpec { pod: Some(pod), container: Some("app".into()), ..Default::default() },
    );
    record.status = status;
    record
}

fn target() -> Target {
    Target {
        pod: PodStatus { name: "web".into(), uid: Some("u".into()), node: Some("n1".into()) },
        container: "app".into(),
        workload: "Deployment/web".into(),
        revision: "abc".into(),
        image: Some("busybox".into()),
        image_id: None,
    }
}

fn in_progress() -> Checkpoint {
    record(Some(begun(&record(None), &target(), &holder("b1"), SignedDuration::from_secs(130), at(0))))
}

fn policy(unknown_result: UnknownResult) -> Policy {
    Policy {
        unknown_result,
        max_attempts: 5,
        longest_wait: Duration::from_secs(300),
        holder_grace: Duration::from_secs(30),
    }
}

fn facts(uid: &str) -> PodFacts {
    let pod = serde_json::json!({
        "metadata": {"namespace": "default", "name": "web", "uid": uid}, "spec": {"nodeName": "n1"},
    });
    serde_json::from_value::<snapwatcher_api::pod::WatchedPod>(pod).unwrap().into()
}

#[test]
fn a_refused_record_names_its_pod_as_far_as_it_is_known() {
    let pod = |uid: Option<&str>, node: Option<&str>| {
        Some(PodStatus { name: "web".into(), uid: uid.map(Into::into), node: node.map(Into::into) })
    };
    let mut nameless = record(None);
    nameless.spec.pod = Some(PodReference { name: "web".into(), uid: None });
    for (case, record, read, expected) in [
        ("as read", record(None), Some(facts("u")), pod(Some("u"), Some("n1"))),
        ("another of its name", record(None), Some(facts("other")), pod(Some("u"), None)),
        ("gone after an attempt", in_progress(), None, pod(Some("u"), Some("n1"))),
        ("no such pod", nameless.clone(), None, pod(None, None)),
        ("whichever has the name", nameless, Some(facts("any")), pod(Some("any"), Some("n1"))),
    ] {
        assert_eq!(refused_pod(&record, read.as_ref()), expected, "{case}");
    }
}

fn keep() -> Policy {
    policy(UnknownResult::Keep)
}

fn after(record: &Checkpoint, outcome: &Outcome, policy: &Policy, now: Timestamp) -> Checkpoint {
    let mut changed = record.clone();
    changed.status = Some(settled(record, outcome, policy, 0.5, now));
    changed
}

fn stopped(reason: Reason) -> Outcome {
    Outcome::Failed { reason, message: Redacted::own("words"), retry_after: None }
}

#[test]
fn an_attempt_is_written_with_number_holder_and_deadline() {
    let status = in_progress().status.unwrap();
    assert_eq!((status.phase, status.attempt, status.failures), (Some(Phase::InProgress), 1, 0));
    assert_eq!(status.holder.as_deref(), Some("snapwatcher-0/b1"));
    assert_eq!((status.start_time.unwrap().0, status.deadline.unwrap().0), (at(0), at(130)));
}

#[test]
fn only_the_maker_of_the_very_attempt_writes_its_outcome() {
    let mine = in_progress();
    let written = mine.status.clone().unwrap();
    assert!(takes_outcome(&written, &mine));
    let other = |change: fn(&mut CheckpointStatus)| {
        let mut record = mine.clone();
        change(record.status.as_mut().unwrap());
        record
    };
    let earlier_boot = other(|status| status.holder = Some(holder("b2").to_string()));
    assert!(!takes_outcome(&written, &earlier_boot), "of an earlier boot of the same instance");
    assert!(!takes_outcome(&written, &other(|status| status.attempt = 2)), "another attempt");
    let same_number = other(|status| status.start_time = Some(MicroTime(at(1))));
    assert!(!takes_outcome(&written, &same_number), "the same number counted from an old record");
    let unknown = |reason| after(&mine, &stopped(reason), &keep(), at(1));
    assert!(takes_outcome(&written, &unknown(Reason::Interrupted)), "the truth replaces a guess");
    assert!(!takes_outcome(&written, &unknown(Reason::NoResponse)));
    let done = after(&mine, &Outcome::Succeeded(Location::default()), &keep(), at(1));
    assert!(!takes_outcome(&written, &done));
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
        let after = after(&in_progress(), &stopped(reason), &keep(), at(5));
        let status = after.status.clone().unwrap();
        assert_eq!((after.phase(), status.failures), (phase, failures), "{reason}");
        assert_eq!(after.reason(), Some(reason.as_str()), "{reason}");
        assert_eq!(status.completion_time.is_some(), phase.is_final(), "{reason}");
        let failed = status.conditions.iter().find(|condition| condition.type_ == "Failed").unwrap();
        assert_eq!(failed.status == "True", matches!(phase, Phase::Failed | Phase::Unknown), "{reason}");
    }
}

#[test]
fn with_retry_an_unknown_is_repeated_and_only_answers_are_counted() {
    for (reason, failures) in [(Reason::NoResponse, 1), (Reason::InvalidResponse, 1), (Reason::Interrupted, 0)] {
        let after = after(&in_progress(), &stopped(reason), &policy(UnknownResult::Retry), at(5));
        assert_eq!((after.phase(), after.status.unwrap().failures), (Phase::Pending, failures), "{reason}");
    }
}

#[test]
fn the_fifth_answer_that_shows_a_failure_is_the_last() {
    let mut record = in_progress();
    for failures in 1..=5 {
        record = after(&record, &stopped(Reason::BackendError), &keep(), at(failures));
        let expected = if failures < 5 { Phase::Pending } else { Phase::Failed };
        assert_eq!(record.phase(), expected, "{failures}");
    }
    let mut record = in_progress();
    for number in 1..=50 {
        record = after(&record, &stopped(Reason::Unreachable), &keep(), at(number));
    }
    assert_eq!(record.phase(), Phase::Pending, "being unreachable is not trying");
    for number in 1..=50 {
        record = after(&record, &stopped(Reason::Interrupted), &policy(UnknownResult::Retry), at(number));
    }
    assert_eq!(record.phase(), Phase::Pending, "being interrupted never counts");
}

#[test]
fn waits_double_and_honour_the_back_end_s_own_wish() {
    let mut record = in_progress();
    let mut waits = Vec::new();
    for number in 1..=9 {
        record.status.as_mut().unwrap().attempt = number;
        record = after(&record, &stopped(Reason::Unreachable), &keep(), at(0));
        let next = record.status.as_ref().unwrap().next_attempt_time.as_ref().unwrap().0;
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
    let step = |now| plan(&waiting, &holder("b1"), &keep(), Duration::ZERO, now);
    assert_eq!((step(at(60)), step(at(90))), (Step::After(Duration::from_secs(30)), Step::Attempt));
}

#[test]
fn a_success_keeps_where_the_checkpoint_is() {
    let settled = |location| after(&in_progress(), &Outcome::Succeeded(location), &keep(), at(5)).status.unwrap();
    let archive = Location { archive: Some("/var/lib/a.tar".into()), node: Some("n1".into()), image: None };
    let status = settled(archive);
    assert_eq!(status.location.unwrap().node.as_deref(), Some("n1"));
    assert_eq!(status.phase, Some(Phase::Succeeded));
    assert_eq!(settled(Location::default()).location, None);
}

#[test]
fn an_attempt_found_in_progress_is_left_to_its_maker_while_that_may_live() {
    let found = in_progress(); // 130 s from start to deadline
    let step = |me: &Holder, seconds| plan(&found, me, &keep(), Duration::from_secs(seconds), at(0));
    assert_eq!(step(&holder("b1"), 0), Step::After(Duration::from_secs(160)), "my own");
    assert_eq!(step(&holder("b2"), 0), Step::GiveUp, "of an earlier boot of mine");
    let other = Holder { instance: "snapwatcher-1".into(), boot: "b1".into() };
    assert_eq!(step(&other, 0), Step::After(Duration::from_secs(160)));
    assert_eq!(step(&other, 159), Step::After(Duration::from_secs(1)));
    assert_eq!(step(&other, 160), Step::GiveUp);
}

#[test]
fn what_is_pending_is_attempted_when_its_time_has_come() {
    let step = |record: &Checkpoint, now| plan(record, &holder("b1"), &keep(), Duration::ZERO, now);
    assert_eq!(step(&record(None), at(0)), Step::Attempt, "just claimed");
    assert_eq!(step(&after(&record(None), &stopped(Reason::NotReady), &keep(), at(1)), at(1)), Step::Attempt);
    let withdrawn = record(Some(withdrawn(&in_progress(), &Redacted::own("paused"), at(1))));
    assert_eq!(step(&withdrawn, at(1)), Step::Attempt, "withdrawn before it was sent");
    for reason in [Reason::Rejected, Reason::NoResponse] {
        assert_eq!(step(&after(&in_progress(), &stopped(reason), &keep(), at(1)), at(999)), Step::Rest, "{reason}");
    }
}

#[test]
fn the_next_pod_of_a_revision_starts_afresh() {
    let failed = after(&in_progress(), &stopped(Reason::Rejected), &keep(), at(1));
    let status = next_pod(&failed, failed.status.clone().unwrap(), at(1));
    assert_eq!((status.phase, status.failures, status.completion_time), (Some(Phase::Pending), 0, None));
    assert_eq!(status.tried_pods, ["u"]);
    assert_eq!(status.attempt, 1, "the number of attempts only grows");
}

#[test]
fn attempts_and_failures_only_grow() {
    let failed = after(&in_progress(), &stopped(Reason::BackendError), &keep(), at(1));
    let again = begun(&failed, &target(), &holder("b2"), SignedDuration::from_secs(1), at(2));
    assert_eq!((again.attempt, again.failures, again.completion_time), (2, 1, None));
}
