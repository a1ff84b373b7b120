//! How a record's status changes: pure functions from the status before and what happened to the status after.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::pod::PodFacts;

use super::breaker;
use super::outcome::{Location, Outcome, Reason, Redacted, Verdict};
use super::resource::{COMPLETE, Checkpoint, CheckpointStatus, LocationStatus, Phase, PodStatus, set_conditions};

/// Who makes attempts: this process, and no later one under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Survives a restart: the pod's name.
    pub instance: String,
    /// Random for each process.
    pub boot: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.instance, self.boot)
    }
}

/// What is done about a request of which nobody can tell whether it had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnUnknown {
    /// It stays so: at most one request for each written attempt.
    #[default]
    Keep,
    /// It is repeated: at least one checkpoint, and in rare cases two.
    Retry,
}

/// The settings that decide how a record goes on.
#[derive(Debug, Clone)]
pub struct Policy {
    pub on_unknown: OnUnknown,
    /// Answers that show that the back-end tried and failed, until the record is Failed.
    pub max_attempts: i64,
    /// The longest wait between two attempts of one record.
    pub longest_wait: Duration,
    /// How long past its time an attempt of another holder is left alone.
    pub holder_grace: Duration,
}

/// What to do with a record now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until it changes.
    Rest,
    /// Nothing before that much time has passed.
    After(Duration),
    /// Make an attempt.
    Attempt,
    /// Write that the attempt was interrupted: whoever made it is gone.
    GiveUp,
}

/// Decides the next step of a record, which this process has seen as it is for `unchanged_for` by its own clock.
///
/// The waits of other holders are measured by that and never by the clock that wrote their times.
pub fn plan(record: &Checkpoint, me: &Holder, policy: &Policy, unchanged_for: Duration, now: Timestamp) -> Step {
    let status = record.status.as_ref();
    match record.phase() {
        Phase::Succeeded | Phase::Failed | Phase::Unknown => Step::Rest,
        Phase::Pending => match status.and_then(|status| status.next_attempt_time.as_ref()) {
            Some(next) if next.0 > now => {
                Step::After(Duration::try_from(next.0.duration_since(now)).unwrap_or_default())
            }
            _ => Step::Attempt,
        },
        Phase::InProgress => {
            let holder = status.and_then(|status| status.holder.as_deref()).unwrap_or_default();
            let is_of_my_instance = holder.rsplit_once('/').is_some_and(|(instance, _)| instance == me.instance);
            if is_of_my_instance && holder != me.to_string() {
                return Step::GiveUp;
            }
            // My own too: a write without an answer may arrive when nobody is at work on it any more.
            let times = status.and_then(|status| status.deadline.as_ref().zip(status.start_time.as_ref()));
            let took = times.map(|(deadline, start)| deadline.0.duration_since(start.0));
            let took = took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default();
            match (took + policy.holder_grace).checked_sub(unchanged_for) {
                Some(left) if !left.is_zero() => Step::After(left),
                _ => Step::GiveUp,
            }
        }
    }
}

/// What an attempt is about, as resolved by a live read of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub pod: PodStatus,
    pub container: String,
    pub workload: String,
    pub revision: String,
    pub image: Option<String>,
    pub image_id: Option<String>,
}

/// The status that has to be written before a request is made.
pub fn begun(
    record: &Checkpoint,
    target: &Target,
    holder: &Holder,
    longest: SignedDuration,
    now: Timestamp,
) -> CheckpointStatus {
    let before = record.status.clone().unwrap_or_default();
    let mut status = CheckpointStatus {
        phase: Some(Phase::InProgress),
        observed_generation: record.metadata.generation,
        pod: Some(target.pod.clone()),
        container: Some(target.container.clone()),
        workload: Some(target.workload.clone()),
        revision: Some(target.revision.clone()),
        image: target.image.clone(),
        image_id: target.image_id.clone(),
        attempt: before.attempt + 1,
        holder: Some(holder.to_string()),
        start_time: Some(MicroTime(now)),
        deadline: Some(MicroTime(now + longest)),
        next_attempt_time: None,
        completion_time: None,
        location: None,
        message: None,
        ..before
    };
    set_conditions(&mut status.conditions, Phase::InProgress, "InProgress", None, record.metadata.generation, now);
    status
}

