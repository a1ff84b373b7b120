//! The request of an attempt that is written, and the write of its outcome.

use std::pin::pin;
use std::time::Duration;

use futures::future::{self, Either};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use tracing::Level;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, Phase};
use snapwatcher_api::eligibility::{self, Choice};
use snapwatcher_api::outcome::{Outcome, Redacted};
use snapwatcher_backends::backend::CheckpointRequest;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, LivePod};
use snapwatcher_kubernetes::workload::WorkloadError;

use super::io::OperationIo;
use super::kinds::{AttemptResult, OperationSettings, OutcomeWrite, Progress, SEND_WINDOW, SentAttempt};
use super::status_writer::{RETRY, StatusWriter, namespace_and_name};
use crate::record::{fields, transitions};

/// A first attempt that takes longer than this is written to the status, so that people see it.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// An attempt that is written, and can be sent if it is not too late.
pub(super) struct WrittenAttempt {
    /// The status is that of the attempt.
    pub checkpoint: Checkpoint,
    pub pod: LivePod,
    /// When its write started, by the clock since boot.
    pub write_started: Duration,
    /// The attempt is in the annotation of the claim only.
    pub is_in_annotation: bool,
}

/// Sends the request of an attempt that is written, and writes its outcome.
pub(super) async fn send<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    attempt: WrittenAttempt,
    report: &(impl Fn(Progress) + Send + Sync),
) -> AttemptResult {
    let WrittenAttempt { mut checkpoint, pod, write_started, is_in_annotation } = attempt;
    let writer = StatusWriter { io, longest: settings.longest_attempt() };
    if let Some(why) = too_late(io, &checkpoint, write_started) {
        let written = cancel(io, &writer, &checkpoint, &why).await;
        return AttemptResult::NotSent { written: written.map(Into::into) };
    }
    let container = fields::container(&checkpoint).unwrap_or_default().to_owned();
    let status = checkpoint.status.clone().unwrap_or_default();
    let request = CheckpointRequest {
        pod: pod.facts.name.clone(),
        node: pod.facts.node.as_deref().unwrap_or_default().to_owned(),
        container: container.clone(),
        pod_uid: pod.facts.uid.clone(),
        checkpoint_uid: checkpoint.uid().unwrap_or_default(),
        is_automatic: fields::is_automatic(&checkpoint),
        idempotency_key: idempotency_key(&checkpoint, &status),
        pod_detail: pod.detail,
    };
    report(Progress::Requested(checkpoint.clone().into()));
    let outcome = if is_in_annotation {
        let (outcome, shown) = send_and_show(io, &writer, &request, &checkpoint, &status).await;
        checkpoint = shown.unwrap_or(checkpoint);
        outcome
    } else {
        io.checkpoint(&request).await
    };
    // The text of a pod can be long, and the write of the outcome can take minutes.
    drop(request);
    let deadline = status.deadline.as_ref().map(|deadline| deadline.0);
    report(Progress::Responded { outcome: outcome.clone(), deadline });
    let (checkpoint, written) = write_outcome(io, settings, &writer, &checkpoint, &outcome).await;
    AttemptResult::Sent(Box::new(SentAttempt {
        pod: pod.facts,
        container,
        outcome,
        checkpoint: checkpoint.into(),
        written,
    }))
}

/// Sends the request of a first attempt. If there is no response for some time, the attempt is written to the status; then
/// the Checkpoint with it is returned too.
async fn send_and_show<I: OperationIo>(
    io: &I,
    writer: &StatusWriter<'_, I>,
    request: &CheckpointRequest,
    checkpoint: &Checkpoint,
    status: &CheckpointStatus,
) -> (Outcome, Option<Checkpoint>) {
    let sending = pin!(io.checkpoint(request));
    let showing = pin!(async {
        io.sleep(SHOWN_AFTER).await;
        writer.put(checkpoint, status.clone()).await.ok()
    });
    match future::select(sending, showing).await {
        Either::Left((outcome, _)) => (outcome, None),
        Either::Right((shown, sending)) => (sending.await, shown),
    }
}

/// Why the attempt can't be sent any more. The deadline is the one in the object, and both clocks count: one of them may be
/// wrong.
fn too_late(io: &impl OperationIo, checkpoint: &Checkpoint, write_started: Duration) -> Option<String> {
    if io.since_boot().saturating_sub(write_started) > SEND_WINDOW {
        return Some(too_slow());
    }
    let MicroTime(deadline) = checkpoint.status.as_ref().and_then(|status| status.deadline.as_ref())?;
    let now = io.now();
    (now >= *deadline).then(|| {
        format!(
            "the clock of this node shows {now}, which is after the attempt's deadline {deadline}; check that clock"
        )
    })
}

