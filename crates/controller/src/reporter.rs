//! What happened, for people: log lines, Events, metrics, health checks and timelines.

use std::sync::Arc;
use std::time::Instant;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::eligibility::Ineligible;
use snapwatcher_api::outcome::Outcome;
use snapwatcher_api::pod::PodFacts;
use snapwatcher_daemon::telemetry::{LinesPerMinute, RepeatedMessages, error_chain};
use snapwatcher_kubernetes::events::{CHECKPOINT_REJECTED, INVALID_ANNOTATION};
use snapwatcher_kubernetes::workload::WorkloadError;
use snapwatcher_state::ContainerTimeline;
use tracing::Level;

use crate::checkpoint_log::{CheckpointLog, names};
use crate::context::ControllerContext;
use crate::engine::{ClaimReport, EndpointSignal, Report};
use crate::log_block::{self, LogBlock};
use crate::operation::{ClaimError, INTERRUPTED, OutcomeWrite, SentAttempt, UnmetAttempt};
use crate::printed_blocks::{Block, PrintedBlocks};
use crate::record::fields;

/// How many Events about invalid annotations a namespace may have within an hour: a person can change annotations all the
/// time.
const MAX_EVENTS: usize = 100;

/// How many workloads of a namespace have an Event about rejected claims within an hour. A quota concerns all, and who looks at
/// one of them does not look at the others.
const MAX_WORKLOADS: usize = 500;

/// Takes reports from the engine.
pub(crate) struct Reporter {
    context: ControllerContext,
    checkpoint_log: CheckpointLog,
    blocks: PrintedBlocks,
    lines: Arc<LinesPerMinute>,
    /// Of claims that are retried, by namespace and controller of the pod.
    failed_claims: RepeatedMessages,
    /// The same for Events.
    failed_claim_events: RepeatedMessages,
    /// Of attempts that are retried, by Checkpoint.
    failed_attempts: RepeatedMessages,
    /// Of annotations that cannot be parsed, by controller of the pod and problem.
    invalid_annotations: RepeatedMessages,
    /// The same for Events, by pod and problem.
    invalid_annotation_events: RepeatedMessages,
}

impl Reporter {
    /// `lines`: shared with the operations, so that a namespace has one limit.
    pub(crate) fn new(context: ControllerContext, lines: Arc<LinesPerMinute>) -> Self {
        Self {
            context,
            checkpoint_log: CheckpointLog::new(Arc::clone(&lines)),
            blocks: PrintedBlocks::default(),
            lines,
            failed_claims: RepeatedMessages::default(),
            failed_claim_events: RepeatedMessages::new(MAX_WORKLOADS),
            failed_attempts: RepeatedMessages::default(),
            invalid_annotations: RepeatedMessages::default(),
            invalid_annotation_events: RepeatedMessages::new(MAX_EVENTS),
        }
    }

    pub(crate) fn report(&self, report: Report) {
        self.checkpoint_log.left_out(Instant::now());
        let ControllerContext { timelines, watch_metrics, checkpoint_metrics, checks, .. } = &self.context;
        let now = snapwatcher_daemon::clock::now;
        match report {
            Report::PodSeen(pod) => timelines.seen(&pod, now()),
            Report::PodBlocked { pod, cause } => self.pod_blocked(&pod, &cause),
            Report::PodUnblocked(pod) => timelines.unblocked(&pod),
            Report::PodsWatched(pods) => watch_metrics.watched(pods),
            Report::ClaimStarted { pod, container } => {
                timelines.ready(&pod, now());
                // Adds the container, so that the timeline is not shown as finished while another container has not
                // started.
                timelines.update_container(&pod.name, &pod.uid, &container, |_| {});
            }
            Report::Claimed(claim) => self.claimed(*claim),
            Report::AlreadyClaimed { pod, uid, container, checkpoint } => {
                checkpoint_metrics.already_claimed();
                timelines.update_container(&pod, &uid, &container, |timeline| {
                    timeline.checkpoint = checkpoint.or(timeline.checkpoint.take());
                });
            }
            Report::ClaimFailed { pod, container, error } => self.claim_failed(&pod, &container, &error),
            Report::CheckpointSeen(checkpoint) => {
                self.update_timeline(&checkpoint, |timeline| timeline.take_over(&checkpoint));
            }
            Report::AttemptIgnored => checkpoint_metrics.attempt_ignored(),
            Report::Requested(checkpoint) => {
                self.update_timeline(&checkpoint, |timeline| timeline.requested = Some(now()));
            }
            Report::Responded { outcome, signal, others_reachable } => match (signal, outcome) {
                (EndpointSignal::Unreachable { .. }, Outcome::Failed { message, .. }) => {
                    checks.backend.fail(message.as_str());
                }
                (EndpointSignal::Reachable, _) if others_reachable => checks.backend.pass(),
                _ => {}
            },
            Report::AttemptEnded(sent) => self.attempt_ended(&sent),
            Report::Unmet { checkpoint, unmet } => self.unmet(&checkpoint, &unmet),
            Report::Interrupted(checkpoint) => self.interrupted(&checkpoint),
            Report::AttemptFailed { checkpoint, error, retry_after } => {
                let (namespace, name) = names(&checkpoint);
                if self.failed_attempts.should_log(&namespace, &name, Instant::now()) {
                    tracing::warn!(
                        namespace,
                        checkpoint = name,
                        "Could not attempt Checkpoint `{namespace}/{name}`, retrying in {} s: {}",
                        retry_after.as_secs(),
                        error_chain(&error)
                    );
                }
            }
            Report::OutageStarted(error) => {
                tracing::warn!("Checkpoints paused: API server error, retrying until it responds: {error}");
            }
            Report::OutageEnded => tracing::info!("API server reachable again, resuming checkpoints"),
            Report::AttemptsQueued(attempts) => checkpoint_metrics.queued(attempts),
            Report::BreakersOpen(endpoints) => checkpoint_metrics.open_breakers(endpoints),
            Report::EndpointsReachable => checks.backend.pass(),
        }
    }

