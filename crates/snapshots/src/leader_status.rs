//! The part of a Snapshot's status that the leader writes: all but the entries of the nodes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;

use snapwatcher_api::checkpoint::set_condition;
use snapwatcher_api::outcome::Redacted;
use snapwatcher_api::snapshot::{ACCEPTED, NodeCopyState, SAVED, Snapshot, SnapshotPhase};

/// Written by server-side apply. What is left out is removed if the leader has written it before.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaderStatus {
    pub(crate) phase: SnapshotPhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stored_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) copies: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    pub(crate) conditions: Vec<Condition>,
}

/// The statuses of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

impl LeaderStatus {
    /// As it is now.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let status = snapshot.status.clone().unwrap_or_default();
        Self {
            phase: snapshot.phase(),
            image: status.image,
            bytes: status.bytes,
            stored_bytes: status.stored_bytes,
            copies: status.copies,
            last_used_time: status.last_used_time,
            message: status.message,
            conditions: status.conditions,
        }
    }

    /// Counts the nodes that report a copy.
    #[must_use]
    pub(crate) fn with_copies_of(mut self, snapshot: &Snapshot) -> Self {
        let nodes = snapshot.status.iter().flat_map(|status| &status.nodes);
        let held = nodes.filter(|node| node.state == NodeCopyState::Held).count();
        self.copies = Some(i64::try_from(held).unwrap_or(i64::MAX));
        self
    }

    /// Sets a condition, with the message of the status.
    #[must_use]
    pub(crate) fn with_condition(mut self, type_: &str, truth: Truth, reason: &str, now: Timestamp) -> Self {
        let status = match truth {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        };
        let message = self.message.clone().unwrap_or_default();
        // A spec never changes, so there is one generation.
        set_condition(&mut self.conditions, type_, status, reason_word(reason), &message, None, now);
        self
    }

    /// Of a Snapshot that the leader has just created.
    pub(crate) fn created(snapshot: &Snapshot, now: Timestamp) -> Self {
        let message = Some("the node has not reported yet".to_owned());
        let new = Self { message, ..Self::of(snapshot) }.with_copies_of(snapshot);
        new.with_condition(ACCEPTED, Truth::Unknown, "Waiting", now).with_condition(SAVED, Truth::False, "Waiting", now)
    }

    /// Of a Snapshot that is about to be deleted.
    pub(crate) fn expired(snapshot: &Snapshot, message: &str) -> Self {
        Self { phase: SnapshotPhase::Expired, message: shown(Some(message)), ..Self::of(snapshot) }
    }
}

/// A text of a node, as one line of bounded length.
pub(crate) fn shown(text: Option<&str>) -> Option<String> {
    text.map(|text| Redacted::own(text).to_string()).filter(|text| !text.is_empty())
}

/// A reason as conditions may have it. A node may write any text.
pub(crate) fn reason_word(text: &str) -> &str {
    let is_word = text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { text } else { "Unspecified" }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::at;
    use snapwatcher_api::snapshot::{NodeCopy, SnapshotSpec, SnapshotStatus};

    use super::*;

    fn snapshot(nodes: &[(&str, NodeCopyState)]) -> Snapshot {
        let entry = |(name, state): &(&str, NodeCopyState)| NodeCopy {
            name: (*name).to_owned(),
            state: *state,
            ..NodeCopy::default()
        };
        let status = SnapshotStatus { nodes: nodes.iter().map(entry).collect(), ..SnapshotStatus::default() };
        Snapshot { status: Some(status), ..Snapshot::new("web", SnapshotSpec::default()) }
    }

    #[test]
    fn what_the_leader_writes_has_no_entry_of_a_node() {
        let status = LeaderStatus::created(&snapshot(&[("n1", NodeCopyState::Held)]), at(0));
        let written = serde_json::to_value(status).unwrap();
        assert_eq!(written.get("nodes"), None, "{written}");
        assert_eq!((&written["phase"], &written["copies"]), (&"Pending".into(), &1.into()));
        assert_eq!(written["conditions"][0]["status"], "Unknown");
    }

    #[test]
    fn only_copies_that_are_held_count() {
        let nodes = [
            ("n1", NodeCopyState::Held),
            ("n2", NodeCopyState::NotHeld),
            ("n3", NodeCopyState::Waiting),
            ("n4", NodeCopyState::Held),
            ("n5", NodeCopyState::Refused),
        ];
        let snapshot = snapshot(&nodes);
        assert_eq!(LeaderStatus::of(&snapshot).with_copies_of(&snapshot).copies, Some(2));
    }

    #[test]
    fn a_reason_that_no_condition_may_have_is_replaced() {
        for (text, expected) in [
            ("WrongImage", "WrongImage"),
            ("", "Unspecified"),
            ("two words", "Unspecified"),
            ("9lives", "Unspecified"),
            (&"x".repeat(129), "Unspecified"),
            ("a\nb", "Unspecified"),
        ] {
            assert_eq!(reason_word(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_of_a_node_is_one_line_of_bounded_length() {
        assert_eq!(shown(Some("a\nERROR forged")).as_deref(), Some("a ERROR forged"));
        assert_eq!(shown(Some(&"x".repeat(5000))).unwrap().len(), Redacted::LIMIT);
        assert_eq!((shown(Some("")), shown(None)), (None, None));
    }
}
