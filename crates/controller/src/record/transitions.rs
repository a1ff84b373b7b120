//! How the status of a Checkpoint changes: pure functions from the old status and an event to the new status.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use snapwatcher_api::checkpoint::{
    COMPLETE, Checkpoint, CheckpointStatus, LocationStatus, Phase, PodStatus, set_conditions,
};
use snapwatcher_api::outcome::{Location, Outcome, Reason, Redacted, RetryClass};
use snapwatcher_api::pod::PodFacts;

use super::fields;
use super::retry_wait::retry_wait;

/// The process that makes an attempt; written `<instance>/<boot>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Stays the same over restarts: the name of the pod.
    pub instance: String,
    /// Random, new for each process.
    pub boot: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.instance, self.boot)
    }
}

/// What to do when the result of a request is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum UnknownResult {
    /// Leave the Checkpoint Unknown: at most one request for each written attempt.
    #[default]
    Keep,
    /// Send the request again: at least one checkpoint, in rare cases two.
    Retry,
}

/// The settings that decide when an attempt is repeated.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    pub unknown_result: UnknownResult,
    /// How many counted failures make a Checkpoint Failed.
    pub max_attempts: i64,
    /// The longest wait between two attempts of one Checkpoint.
    pub longest_wait: Duration,
    /// How long after its longest duration an attempt is still left to its holder.
    pub holder_grace: Duration,
}

/// What an attempt is made of, as resolved by a live read of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptTarget {
    pub pod: PodStatus,
    pub container: String,
    pub workload: String,
    pub revision: String,
    pub image: Option<String>,
    pub image_id: Option<String>,
}

impl AttemptTarget {
    pub(crate) fn new(pod: &PodFacts, container: String, workload: String) -> Self {
        let facts = pod.container(&container);
        Self {
            pod: PodStatus::from(pod),
            workload,
            revision: pod.revision().to_owned(),
            image: facts.map(|facts| facts.image.to_string()),
            image_id: facts.and_then(|facts| facts.image_id.as_deref().map(str::to_owned)),
            container,
        }
    }
}

/// The status to write before the request is sent: that of an attempt of this holder, which starts at `now`.
pub(crate) fn start_attempt(
    checkpoint: &Checkpoint,
    target: &AttemptTarget,
    holder: String,
    longest: SignedDuration,
    now: Timestamp,
) -> CheckpointStatus {
    let before = checkpoint.status.clone().unwrap_or_default();
    let generation = checkpoint.metadata.generation;
    let mut status = CheckpointStatus {
        phase: Some(Phase::InProgress),
        observed_generation: generation,
        pod: Some(target.pod.clone()),
        container: Some(target.container.clone()),
        workload: Some(target.workload.clone()),
        revision: Some(target.revision.clone()),
        image: target.image.clone(),
        image_id: target.image_id.clone(),
        attempt: before.attempt + 1,
        holder: Some(holder),
        start_time: Some(MicroTime(now)),
        deadline: Some(MicroTime(now + longest)),
        next_attempt_time: None,
        completion_time: None,
        location: None,
        message: None,
        ..before
    };
    set_conditions(&mut status.conditions, Phase::InProgress, "InProgress", None, generation, now);
    status
}

/// Whether `found` holds the attempt that was written as `written`: the same process, number and start time. The start time
/// matters because a process that reads an outdated Checkpoint reaches the same number again.
pub(crate) fn is_same_attempt(written: &CheckpointStatus, found: Option<&CheckpointStatus>) -> bool {
    found.is_some_and(|found| {
        (found.attempt, &found.holder, &found.start_time) == (written.attempt, &written.holder, &written.start_time)
    })
}

/// Whether the outcome of the attempt that was written as `written` may replace the current status: the same attempt is in
/// progress or marked Interrupted.
pub(crate) fn accepts_outcome(written: &CheckpointStatus, checkpoint: &Checkpoint) -> bool {
    is_same_attempt(written, checkpoint.status.as_ref())
        && match checkpoint.phase() {
            Phase::InProgress => true,
            // Another process has marked it Interrupted, either final or to be retried.
            Phase::Unknown | Phase::Pending => checkpoint.reason() == Some(Reason::Interrupted.as_str()),
            Phase::Succeeded | Phase::Failed => false,
        }
}

/// The same of a success, which counts whatever the Checkpoint waits for meanwhile: no later attempt has begun. The status can
/// name another pod already.
pub(crate) fn accepts_success(written: &CheckpointStatus, checkpoint: &Checkpoint) -> bool {
    let pod = |status: &CheckpointStatus| status.pod.as_ref().and_then(|pod| pod.uid.clone());
    let is_of_pod = checkpoint.status.as_ref().is_some_and(|found| pod(found) == pod(written));
    let waits = is_same_attempt(written, checkpoint.status.as_ref()) && checkpoint.phase() == Phase::Pending;
    waits && is_of_pod || accepts_outcome(written, checkpoint)
}