    fn pod_blocked(&self, pod: &PodFacts, cause: &Ineligible) {
        self.context.timelines.waiting_for(pod, &cause.to_string());
        let (namespace, name, reason) = (&*pod.name.namespace, &*pod.name.name, cause.as_str());
        let Ineligible::InvalidAnnotation(problem) = cause else {
            return tracing::debug!(namespace, pod = name, reason, "Pod `{namespace}/{name}` is not eligible: {cause}");
        };
        let now = Instant::now();
        if self.invalid_annotation_events.should_log(namespace, &format!("{name}: {problem}"), now) {
            let note = format!("The pod is not checkpointed: {problem}. Correct the annotation in the pod's template");
            self.context.events.warn(pod, INVALID_ANNOTATION, note);
        }
        let controller = controller_name(pod);
        if self.invalid_annotations.should_log(namespace, &format!("{controller}: {problem}"), now) {
            tracing::warn!(
                namespace,
                pod = name,
                reason,
                "Pod `{namespace}/{name}` is not checkpointed: {problem}. Correct the annotation in the pod's template"
            );
        }
    }

    fn claimed(&self, claim: ClaimReport) {
        let ClaimReport { event, pod, container, workload, checkpoint } = claim;
        let ControllerContext { timelines, checkpoint_metrics, checks, .. } = &self.context;
        checkpoint_metrics.claimed();
        checks.definition.pass();
        let claimed = snapwatcher_daemon::clock::now();
        timelines.update_container(&pod.name, &pod.uid, &container, |timeline| {
            timeline.checkpoint = checkpoint;
            timeline.claimed = Some(claimed);
            // Those of an earlier Checkpoint: the pod was updated in place, or the Checkpoint was deleted.
            (timeline.requested, timeline.finished, timeline.outcome) = (None, None, None);
        });
        let now = Instant::now();
        let may_print = match self.blocks.note(&pod, &container, now) {
            Block::First => true,
            Block::Changed => self.lines.should_log(&pod.name.namespace, Level::INFO, now),
            Block::Repeated => false,
        };
        if may_print {
            let node = pod.node.as_deref().unwrap_or_default().to_owned();
            log_block::print(&LogBlock { event, pod: pod.name, workload, container, node });
        }
    }

    fn claim_failed(&self, pod: &PodFacts, container: &str, error: &ClaimError) {
        self.context.checkpoint_metrics.claim_failed(error);
        match error {
            ClaimError::Ineligible { .. }
            | ClaimError::Workload(WorkloadError::Gone { .. })
            | ClaimError::NamespaceTerminating(_) => {}
            ClaimError::NoDefinition => self.context.checks.definition.fail(error.to_string()),
            _ if error.unreachable().is_some() => {}
            ClaimError::Workload(WorkloadError::Lookup { .. }) | ClaimError::NoName(_) | ClaimError::Call(_) => {
                let (namespace, name) = (&*pod.name.namespace, &*pod.name.name);
                let (controller, now) = (controller_name(pod), Instant::now());
                if self.failed_claim_events.should_log(namespace, controller, now) {
                    let note = format!("The pod is not checkpointed, retrying: {}", error_chain(error));
                    self.context.events.warn(pod, CHECKPOINT_REJECTED, note);
                }
                if self.failed_claims.should_log(namespace, controller, now) {
                    tracing::warn!(
                        namespace,
                        pod = name,
                        container,
                        "Could not create the Checkpoint of pod `{namespace}/{name}`, container `{container}`, retrying: {}",
                        error_chain(error)
                    );
                }
            }
        }
        self.context.timelines.waiting_for(pod, &error_chain(error));
    }

    fn update_timeline(&self, checkpoint: &Checkpoint, change: impl FnOnce(&mut ContainerTimeline)) {
        if let Some((pod, uid, container)) = fields::resolved(checkpoint) {
            self.context.timelines.update_container(&pod, &uid, &container, change);
        }
    }