/// Whether the status in the API server is that of the attempt written as `written`: by the same process, of the same
/// number and the same moment. The moment matters: a process that reads an old record again counts to the same number.
pub fn is_same_attempt(written: &CheckpointStatus, found: Option<&CheckpointStatus>) -> bool {
    found.is_some_and(|found| {
        (found.attempt, &found.holder, &found.start_time) == (written.attempt, &written.holder, &written.start_time)
    })
}

/// Whether the outcome of the attempt written as `written` may still be put over what the record is now: that attempt,
/// not finished, or given up as Interrupted.
pub fn takes_outcome(written: &CheckpointStatus, record: &Checkpoint) -> bool {
    is_same_attempt(written, record.status.as_ref())
        && match record.phase() {
            Phase::InProgress => true,
            // Given up by somebody else, to be kept so or to be asked again.
            Phase::Unknown | Phase::Pending => record.reason() == Some(Reason::Interrupted.as_str()),
            Phase::Succeeded | Phase::Failed => false,
        }
}

/// The status after an attempt came to its end, or came to nothing before it was written. `jitter` is from 0 to 1.
pub fn settled(
    record: &Checkpoint,
    outcome: &Outcome,
    policy: &Policy,
    jitter: f64,
    now: Timestamp,
) -> CheckpointStatus {
    let mut status = record.status.clone().unwrap_or_default();
    status.observed_generation = record.metadata.generation;
    status.next_attempt_time = None;
    let (phase, reason, message) = match outcome {
        Outcome::Succeeded(location) => {
            status.location = located(location);
            (Phase::Succeeded, "Succeeded", None)
        }
        Outcome::Stopped { reason, message, retry_after } => {
            status.failures += i64::from(counts(*reason, policy));
            let phase = phase_after(*reason, status.failures, policy);
            if phase == Phase::Pending && *reason != Reason::NotReady {
                let before = if counts(*reason, policy) { status.failures } else { status.attempt - status.failures };
                let failures = u32::try_from(before.max(1)).unwrap_or(u32::MAX);
                let wait = breaker::wait(failures, policy.longest_wait, *retry_after, jitter);
                // What was interrupted was no fault of the back-end's.
                let wait = if *reason == Reason::Interrupted { SignedDuration::ZERO } else { wait };
                status.next_attempt_time = Some(MicroTime(now + wait));
            }
            (phase, reason.as_str(), Some(message))
        }
    };
    status.phase = Some(phase);
    status.message = message.map(ToString::to_string);
    status.completion_time = phase.is_final().then_some(MicroTime(now));
    set_conditions(&mut status.conditions, phase, reason, message, record.metadata.generation, now);
    status
}

/// The pod that a record is about which comes to nothing before an attempt: as just read, as resolved before, or as far
/// as the wish names it.
pub fn refused_pod(record: &Checkpoint, read: Option<&PodFacts>) -> Option<PodStatus> {
    let wished = record.spec.pod.as_ref();
    // Another pod of that name is not the one that was wished for.
    let is_wished = |pod: &&PodFacts| wished.is_some_and(|wish| wish.uid.as_ref().is_none_or(|uid| *uid == pod.uid));
    let before = || record.status.as_ref().and_then(|status| status.pod.clone());
    let named = || wished.map(|wish| PodStatus { name: wish.name.clone(), uid: wish.uid.clone(), node: None });
    read.filter(is_wished).map(PodStatus::from).or_else(before).or_else(named)
}

/// Whether the back-end tried and failed, as far as the policy takes it so.
fn counts(reason: Reason, policy: &Policy) -> bool {
    match reason.verdict() {
        Verdict::TriedAndFailed => true,
        Verdict::Unknown => policy.on_unknown == OnUnknown::Retry && reason != Reason::Interrupted,
        Verdict::NotTried | Verdict::Final => false,
    }
}

fn phase_after(reason: Reason, failures: i64, policy: &Policy) -> Phase {
    match (reason.verdict(), policy.on_unknown) {
        (Verdict::NotTried, _) => Phase::Pending,
        (Verdict::Final, _) => Phase::Failed,
        (Verdict::Unknown, OnUnknown::Keep) => Phase::Unknown,
        (Verdict::TriedAndFailed, _) | (Verdict::Unknown, OnUnknown::Retry) => {
            if failures >= policy.max_attempts && reason != Reason::Interrupted {
                Phase::Failed
            } else {
                Phase::Pending
            }
        }
    }
}

