//! Log lines about what became of Checkpoints. People can create and delete any number of Checkpoints, so each namespace has a
//! limited number of lines within a minute.

use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt as _;
use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::Outcome;
use snapwatcher_daemon::telemetry::{LeftOut, LinesPerMinute, error_chain};
use snapwatcher_kubernetes::cluster::CallError;
use tracing::Level;

use crate::operation::{INTERRUPTED, SentAttempt};

/// Writes the lines. `now` is monotonic.
#[derive(Debug, Default)]
pub(crate) struct CheckpointLog {
    lines: Arc<LinesPerMinute>,
}

impl CheckpointLog {
    pub(crate) fn new(lines: Arc<LinesPerMinute>) -> Self {
        Self { lines }
    }

    pub(crate) fn attempt_ended(&self, sent: &SentAttempt, now: Instant) {
        let SentAttempt { pod, container, outcome, checkpoint, .. } = sent;
        let succeeded = matches!(outcome, Outcome::Succeeded(_));
        let level = if succeeded { Level::INFO } else { Level::WARN };
        let (word, namespace, name) = (outcome.as_str(), &*pod.name.namespace, &*pod.name.name);
        if !self.lines.should_log(namespace, level, now) {
            return;
        }
        let (sentence, checkpoint) = (sentence(sent), checkpoint.name_any());
        if succeeded {
            tracing::info!(checkpoint, namespace, pod = name, container, outcome = word, "{sentence}");
        } else {
            tracing::warn!(checkpoint, namespace, pod = name, container, outcome = word, "{sentence}");
        }
    }

    /// The outcome of an attempt is not in its Checkpoint: the API server has rejected it again and again.
    pub(crate) fn outcome_rejected(&self, checkpoint: &Checkpoint, error: &CallError, now: Instant) {
        let (namespace, name) = names(checkpoint);
        if self.lines.should_log(&namespace, Level::WARN, now) {
            tracing::warn!(
                namespace,
                checkpoint = name,
                "The outcome of Checkpoint `{namespace}/{name}` is not written and will be unknown, as the API server rejects it. \
                 Correct the webhook or policy, or delete the Checkpoint if it is too large: {}",
                error_chain(error)
            );
        }
    }

    /// No request was sent, for this reason.
    pub(crate) fn unmet(&self, checkpoint: &Checkpoint, reason: &str, message: &str, now: Instant) {
        let (namespace, name) = names(checkpoint);
        if self.lines.should_log(&namespace, Level::INFO, now) {
            tracing::info!(
                namespace,
                checkpoint = name,
                reason,
                "Checkpoint `{namespace}/{name}` is not executed: {message}"
            );
        }
    }

    pub(crate) fn interrupted(&self, checkpoint: &Checkpoint, now: Instant) {
        let (namespace, name) = names(checkpoint);
        if self.lines.should_log(&namespace, Level::WARN, now) {
            tracing::warn!(
                namespace,
                checkpoint = name,
                "Checkpoint `{namespace}/{name}` is marked Interrupted: {INTERRUPTED}"
            );
        }
    }

    /// After the end of a minute: how many lines did not appear in it.
    pub(crate) fn left_out(&self, now: Instant) {
        for LeftOut { namespace, level, count } in self.lines.left_out(now) {
            let sentence = format!(
                "Left out {count} lines about Checkpoints of namespace `{namespace}`: it had more than {} within a minute. \
                 Read the results from the Checkpoints",
                LinesPerMinute::MAX_LINES
            );
            if level == Level::WARN {
                tracing::warn!(namespace, count, "{sentence}");
            } else {
                tracing::info!(namespace, count, "{sentence}");
            }
        }
    }
}

/// Namespace and name.
pub(crate) fn names(checkpoint: &Checkpoint) -> (String, String) {
    (checkpoint.namespace().unwrap_or_default(), checkpoint.name_any())
}

