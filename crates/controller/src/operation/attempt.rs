//! An attempt of a Checkpoint that exists: reads the pod, writes the attempt to the status, sends the request, and writes the
//! outcome.
//!
//! An attempt is written before it is sent, by compare-and-swap on resourceVersion. Its outcome is written by the process
//! that sent it, and the write is retried for as long as that process lives.

use std::sync::Arc;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::eligibility::{self, Choice, Ineligible};
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_api::pod::PodFacts;
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

use super::io::OperationIo;
use super::kinds::{Attempt, AttemptResult, OperationSettings, Progress, UnmetAttempt};
use super::request::{self, WrittenAttempt, has_next_pod};
use super::status_writer::StatusWriter;
use crate::record::fields;
use crate::record::transitions::{self, AttemptTarget};

/// Message of a Checkpoint that is marked Interrupted.
pub(crate) const INTERRUPTED: &str = "the SnapWatcher instance stopped before recording the result; the checkpoint may \
                                      exist. Look for it before you recreate the Checkpoint";
const INVALID_SPEC: &str = "spec names neither a pod nor a complete workload: recreate the Checkpoint with one of them";

/// Makes the attempt. An error means that nothing was sent. If the status says otherwise later, a write took effect late, and the
/// engine cancels that attempt.
pub(super) async fn run<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    attempt: &Attempt,
    report: &(impl Fn(Progress) + Send + Sync),
) -> Result<AttemptResult, CallError> {
    let Attempt { checkpoint, pod: name, node, shown } = attempt;
    let writer = StatusWriter { io, longest: settings.longest_attempt() };
    let Some(target) = fields::target(checkpoint) else {
        return write_unmet(&writer, settings, checkpoint, Reason::InvalidSpec, INVALID_SPEC, None).await;
    };
    let live = io.read_pod(name).await?;
    let facts = live.as_ref().map(|pod| &pod.facts);
    let container = match eligibility::check(facts, Choice::Target(&target), io.now()) {
        Ok(containers) => containers.into_iter().next().unwrap_or_default(),
        Err(cause) => {
            let message = cause.message(name, &target);
            let is_revision = matches!(target, CheckpointTarget::Revision { .. });
            let reason = if is_revision { Reason::NotReady } else { cause.reason() };
            let facts = facts.and_then(|facts| facts_of(&target, facts));
            return write_unmet(&writer, settings, checkpoint, reason, &message, facts).await;
        }
    };
    let Some(pod) = live else { return Ok(AttemptResult::NotSent { written: None }) };
    if let Some((shown, live)) = shown.as_ref().zip(pod.facts.container(&container)) {
        if shown.image != live.image_digest() {
            return Ok(AttemptResult::NotSent { written: None });
        }
        if shown.outdated.is_some() && shown.outdated == live.instance {
            let message = Ineligible::NotStarted { container }.message(name, &target);
            let pod = facts_of(&target, &pod.facts);
            return write_unmet(&writer, settings, checkpoint, Reason::NotReady, &message, pod).await;
        }
    }
    let actual = checkpoint_name::label_value(pod.facts.node.as_deref().unwrap_or_default());
    if node.as_ref() != Some(&actual) {
        return Ok(AttemptResult::OtherNode(actual));
    }
    let workload = match (io.workload(&pod.facts).await, &target) {
        (Ok(found), CheckpointTarget::Revision { workload, .. }) if found.uid != workload.uid => {
            let PodFacts { name: pod, uid, .. } = pod.facts;
            return Ok(AttemptResult::OtherWorkload { pod, uid, workload_uid: found.uid });
        }
        (Ok(found), _) => found,
        // Whether the pod belongs to the revision must be known.
        (Err(WorkloadError::Lookup { source, .. }), CheckpointTarget::Revision { .. }) => {
            return Err(CallError::Shared(source));
        }
        // The garbage collector deletes the pod next.
        (Err(WorkloadError::Gone { .. }), CheckpointTarget::Revision { .. }) => {
            let PodFacts { name: pod, uid, .. } = pod.facts;
            return Ok(AttemptResult::OtherWorkload { pod, uid, workload_uid: String::new() });
        }
        // Otherwise the workload is for display, and the pod's own owner reference serves.
        (Err(_), _) => direct_workload(&pod.facts),
    };
    if io.is_stopping() {
        return Ok(AttemptResult::NotSent { written: None });
    }
    let target = AttemptTarget::new(&pod.facts, container, workload.to_string());
    let status = transitions::start_attempt(
        checkpoint,
        &target,
        settings.holder.to_string(),
        settings.longest_attempt(),
        io.now(),
    );
    let write_started = io.since_boot();
    let Some(written) = writer.start(checkpoint, &status).await? else {
        return Ok(AttemptResult::NotSent { written: None });
    };
    let attempt = WrittenAttempt { checkpoint: written, pod, write_started, is_in_annotation: false };
    Ok(request::send(io, settings, attempt, report).await)
}