    fn attempt_ended(&self, sent: &SentAttempt) {
        let SentAttempt { pod, container, outcome, checkpoint, written } = sent;
        let after = checkpoint.phase();
        let status = checkpoint.status.as_ref();
        self.context.timelines.update_container(&pod.name, &pod.uid, container, |timeline| {
            timeline.finished = status.and_then(|status| status.completion_time.as_ref()).map(|time| time.0);
            timeline.outcome = Some(outcome.as_str().to_owned());
        });
        self.checkpoint_log.attempt_ended(sent, Instant::now());
        if let OutcomeWrite::Rejected(error) = written {
            self.checkpoint_log.outcome_rejected(checkpoint, error, Instant::now());
        }
        self.context.events.outcome(checkpoint, pod, outcome, after);
    }

    fn unmet(&self, checkpoint: &Checkpoint, unmet: &UnmetAttempt) {
        let UnmetAttempt { outcome: Outcome::Failed { reason, message, .. }, pod, written } = unmet else { return };
        self.context.checkpoint_metrics.ineligible(*reason);
        let after = written.as_ref().map_or(Phase::Pending, |written| written.phase());
        if let Some(pod) = pod.as_ref().filter(|_| after.is_final()) {
            self.context.events.outcome(checkpoint, pod, &unmet.outcome, after);
        }
        self.checkpoint_log.unmet(checkpoint, reason.as_str(), message.as_str(), Instant::now());
    }

    fn interrupted(&self, checkpoint: &Checkpoint) {
        self.checkpoint_log.interrupted(checkpoint, Instant::now());
        self.context.checkpoint_metrics.interrupted();
        self.context.events.interrupted(checkpoint, INTERRUPTED);
    }
}

/// The name of the controller of a pod, or of a pod without one.
pub(crate) fn controller_name(pod: &PodFacts) -> &str {
    pod.controller.as_ref().map_or(&pod.name.name, |controller| &controller.name)
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::{checkpoint, pod};
    use snapwatcher_api::outcome::{Reason, Redacted};
    use snapwatcher_daemon::telemetry::capture::capture;
    use snapwatcher_daemon::telemetry::{LogFormat, LogLevel};
    use snapwatcher_kubernetes::workload::Workload;

    use super::*;
    use crate::log_block::BlockEvent;

    fn claimed(pod_uid: usize) -> Report {
        claim_of(PodFacts { uid: pod_uid.to_string(), ..pod("web").labeled().ready(0).facts() })
    }

    fn claim_of(pod: PodFacts) -> Report {
        let workload = Workload {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
        };
        Report::Claimed(Box::new(ClaimReport {
            event: BlockEvent::Added,
            pod,
            container: "app".to_owned(),
            workload,
            checkpoint: None,
        }))
    }

    fn unmet() -> Report {
        let outcome = Outcome::Failed { reason: Reason::InvalidSpec, message: Redacted::own("no"), retry_after: None };
        let unmet = Box::new(UnmetAttempt { outcome, pod: None, written: None });
        Report::Unmet { checkpoint: Arc::new(checkpoint("web").build()), unmet }
    }

    #[tokio::test]
    async fn the_first_claim_of_each_pod_has_its_block_however_many_lines_are_left_out() {
        let reporter = Reporter::new(ControllerContext::without_api_server(), Arc::default());
        let written = capture(LogLevel::Info, LogFormat::Text, || {
            for number in 0..500 {
                reporter.report(unmet());
                reporter.report(claimed(number));
            }
        });
        let count = |text| written.lines().filter(|line| line.contains(text)).count();
        assert_eq!(count("Now we should checkpoint"), 500);
        assert_eq!(count("is not executed"), LinesPerMinute::MAX_LINES);
    }

    #[tokio::test]
    async fn claims_of_a_pod_whose_checkpoint_is_deleted_all_the_time_have_one_block() {
        let reporter = Reporter::new(ControllerContext::without_api_server(), Arc::default());
        let written = capture(LogLevel::Info, LogFormat::Text, || {
            for _ in 0..1000 {
                reporter.report(claimed(1));
            }
        });
        assert_eq!(written.matches("Now we should checkpoint").count(), 1, "{written}");
    }

    #[tokio::test]
    async fn claims_of_a_pod_whose_image_changes_all_the_time_have_the_lines_of_their_namespace() {
        let reporter = Reporter::new(ControllerContext::without_api_server(), Arc::default());
        let written = capture(LogLevel::Info, LogFormat::Text, || {
            for number in 0..1000 {
                let mut changed = pod("web").labeled().ready(0).facts();
                changed.containers[0].image = format!("image-{number}").into();
                reporter.report(claim_of(changed));
            }
        });
        let blocks = written.matches("Now we should checkpoint").count();
        assert_eq!(blocks, 1 + LinesPerMinute::MAX_LINES, "{written}");
    }
}
