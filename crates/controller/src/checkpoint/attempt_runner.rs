//! Runs one attempt: reads the pod, writes the attempt to the status, sends the request, and writes the outcome.
//!
//! An attempt is written before it is sent, by compare-and-swap on resourceVersion. Its outcome is written by the process
//! that sent it, and the write is retried for as long as that process lives.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, Phase};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::outcome::{Outcome, Reason, Redacted, RetryClass};
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_backends::backend::{CheckpointBackend, CheckpointRequest};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{CallError, LivePod};
use snapwatcher_kubernetes::workload::WorkloadLookup;
use snapwatcher_state::ContainerTimeline;

use super::attempt_preparation::{AttemptPreparation, NotPrepared, PreparedAttempt, SEND_WINDOW};
use super::circuit_breaker::EndpointSignal;
use super::concurrency_limiter::ConcurrencyLimiter;
use super::endpoint_breakers::{EndpointBreakers, Permit};
use super::fields;
use super::preconditions::UnmetPrecondition;
use super::status_writer::{RETRY, StatusWriter};
use super::transitions::{self, Holder, RetryPolicy};
use crate::context::ControllerContext;

/// Message of a Checkpoint that is marked Interrupted.
const INTERRUPTED: &str = "the SnapWatcher instance stopped before recording the result; the checkpoint may exist. \
                           Look for it before you recreate the Checkpoint";

/// What all attempts share.
pub struct AttemptRunner {
    pub context: ControllerContext,
    pub backend: Arc<dyn CheckpointBackend>,
    pub owners: WorkloadLookup,
    pub limiter: ConcurrencyLimiter,
    pub breakers: EndpointBreakers,
    pub holder: Holder,
    pub policy: RetryPolicy,
    /// How many pods of a revision are attempted, one after another, before its Checkpoint is final.
    pub max_pods_per_revision: usize,
}

/// What one run did.
#[derive(Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The request was sent to the endpoint.
    Sent(EndpointSignal),
    /// No request was sent. The status says why, or another process has changed the Checkpoint.
    NotSent,
    /// No request was sent: the pod's node has no free slot or an open circuit breaker, or another Checkpoint of the same
    /// container has an attempt under way.
    NoFreeSlot { node: String },
}

/// Whether a Checkpoint of a revision continues with another pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextPod {
    None,
    IsReady,
}

impl AttemptRunner {
    /// Runs one attempt of a Checkpoint that holds a slot. An error means that nothing was sent and that the status does
    /// not claim otherwise. After the stop no attempt is started.
    pub async fn run(
        &self,
        checkpoint: &Checkpoint,
        permit: &mut Permit,
        stop: &CancellationToken,
    ) -> Result<AttemptResult, CallError> {
        let PreparedAttempt { pod, status } = match self.preparation(permit).prepare(checkpoint).await? {
            Ok(prepared) => prepared,
            Err(NotPrepared { unmet, pod }) => {
                return self.write_unmet(checkpoint, &unmet, pod.as_ref()).await.map(|()| AttemptResult::NotSent);
            }
        };
        if let Some(node) = self.node_without_free_slot(checkpoint, permit, &status) {
            return Ok(AttemptResult::NoFreeSlot { node });
        }
        if stop.is_cancelled() {
            return Ok(AttemptResult::NotSent);
        }
        let started = clock::since_boot();
        let Some(written) = self.status_writer().start(checkpoint, &status).await? else {
            return Ok(AttemptResult::NotSent);
        };
        if clock::since_boot().saturating_sub(started) > SEND_WINDOW {
            self.cancel(&written).await;
            return Ok(AttemptResult::NotSent);
        }
        let outcome = self.send(&written, pod).await;
        self.update_backend_check(&outcome, permit);
        self.write_outcome(written, &outcome).await;
        Ok(AttemptResult::Sent(EndpointSignal::from(&outcome)))
    }

