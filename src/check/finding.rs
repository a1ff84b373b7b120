//! The result of one test, and what to do about it.

use snapwatcher_daemon::telemetry::one_line;

/// What a finding is about, for programs that read the JSON format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The API server, and the account that calls it.
    ApiServer,
    /// An RBAC rule that the settings need.
    Right,
    /// The CustomResourceDefinition of Checkpoint.
    Definition,
    /// A webhook configuration.
    Configuration,
    /// The webhook server, called as the API server calls it.
    Webhook,
    /// The certificate of `--tls-cert`, or the CA Secret.
    Certificate,
    /// The back-end.
    Backend,
    /// A node's kubelet.
    Node,
    /// Whether the nodes of a container runtime can start a container from a checkpoint.
    Restore,
    /// Labels that have no effect.
    Label,
    /// What saving needs: the Snapshot resource, keys, registry and agents.
    Snapshot,
    /// A labeled pod that was created as a dry run.
    DryRunPod,
}

impl Topic {
    pub const ALL: [Self; 12] = [
        Self::ApiServer,
        Self::Right,
        Self::Definition,
        Self::Configuration,
        Self::Webhook,
        Self::Certificate,
        Self::Backend,
        Self::Node,
        Self::Restore,
        Self::Label,
        Self::Snapshot,
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
            Self::Label => "label",
            Self::Snapshot => "snapshot",
            Self::DryRunPod => "dry-run-pod",
        }
    }
}

/// The result of a test; in the order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The settings do not need the test, or it is not possible from here.
    Skipped,
    Ok,
    /// SnapWatcher works, with a limitation.
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
    /// What was tested.
    pub what: String,
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// The test passed.
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

    /// `seen` may be the text of a server: control characters are escaped, so that it cannot break the line.
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
    fn topics_and_states_have_distinct_names() {
        let topics: BTreeSet<&str> = Topic::ALL.map(Topic::as_str).into();
        let states: BTreeSet<&str> = State::ALL.map(State::as_str).into();
        assert_eq!((topics.len(), states.len()), (Topic::ALL.len(), State::ALL.len()));
    }

    #[test]
    fn the_text_of_a_server_stays_on_its_line() {
        let finding = Finding::ok(Topic::Backend, "SnapHook", "fine\nfailed   everything");
        assert_eq!(finding.seen, "fine\\nfailed   everything");
    }
}