/// The pod, unless the Checkpoint is that of a revision: another pod is chosen next time, and this one does not count.
fn facts_of<'p>(target: &CheckpointTarget, pod: &'p PodFacts) -> Option<&'p PodFacts> {
    Some(pod).filter(|_| !matches!(target, CheckpointTarget::Revision { .. }))
}

/// Writes the unmet precondition to the status, unless the status already holds it.
async fn write_unmet<I: OperationIo>(
    writer: &StatusWriter<'_, I>,
    settings: &OperationSettings,
    checkpoint: &Checkpoint,
    reason: Reason,
    message: &str,
    pod: Option<&PodFacts>,
) -> Result<AttemptResult, CallError> {
    let message = Redacted::own(message);
    let is_shown = fields::is_shown(checkpoint, reason, message.as_str());
    let outcome = Outcome::Failed { reason, message, retry_after: None };
    let mut written = None;
    if !is_shown {
        let (jitter, now) = (writer.io.jitter(), writer.io.now());
        let mut status = transitions::after(checkpoint, &outcome, &settings.policy, false, jitter, now);
        status.pod = transitions::unmet_pod(checkpoint, pod);
        match writer.put(checkpoint, status).await {
            Ok(confirmed) => written = Some(Arc::new(confirmed)),
            // Another process has written: the watch delivers that version, and the engine looks at it again.
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    // With PodGone, the pod of that name is another one, or has ended. It gets no Event.
    let pod = pod.filter(|_| reason != Reason::PodGone).cloned();
    Ok(AttemptResult::Unmet(Box::new(UnmetAttempt { outcome, pod, written })))
}

fn direct_workload(pod: &PodFacts) -> Workload {
    let (name, uid) = (pod.name.name.to_string(), pod.uid.clone());
    let itself = Workload { api_version: "v1".into(), kind: "Pod".into(), name, uid };
    pod.controller.as_deref().map_or(itself, Workload::from)
}

/// Writes why a Checkpoint is not attempted.
pub(super) async fn write_only<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    checkpoint: &Checkpoint,
    reason: Reason,
    message: &str,
) -> Result<AttemptResult, CallError> {
    let writer = StatusWriter { io, longest: settings.longest_attempt() };
    write_unmet(&writer, settings, checkpoint, reason, message, None).await
}

/// Writes that an attempt was interrupted: its process has stopped, or is taken to have stopped.
pub(super) async fn mark_interrupted<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    checkpoint: &Checkpoint,
) -> Result<Option<Arc<Checkpoint>>, CallError> {
    let message = Redacted::own(INTERRUPTED);
    let outcome = Outcome::Failed { reason: Reason::Interrupted, message, retry_after: None };
    let now = io.now();
    let has_next_pod = has_next_pod(io, settings, checkpoint, &outcome, now).await?;
    let status = transitions::after(checkpoint, &outcome, &settings.policy, has_next_pod, io.jitter(), now);
    put_once(io, settings, checkpoint, status).await
}

/// Writes an attempt of this process back to Pending that was never sent: its write took effect after it was abandoned.
pub(super) async fn cancel_unsent<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    checkpoint: &Checkpoint,
) -> Result<Option<Arc<Checkpoint>>, CallError> {
    let message =
        Redacted::own("cancelled before sending: the API server carried out the write of the attempt too late");
    put_once(io, settings, checkpoint, transitions::cancel_attempt(checkpoint, &message, io.now())).await
}

/// `None`: its process lives and has written its outcome, or the Checkpoint was deleted.
async fn put_once<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    checkpoint: &Checkpoint,
    status: CheckpointStatus,
) -> Result<Option<Arc<Checkpoint>>, CallError> {
    let writer = StatusWriter { io, longest: settings.longest_attempt() };
    match writer.put(checkpoint, status).await {
        Ok(written) => Ok(Some(Arc::new(written))),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