/// The status after an attempt, or after a precondition that was not met. `jitter` is from 0 to 1.
pub(crate) fn finish_attempt(
    checkpoint: &Checkpoint,
    outcome: &Outcome,
    policy: &RetryPolicy,
    jitter: f64,
    now: Timestamp,
) -> CheckpointStatus {
    let mut status = checkpoint.status.clone().unwrap_or_default();
    status.observed_generation = checkpoint.metadata.generation;
    status.next_attempt_time = None;
    let (phase, reason, message) = match outcome {
        Outcome::Succeeded(location) => {
            status.location = location_status(location);
            (Phase::Succeeded, "Succeeded", None)
        }
        Outcome::Failed { reason, message, retry_after } => {
            status.failures += i64::from(is_counted(*reason, policy));
            let phase = phase_after(*reason, status.failures, policy);
            if phase == Phase::Pending && *reason != Reason::NotReady {
                let in_a_row =
                    if is_counted(*reason, policy) { status.failures } else { status.attempt - status.failures };
                let in_a_row = u32::try_from(in_a_row.max(1)).unwrap_or(u32::MAX);
                let wait = retry_wait(in_a_row, policy.longest_wait, *retry_after, jitter);
                // An interruption says nothing about the back-end, so there is no wait after it.
                let wait = if *reason == Reason::Interrupted { Duration::ZERO } else { wait };
                status.next_attempt_time = Some(MicroTime(now + wait));
            }
            (phase, reason.as_str(), Some(message))
        }
    };
    status.phase = Some(phase);
    status.message = message.map(ToString::to_string);
    status.completion_time = phase.is_final().then_some(MicroTime(now));
    set_conditions(&mut status.conditions, phase, reason, message, checkpoint.metadata.generation, now);
    status
}

/// The status after an outcome, which for a revision may leave the Checkpoint to its next pod.
pub(crate) fn after(
    checkpoint: &Checkpoint,
    outcome: &Outcome,
    policy: &RetryPolicy,
    has_next_pod: bool,
    jitter: f64,
    now: Timestamp,
) -> CheckpointStatus {
    let status = finish_attempt(checkpoint, outcome, policy, jitter, now);
    if has_next_pod { retry_on_next_pod(checkpoint, status, now) } else { status }
}

/// The pod in the status of a Checkpoint with an unmet precondition: as just read, as resolved before, or as in the spec.
pub(crate) fn unmet_pod(checkpoint: &Checkpoint, read: Option<&PodFacts>) -> Option<PodStatus> {
    let reference = checkpoint.spec.pod.as_ref();
    // Another pod of the same name does not count.
    let is_named =
        |pod: &&PodFacts| reference.is_some_and(|reference| reference.uid.as_ref().is_none_or(|uid| *uid == pod.uid));
    let before = || checkpoint.status.as_ref().and_then(|status| status.pod.clone());
    // A spec that the API server accepted before the schema had all its rules may hold any text.
    let named = || {
        let pod = reference.filter(|_| fields::target(checkpoint).is_some())?;
        Some(PodStatus { name: pod.name.clone(), uid: pod.uid.clone(), node: None })
    };
    read.filter(is_named).map(PodStatus::from).or_else(before).or_else(named)
}

/// Whether this failure counts towards `max_attempts`.
fn is_counted(reason: Reason, policy: &RetryPolicy) -> bool {
    match reason.retry_class() {
        RetryClass::TriedAndFailed => true,
        RetryClass::Unknown => policy.unknown_result == UnknownResult::Retry && reason != Reason::Interrupted,
        RetryClass::NotTried | RetryClass::Final => false,
    }
}

fn phase_after(reason: Reason, failures: i64, policy: &RetryPolicy) -> Phase {
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

/// The status of a revision's Checkpoint whose pod ended Failed or Unknown, to continue with the next pod.
pub(crate) fn retry_on_next_pod(checkpoint: &Checkpoint, ended: CheckpointStatus, now: Timestamp) -> CheckpointStatus {
    let mut status = ended;
    status.tried_pods.extend(status.pod.as_ref().and_then(|pod| pod.uid.clone()));
    (status.phase, status.failures, status.completion_time) = (Some(Phase::Pending), 0, None);
    let complete = status.conditions.iter().find(|condition| condition.type_ == COMPLETE);
    let reason = complete.map(|condition| condition.reason.clone()).unwrap_or_default();
    let message = status.message.as_deref().map(Redacted::own);
    let generation = checkpoint.metadata.generation;
    set_conditions(&mut status.conditions, Phase::Pending, &reason, message.as_ref(), generation, now);
    status
}

/// The status of an attempt that was certainly not sent, to be retried.
pub(crate) fn cancel_attempt(checkpoint: &Checkpoint, message: &Redacted, now: Timestamp) -> CheckpointStatus {
    let mut status = checkpoint.status.clone().unwrap_or_default();
    status.phase = Some(Phase::Pending);
    status.next_attempt_time = None;
    status.message = Some(message.to_string());
    let (reason, generation) = (Reason::NotSent.as_str(), checkpoint.metadata.generation);
    set_conditions(&mut status.conditions, Phase::Pending, reason, Some(message), generation, now);
    status
}

/// In place of the message in a status that was rejected with it.
const MESSAGE_LEFT_OUT: &str = "left out, as the API server rejected the status with it";

/// Makes a status shorter, for an object that has nearly no room.
pub(crate) fn leave_message_out(status: &mut CheckpointStatus) {
    let texts = status.message.iter_mut().chain(status.conditions.iter_mut().map(|condition| &mut condition.message));
    for text in texts.filter(|text| text.len() > MESSAGE_LEFT_OUT.len()) {
        MESSAGE_LEFT_OUT.clone_into(text);
    }
}

fn location_status(location: &Location) -> Option<LocationStatus> {
    let Location { archive, node, image, counted_bytes } = location.clone();
    let counted_bytes = counted_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    (archive.is_some() || image.is_some()).then(|| LocationStatus {
        node: archive.as_ref().and(node),
        archive,
        image,
        counted_bytes,
    })
}

#[cfg(test)]
mod tests;
