//! What one check found, and what a person can do about it.

use snapwatcher_daemon::telemetry::one_line;

/// What a finding is about: one word a topic, for programs that read the JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The API server itself, and who asks it.
    ApiServer,
    /// A rule of RBAC that the settings need.
    Right,
    /// The definition of the Checkpoint resource.
    Definition,
    /// A webhook configuration.
    Configuration,
    /// The webhook as the API server reaches it.
    Webhook,
    /// The certificate from files.
    Certificate,
    /// Who takes checkpoints.
    Backend,
    /// A node's kubelet.
    Node,
    /// Whether a node can start a container from a checkpoint again.
    Restore,
    /// A labelled pod that was created as a dry run.
    DryRunPod,
}

impl Topic {
    pub const ALL: [Self; 10] = [
        Self::ApiServer,
        Self::Right,
        Self::Definition,
        Self::Configuration,
        Self::Webhook,
        Self::Certificate,
        Self::Backend,
        Self::Node,
        Self::Restore,
        Self::DryRunPod,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiServer => "api-server",
            Self::Right => "right",
            Self::Definition => "definition",
            Self::Configuration => "configuration",
            Self::Webhook => "webhook",
            Self::Certificate => "certificate",
            Self::Backend => "backend",
            Self::Node => "node",
            Self::Restore => "restore",
            Self::DryRunPod => "dry-run-pod",
        }
    }
}

/// How it stands; in the order of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The settings do not need it, or it can't be judged from here.
    Skipped,
    Ok,
    /// SnapWatcher works, with less than a person may expect.
    Warning,
    /// Something must be done.
    Failed,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Failed, Self::Skipped];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub topic: Topic,
    /// What was looked at.
    pub what: String,
    pub state: State,
    /// What was seen, in words.
    pub seen: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(topic: Topic, what: impl Into<String>, seen: impl AsRef<str>) -> Self {
        Self::new(topic, what, State::Ok, seen, None)
    }

    pub(super) fn skipped(topic: Topic, what: impl Into<String>, seen: impl AsRef<str>) -> Self {
        Self::new(topic, what, State::Skipped, seen, None)
    }

    pub(super) fn warning(topic: Topic, what: impl Into<String>, seen: impl AsRef<str>, remedy: String) -> Self {
        Self::new(topic, what, State::Warning, seen, Some(remedy))
    }

    pub(super) fn failed(topic: Topic, what: impl Into<String>, seen: impl AsRef<str>, remedy: String) -> Self {
        Self::new(topic, what, State::Failed, seen, Some(remedy))
    }

    /// What was seen may be the words of a server, so they are kept from breaking or repainting a line.
    pub(super) fn new(
        topic: Topic,
        what: impl Into<String>,
        state: State,
        seen: impl AsRef<str>,
        remedy: Option<String>,
    ) -> Self {
        let seen = one_line(seen.as_ref()).into_owned();
        Self { topic, what: one_line(&what.into()).into_owned(), state, seen, remedy }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_topic_and_each_state_has_a_word_of_its_own() {
        let topics: BTreeSet<&str> = Topic::ALL.map(Topic::as_str).into();
        let states: BTreeSet<&str> = State::ALL.map(State::as_str).into();
        assert_eq!((topics.len(), states.len()), (Topic::ALL.len(), State::ALL.len()));
    }

    #[test]
    fn words_of_a_server_stay_in_their_line() {
        let finding = Finding::ok(Topic::Backend, "SnapHook", "fine\nfailed   everything");
        assert_eq!(finding.seen, "fine\\nfailed   everything");
    }
}