/// The status of a revision's record whose pod came to nothing, for the next pod of that revision.
pub fn next_pod(record: &Checkpoint, ended: CheckpointStatus, now: Timestamp) -> CheckpointStatus {
    let mut status = ended;
    status.tried_pods.extend(status.pod.as_ref().and_then(|pod| pod.uid.clone()));
    (status.phase, status.failures, status.completion_time) = (Some(Phase::Pending), 0, None);
    let reason = conditions_reason(&status);
    let message = status.message.as_deref().map(Redacted::own);
    set_conditions(&mut status.conditions, Phase::Pending, &reason, message.as_ref(), record.metadata.generation, now);
    status
}

fn conditions_reason(status: &CheckpointStatus) -> String {
    let complete = status.conditions.iter().find(|condition| condition.type_ == COMPLETE);
    complete.map(|condition| condition.reason.clone()).unwrap_or_default()
}

/// The status of a record whose attempt is certain not to have been sent, to be tried again.
pub fn withdrawn(record: &Checkpoint, message: &Redacted, now: Timestamp) -> CheckpointStatus {
    let mut status = record.status.clone().unwrap_or_default();
    status.phase = Some(Phase::Pending);
    status.next_attempt_time = None;
    status.message = Some(message.to_string());
    let reason = Reason::Interrupted.as_str();
    set_conditions(&mut status.conditions, Phase::Pending, reason, Some(message), record.metadata.generation, now);
    status
}

fn located(location: &Location) -> Option<LocationStatus> {
    let Location { archive, node, image } = location.clone();
    (archive.is_some() || image.is_some()).then(|| LocationStatus { node: archive.as_ref().and(node), archive, image })
}

#[cfg(test)]
mod tests {
    use super::super::resource::{CheckpointSpec, PodWish};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn holder(boot: &str) -> Holder {
        Holder { instance: "snapwatcher-0".into(), boot: boot.into() }
    }

    fn record(status: Option<CheckpointStatus>) -> Checkpoint {
        let pod = PodWish { name: "web".into(), uid: Some("u".into()) };
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

    fn policy(on_unknown: OnUnknown) -> Policy {
        Policy {
            on_unknown,
            max_attempts: 5,
            longest_wait: Duration::from_secs(300),
            holder_grace: Duration::from_secs(30),
        }
    }

    fn facts(uid: &str) -> PodFacts {
        let pod = serde_json::json!({
            "metadata": {"namespace": "default", "name": "web", "uid": uid}, "spec": {"nodeName": "n1"},
        });
        serde_json::from_value::<crate::pod::WatchedPod>(pod).unwrap().into()
    }

    #[test]
    fn a_refused_record_names_its_pod_as_far_as_it_is_known() {
        let pod = |uid: Option<&str>, node: Option<&str>| {
            Some(PodStatus { name: "web".into(), uid: uid.map(Into::into), node: node.map(Into::into) })
        };
        let mut nameless = record(None);
        nameless.spec.pod = Some(PodWish { name: "web".into(), uid: None });
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
        policy(OnUnknown::Keep)
    }

    fn after(record: &Checkpoint, outcome: &Outcome, policy: &Policy, now: Timestamp) -> Checkpoint {
        let mut changed = record.clone();
        changed.status = Some(settled(record, outcome, policy, 0.5, now));
        changed
    }

    fn stopped(reason: Reason) -> Outcome {
        Outcome::Stopped { reason, message: Redacted::own("words"), retry_after: None }
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
        assert!(!takes_outcome(&written, &unknown(Reason::NoAnswer)));
        let done = after(&mine, &Outcome::Succeeded(Location::default()), &keep(), at(1));
        assert!(!takes_outcome(&written, &done));
    }

    #[test]
    fn each_reason_leads_to_its_phase() {
        for reason in Reason::ALL {
            let (phase, failures) = match reason.verdict() {
                Verdict::NotTried => (Phase::Pending, 0),
                Verdict::TriedAndFailed => (Phase::Pending, 1),
                Verdict::Final => (Phase::Failed, 0),
                Verdict::Unknown => (Phase::Unknown, 0),
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
        for (reason, failures) in [(Reason::NoAnswer, 1), (Reason::BadAnswer, 1), (Reason::Interrupted, 0)] {
            let after = after(&in_progress(), &stopped(reason), &policy(OnUnknown::Retry), at(5));
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
            record = after(&record, &stopped(Reason::Interrupted), &policy(OnUnknown::Retry), at(number));
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
        let busy = Outcome::Stopped {
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
        for reason in [Reason::Rejected, Reason::NoAnswer] {
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
}
