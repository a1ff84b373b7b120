//! How a record's status changes: pure functions from the status before and what happened to the status after.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use snapwatcher_api::pod::PodFacts;

use super::breaker;
use snapwatcher_api::checkpoint::{
    COMPLETE, Checkpoint, CheckpointStatus, LocationStatus, Phase, PodStatus, set_conditions,
};
use snapwatcher_api::outcome::{Location, Outcome, Reason, Redacted, RetryClass};

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
pub enum UnknownResult {
    /// It stays so: at most one request for each written attempt.
    #[default]
    Keep,
    /// It is repeated: at least one checkpoint, and in rare cases two.
    Retry,
}

/// The settings that decide how a record goes on.
#[derive(Debug, Clone)]
pub struct Policy {
    pub unknown_result: UnknownResult,
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
        Outcome::Failed { reason, message, retry_after } => {
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
    match reason.retry_class() {
        RetryClass::TriedAndFailed => true,
        RetryClass::Unknown => policy.unknown_result == UnknownResult::Retry && reason != Reason::Interrupted,
        RetryClass::NotTried | RetryClass::Final => false,
    }
}

fn phase_after(reason: Reason, failures: i64, policy: &Policy) -> Phase {
    match (reason.retry_class(), policy.unknown_result) {
        (RetryClass::NotTried, _) => Phase::Pending,
        (RetryClass::Final, _) => Phase::Failed,
        (RetryClass::Unknown, UnknownResult::Keep) => Phase::Unknown,
        (RetryClass::TriedAndFailed, _) | (RetryClass::Unknown, UnknownResult::Retry) => {
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
mod tests;