    /// Writes that an attempt was interrupted: its process has stopped, or is taken to have stopped.
    pub async fn mark_interrupted(&self, checkpoint: &Checkpoint) -> Result<(), CallError> {
        let message = Redacted::own(INTERRUPTED);
        let outcome = Outcome::Failed { reason: Reason::Interrupted, message, retry_after: None };
        let next_pod = self.next_pod(checkpoint, &outcome).await?;
        let status = self.status_after(checkpoint, &outcome, next_pod);
        match self.status_writer().put(checkpoint, status).await {
            Ok(_) => {
                let (namespace, name) = fields::namespace_and_name(checkpoint);
                tracing::warn!(
                    checkpoint = name,
                    namespace,
                    "Checkpoint `{namespace}/{name}` is marked Interrupted: {INTERRUPTED}"
                );
                self.context.checkpoint_metrics.interrupted();
                self.context.events.ended(checkpoint, Reason::Interrupted, INTERRUPTED);
                Ok(())
            }
            // The process lives and has written its outcome, or the Checkpoint was deleted.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The node of the attempt if it has no free slot, or if the circuit breaker of its endpoint is open.
    fn node_without_free_slot(
        &self,
        checkpoint: &Checkpoint,
        permit: &mut Permit,
        status: &CheckpointStatus,
    ) -> Option<String> {
        let pod = status.pod.clone().unwrap_or_default();
        let node = checkpoint_name::label_value(&pod.node.unwrap_or_default());
        let subject = (pod.uid.unwrap_or_default(), status.container.clone().unwrap_or_default());
        let now = clock::now();
        let has_slot = self.limiter.assign_node(&checkpoint.uid().unwrap_or_default(), &node, subject, now);
        let may_send = has_slot && self.breakers.move_permit(permit, self.backend.endpoint(Some(&node)), now);
        (!may_send).then_some(node)
    }

    /// Writes the unmet precondition to the status, unless the status already holds it.
    async fn write_unmet(
        &self,
        checkpoint: &Checkpoint,
        unmet: &UnmetPrecondition,
        pod: Option<&PodFacts>,
    ) -> Result<(), CallError> {
        let message = Redacted::own(&unmet.message);
        let written = checkpoint.status.as_ref().and_then(|status| status.message.as_deref());
        if checkpoint.reason() == Some(unmet.reason.as_str()) && written == Some(message.as_str()) {
            return Ok(());
        }
        let outcome = Outcome::Failed { reason: unmet.reason, message, retry_after: None };
        let mut status = self.status_after(checkpoint, &outcome, NextPod::None);
        status.pod = transitions::unmet_pod(checkpoint, pod);
        match self.status_writer().put(checkpoint, status).await {
            // Another process has written: the watch delivers that version, and it is reconciled.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
            Ok(written) => {
                self.context.checkpoint_metrics.ineligible(unmet.reason);
                // With PodGone, the pod of that name is another one, and gets no Event.
                if let Some(pod) = pod.filter(|_| written.phase().is_final() && unmet.reason != Reason::PodGone) {
                    self.context.events.outcome(checkpoint, pod, &outcome, written.phase());
                }
                let (namespace, name) = fields::namespace_and_name(checkpoint);
                let reason = unmet.reason.as_str();
                tracing::info!(
                    checkpoint = name,
                    namespace,
                    reason,
                    "Checkpoint `{namespace}/{name}` is not executed: {}",
                    unmet.message
                );
                Ok(())
            }
        }
    }

    async fn cancel(&self, written: &Checkpoint) {
        let message =
            format!("cancelled before sending: starting the attempt took more than {} s", SEND_WINDOW.as_secs());
        let (namespace, name) = fields::namespace_and_name(written);
        tracing::warn!(
            checkpoint = name,
            namespace,
            "Attempt of Checkpoint `{namespace}/{name}` was {message}; it will be retried"
        );
        let status = transitions::cancel_attempt(written, &Redacted::own(&message), clock::now());
        self.status_writer().write_until_confirmed(written.clone(), |_| status.clone()).await;
    }

    async fn send(&self, written: &Checkpoint, pod: LivePod) -> Outcome {
        let status = written.status.clone().unwrap_or_default();
        let container = status.container.clone().unwrap_or_default();
        let name = pod.facts.name.clone();
        let request = CheckpointRequest {
            pod: name.clone(),
            node: pod.facts.node.clone().unwrap_or_default(),
            container: container.clone(),
            idempotency_key: idempotency_key(written, &status),
            pod_object: self.backend.needs_pod().then_some(pod.object),
        };
        let update_timeline = |change: &dyn Fn(&mut ContainerTimeline)| {
            self.context.timelines.update_container(&name, &pod.facts.uid, &container, change);
        };
        let requested = clock::now();
        update_timeline(&|timeline| timeline.requested = Some(requested));
        let (in_flight, since) = (self.context.checkpoint_metrics.sent(), Instant::now());
        let outcome = self.backend.checkpoint(&request).await;
        drop(in_flight);
        self.context.checkpoint_metrics.finished(&outcome, since.elapsed());
        let finished = clock::now();
        let after = transitions::finish_attempt(written, &outcome, &self.policy, 0.0, finished).phase;
        let after = after.unwrap_or(Phase::Pending);
        update_timeline(&|timeline| {
            timeline.finished = after.is_final().then_some(finished);
            timeline.outcome = Some(outcome.as_str().to_owned());
        });
        log_outcome(written, &request, &outcome, after);
        self.context.events.outcome(written, &pod.facts, &outcome, after);
        outcome
    }

    /// The health check `backend` fails while any endpoint cannot be reached.
    fn update_backend_check(&self, outcome: &Outcome, permit: &Permit) {
        match outcome {
            Outcome::Failed { reason, message, .. } if reason.retry_class() == RetryClass::NotTried => {
                self.context.checks.backend.fail(message.as_str());
            }
            _ if self.breakers.all_closed_except(permit, self.policy.longest_wait, clock::now()) => {
                self.context.checks.backend.pass();
            }
            _ => {}
        }
    }

    async fn write_outcome(&self, written: Checkpoint, outcome: &Outcome) {
        let mut retries = RETRY.retries();
        let next_pod = loop {
            match self.next_pod(&written, outcome).await {
                Ok(next_pod) => break next_pod,
                Err(_) => sleep(retries.next_wait()).await,
            }
        };
        let status_after = |checkpoint: &Checkpoint| self.status_after(checkpoint, outcome, next_pod);
        self.status_writer().write_until_confirmed(written, status_after).await;
    }

    fn status_after(&self, checkpoint: &Checkpoint, outcome: &Outcome, next_pod: NextPod) -> CheckpointStatus {
        let now = clock::now();
        let status = transitions::finish_attempt(checkpoint, outcome, &self.policy, fastrand::f64(), now);
        match next_pod {
            NextPod::None => status,
            NextPod::IsReady => transitions::retry_on_next_pod(checkpoint, status, now),
        }
    }

    /// Whether another pod of the revision is Ready to be attempted, if this outcome is the last of its pod.
    async fn next_pod(&self, checkpoint: &Checkpoint, outcome: &Outcome) -> Result<NextPod, CallError> {
        let ended = transitions::finish_attempt(checkpoint, outcome, &self.policy, 0.0, clock::now());
        let is_unsuccessful = matches!(ended.phase, Some(Phase::Failed | Phase::Unknown));
        let Some(target @ CheckpointTarget::Revision { .. }) = fields::target(checkpoint) else {
            return Ok(NextPod::None);
        };
        if !is_unsuccessful || ended.tried_pods.len() + 1 >= self.max_pods_per_revision {
            return Ok(NextPod::None);
        }
        let mut tried = checkpoint.clone();
        let status = tried.status.get_or_insert_default();
        status.tried_pods.extend(status.pod.as_ref().and_then(|pod| pod.uid.clone()));
        let found = self.preparation(&Permit::default()).candidates().find(&tried, &target, clock::now()).await?;
        Ok(if found.is_ok() { NextPod::IsReady } else { NextPod::None })
    }

    fn preparation<'a>(&'a self, permit: &'a Permit) -> AttemptPreparation<'a> {
        let Self { context, owners, backend, breakers, holder, .. } = self;
        let client = &context.cluster.calls;
        AttemptPreparation { client, owners, backend: backend.as_ref(), breakers, holder, permit }
    }

    fn status_writer(&self) -> StatusWriter<'_> {
        StatusWriter(&self.context.cluster.calls)
    }
}

fn log_outcome(written: &Checkpoint, request: &CheckpointRequest, outcome: &Outcome, after: Phase) {
    let CheckpointRequest { pod, container, .. } = request;
    let (checkpoint, word, PodName { namespace, name }) = (written.name_any(), outcome.as_str(), pod);
    let subject = format!("of pod `{pod}`, container `{container}`");
    let sentence = match after {
        Phase::Succeeded => format!("Checkpoint {subject} succeeded"),
        Phase::Pending => format!("Checkpoint {subject} failed and will be retried: {outcome}"),
        Phase::Unknown => format!("Result of the checkpoint {subject} is unknown: {outcome}"),
        // The Checkpoint may continue with another pod of the revision, so nothing is to be done yet.
        _ if written.spec.workload.is_some() => format!("Checkpoint {subject} failed: {outcome}"),
        _ => format!("Checkpoint {subject} failed; to try again, delete Checkpoint `{checkpoint}`: {outcome}"),
    };
    if matches!(outcome, Outcome::Succeeded(_)) {
        tracing::info!(checkpoint, namespace, pod = name, container, outcome = word, "{sentence}");
    } else {
        tracing::warn!(checkpoint, namespace, pod = name, container, outcome = word, "{sentence}");
    }
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