pub(super) fn too_slow() -> String {
    format!("starting the attempt took more than {} s", SEND_WINDOW.as_secs())
}

/// Writes an attempt back to Pending that was certainly not sent.
pub(super) async fn cancel<I: OperationIo>(
    io: &I,
    writer: &StatusWriter<'_, I>,
    written: &Checkpoint,
    why: &str,
) -> Option<Checkpoint> {
    let message = format!("cancelled before sending: {why}");
    let (namespace, name) = namespace_and_name(written);
    if io.may_log(&namespace, Level::WARN) {
        tracing::warn!(
            namespace,
            checkpoint = name,
            "Attempt of Checkpoint `{namespace}/{name}` was {message}; it will be retried"
        );
    }
    let status = transitions::cancel_attempt(written, &Redacted::own(&message), io.now());
    // After a rejection, the engine cancels the attempt again, ever less often.
    writer.write_until_confirmed(written, |_| status.clone()).await.ok().flatten()
}

/// Writes the outcome. Returns the Checkpoint with it, and whether it was written.
async fn write_outcome<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    writer: &StatusWriter<'_, I>,
    written: &Checkpoint,
    outcome: &Outcome,
) -> (Checkpoint, OutcomeWrite) {
    let (jitter, now) = (io.jitter(), io.now());
    let mut retries = RETRY.retries();
    let has_next_pod = loop {
        match has_next_pod(io, settings, written, outcome, now).await {
            Ok(has_next_pod) => break has_next_pod,
            Err(error) if error.is_about_object() => {
                let (namespace, name) = namespace_and_name(written);
                if io.may_log(&namespace, Level::WARN) {
                    tracing::warn!(
                        namespace,
                        checkpoint = name,
                        "Other pods of the revision of Checkpoint `{namespace}/{name}` are not tried; run `snapwatcher check`: {}",
                        error_chain(&error)
                    );
                }
                break false;
            }
            Err(_) => io.sleep(retries.next_wait()).await,
        }
    };
    let status_after =
        |checkpoint: &Checkpoint| transitions::after(checkpoint, outcome, &settings.policy, has_next_pod, jitter, now);
    let unwritten = || Checkpoint { status: Some(status_after(written)), ..written.clone() };
    match writer.write_until_confirmed(written, status_after).await {
        Ok(Some(confirmed)) => (confirmed, OutcomeWrite::Done),
        Ok(None) => (unwritten(), OutcomeWrite::Superseded),
        Err(error) => (unwritten(), OutcomeWrite::Rejected(error)),
    }
}

/// Whether the Checkpoint of a revision continues with another pod: this outcome is the last of its pod, and another one
/// is Ready.
pub(super) async fn has_next_pod<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    checkpoint: &Checkpoint,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<bool, CallError> {
    let Some(target) = fields::target(checkpoint) else { return Ok(false) };
    let CheckpointTarget::Revision { workload, revision, .. } = &target else { return Ok(false) };
    let ended = transitions::after(checkpoint, outcome, &settings.policy, false, 0.0, now);
    let is_unsuccessful = matches!(ended.phase, Some(Phase::Failed | Phase::Unknown));
    if !is_unsuccessful || ended.tried_pods.len() + 1 >= settings.max_pods_per_revision {
        return Ok(false);
    }
    let tried_now = ended.pod.and_then(|pod| pod.uid);
    let is_tried = |uid: &String| ended.tried_pods.contains(uid) || tried_now.as_ref() == Some(uid);
    for pod in io.labeled_pods(&checkpoint.namespace().unwrap_or_default(), revision).await? {
        let is_eligible = eligibility::check(Some(&pod), Choice::Target(&target), now).is_ok();
        if !is_eligible || is_tried(&pod.uid) {
            continue;
        }
        match io.workload(&pod).await {
            Ok(found) if found.uid == workload.uid => return Ok(true),
            Ok(_) | Err(WorkloadError::Gone { .. }) => {}
            // It is about this pod alone.
            Err(WorkloadError::Lookup { source, .. }) if source.is_about_object() => {}
            Err(WorkloadError::Lookup { source, .. }) => return Err(CallError::Shared(source)),
        }
    }
    Ok(false)
}

/// The same for requests that may repeat each other's effect. It changes with each counted failure and with each pod of a
/// revision.
fn idempotency_key(checkpoint: &Checkpoint, status: &CheckpointStatus) -> String {
    let (uid, failures) = (checkpoint.uid().unwrap_or_default(), status.failures);
    match status.tried_pods.len() {
        0 => format!("{uid}-{failures}"),
        tried => format!("{uid}-{tried}-{failures}"),
    }
}

#[cfg(test)]
mod tests;