fn sentence(sent: &SentAttempt) -> String {
    let SentAttempt { pod, container, outcome, checkpoint, .. } = sent;
    let subject = format!("of pod `{}`, container `{container}`", pod.name);
    match checkpoint.phase() {
        Phase::Succeeded => format!("Checkpoint {subject} succeeded"),
        Phase::Pending => format!("Checkpoint {subject} failed and will be retried: {outcome}"),
        Phase::Unknown => format!("Result of the checkpoint {subject} is unknown: {outcome}"),
        // A new Checkpoint of a revision may choose another pod.
        _ if checkpoint.spec.workload.is_some() => format!("Checkpoint {subject} failed: {outcome}"),
        _ => {
            let checkpoint = checkpoint.name_any();
            format!("Checkpoint {subject} failed; to try again, delete Checkpoint `{checkpoint}`: {outcome}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use snapwatcher_api::fixtures::{checkpoint, pod};
    use snapwatcher_api::outcome::{Location, Reason, Redacted};
    use snapwatcher_daemon::telemetry::capture::capture;
    use snapwatcher_daemon::telemetry::{LogFormat, LogLevel};

    use super::*;
    use crate::operation::OutcomeWrite;

    fn ended(namespace: &str, outcome: Outcome, phase: Phase) -> SentAttempt {
        SentAttempt {
            pod: pod("web").namespace(namespace).facts(),
            container: "app".to_owned(),
            outcome,
            checkpoint: Arc::new(checkpoint("web").namespace(namespace).phase(phase).build()),
            written: OutcomeWrite::Done,
        }
    }

    fn succeeded(namespace: &str) -> SentAttempt {
        ended(namespace, Outcome::Succeeded(Location::default()), Phase::Succeeded)
    }

    fn failed() -> SentAttempt {
        let message = Redacted::own("no space");
        ended("loud", Outcome::Failed { reason: Reason::Rejected, message, retry_after: None }, Phase::Failed)
    }

    fn log(write: impl FnOnce()) -> Vec<String> {
        capture(LogLevel::Info, LogFormat::Text, write).lines().map(str::to_owned).collect()
    }

    #[test]
    fn checkpoints_that_are_created_and_deleted_all_the_time_do_not_fill_the_log() {
        let (lines, now) = (CheckpointLog::default(), Instant::now());
        let invalid = checkpoint("web").namespace("loud").build();
        let written = log(|| {
            for _ in 0..500 {
                lines.unmet(&invalid, "InvalidSpec", "no", now);
                lines.attempt_ended(&succeeded("loud"), now);
                lines.attempt_ended(&failed(), now);
                lines.interrupted(&invalid, now);
                lines.outcome_rejected(&invalid, &CallError::TimedOut { what: "write".to_owned() }, now);
            }
        });
        assert_eq!(written.len(), 2 * LinesPerMinute::MAX_LINES, "of both levels together");
        assert_eq!(log(|| lines.attempt_ended(&succeeded("quiet"), now)).len(), 1);
        assert!(log(|| lines.left_out(now)).is_empty());
    }

    #[test]
    fn one_line_of_each_level_says_how_many_were_left_out() {
        let (lines, now) = (CheckpointLog::default(), Instant::now());
        log(|| {
            for _ in 0..LinesPerMinute::MAX_LINES + 7 {
                lines.attempt_ended(&succeeded("loud"), now);
                lines.attempt_ended(&failed(), now);
                lines.interrupted(&checkpoint("web").namespace("loud").build(), now);
            }
            lines.attempt_ended(&succeeded("quiet"), now);
        });
        let written = log(|| lines.left_out(now + Duration::from_secs(60)));
        let expected = [("WARN", 74), ("INFO", 7)];
        assert_eq!(written.len(), expected.len(), "{written:?}");
        for (level, count) in expected {
            let text = format!("{level} Left out {count} lines about Checkpoints of namespace `loud`: ");
            assert!(written.iter().any(|line| line.contains(&text)), "{text}: {written:?}");
        }
    }

    #[test]
    fn a_line_says_what_became_of_a_checkpoint_and_what_to_do() {
        let (lines, now) = (CheckpointLog::default(), Instant::now());
        let written = log(|| lines.attempt_ended(&failed(), now));
        let text = "Checkpoint of pod `loud/web`, container `app` failed; to try again, delete Checkpoint `web-app`: ";
        assert!(written[0].contains(text) && written[0].contains("no space"), "{written:?}");
    }
}
