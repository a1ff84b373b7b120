//! How a record's status changes: pure functions from the status before and what happened to the status after.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::outcome::{Location, Outcome, Reason, Redacted, Verdict};
use super::resource::{Checkpoint, CheckpointStatus, LocationStatus, Phase, PodStatus, set_conditions};

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

/// What to do with a record now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until it changes.
    Rest,
    /// Nothing before that time.
    Until(Timestamp),
    /// Make an attempt.
    Attempt,
}

/// Decides the next step of a record.
///
/// A Pending record waits for its pod ([`Reason::NotReady`]), was never tried, or was left before its request was
/// sent: it is attempted, and the live read of the pod decides. Any other reason is an outcome that waits.
pub fn plan(record: &Checkpoint, now: Timestamp) -> Step {
    if record.phase() != Phase::Pending {
        return Step::Rest;
    }
    let may_be_tried = match record.reason() {
        None => true,
        Some(reason) => reason == Reason::NotReady.as_str() || reason == Reason::Interrupted.as_str(),
    };
    if !may_be_tried {
        return Step::Rest;
    }
    match record.status.as_ref().and_then(|status| status.next_attempt_time.as_ref()) {
        Some(next) if next.0 > now => Step::Until(next.0),
        _ => Step::Attempt,
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
            Phase::Unknown => record.reason() == Some(Reason::Interrupted.as_str()),
            Phase::Pending | Phase::Succeeded | Phase::Failed => false,
        }
}

/// The status after an attempt came to its end, or came to nothing before it was written.
pub fn settled(record: &Checkpoint, outcome: &Outcome, now: Timestamp) -> CheckpointStatus {
    let mut status = record.status.clone().unwrap_or_default();
    status.observed_generation = record.metadata.generation;
    let (phase, reason, message) = match outcome {
        Outcome::Succeeded(location) => {
            status.location = located(location);
            (Phase::Succeeded, "Succeeded", None)
        }
        Outcome::Stopped { reason, message, .. } => {
            let phase = match reason.verdict() {
                Verdict::NotTried | Verdict::TriedAndFailed => Phase::Pending,
                Verdict::Final => Phase::Failed,
                Verdict::Unknown => Phase::Unknown,
            };
            status.failures += i64::from(reason.verdict() == Verdict::TriedAndFailed);
            (phase, reason.as_str(), Some(message))
        }
    };
    status.phase = Some(phase);
    status.message = message.map(ToString::to_string);
    status.completion_time = phase.is_final().then_some(MicroTime(now));
    set_conditions(&mut status.conditions, phase, reason, message, record.metadata.generation, now);
    status
}

/// The status of a record whose attempt is certain not to have been sent, to be tried again.
pub fn withdrawn(record: &Checkpoint, message: &Redacted, now: Timestamp) -> CheckpointStatus {
    let mut status = record.status.clone().unwrap_or_default();
    status.phase = Some(Phase::Pending);
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
            pod: PodStatus { name: "web".into(), uid: "u".into(), node: Some("n1".into()) },
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
        let unknown = |reason| record(Some(settled(&mine, &stopped(reason), at(1))));
        assert!(takes_outcome(&written, &unknown(Reason::Interrupted)), "the truth replaces a guess");
        assert!(!takes_outcome(&written, &unknown(Reason::NoAnswer)));
        let done = record(Some(settled(&mine, &Outcome::Succeeded(Location::default()), at(1))));
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
            let after = record(Some(settled(&in_progress(), &stopped(reason), at(5))));
            let status = after.status.clone().unwrap();
            assert_eq!((after.phase(), status.failures), (phase, failures), "{reason}");
            assert_eq!(after.reason(), Some(reason.as_str()), "{reason}");
            assert_eq!(status.completion_time.is_some(), phase.is_final(), "{reason}");
            let failed = status.conditions.iter().find(|condition| condition.type_ == "Failed").unwrap();
            assert_eq!(failed.status == "True", matches!(phase, Phase::Failed | Phase::Unknown), "{reason}");
        }
    }

    #[test]
    fn a_success_keeps_where_the_checkpoint_is() {
        let location = Location { archive: Some("/var/lib/a.tar".into()), node: Some("n1".into()), image: None };
        let status = settled(&in_progress(), &Outcome::Succeeded(location), at(5));
        assert_eq!(status.location.unwrap().node.as_deref(), Some("n1"));
        assert_eq!(status.phase, Some(Phase::Succeeded));
        assert_eq!(settled(&in_progress(), &Outcome::Succeeded(Location::default()), at(5)).location, None);
    }

    #[test]
    fn only_a_pending_record_without_an_outcome_is_attempted() {
        assert_eq!(plan(&record(None), at(0)), Step::Attempt, "just claimed");
        assert_eq!(plan(&in_progress(), at(0)), Step::Rest);
        for reason in Reason::ALL {
            let expected = if reason == Reason::NotReady { Step::Attempt } else { Step::Rest };
            assert_eq!(
                plan(&record(Some(settled(&in_progress(), &stopped(reason), at(1)))), at(2)),
                expected,
                "{reason}"
            );
        }
        let mut later = record(Some(withdrawn(&in_progress(), &Redacted::own("paused"), at(1))));
        assert_eq!(plan(&later, at(2)), Step::Attempt, "withdrawn before it was sent");
        later.status.as_mut().unwrap().next_attempt_time = Some(MicroTime(at(9)));
        assert_eq!(plan(&later, at(2)), Step::Until(at(9)));
        assert_eq!(plan(&later, at(9)), Step::Attempt);
    }

    #[test]
    fn attempts_and_failures_only_grow() {
        let failed = record(Some(settled(&in_progress(), &stopped(Reason::BackendError), at(1))));
        let again = begun(&failed, &target(), &holder("b2"), SignedDuration::from_secs(1), at(2));
        assert_eq!((again.attempt, again.failures, again.completion_time), (2, 1, None));
    }
}
