//! What is to be done about a Snapshot: a pure function of the object and the journal.

use snapwatcher_api::snapshot::{ACCEPTED, NodeCopy, NodeCopyState, Snapshot, SnapshotPhase};

use crate::journal::Entry;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Nothing,
    /// The archive is read and pushed.
    Read,
    /// An earlier process has read it: the journal says what is missing.
    Continue,
}

/// What is to be done about a Snapshot by the agent of that node.
pub(crate) fn task(snapshot: &Snapshot, node: &str, journal: Option<&Entry>) -> Task {
    let is_of_this_node = snapshot.spec.origin.node == node;
    // The leader sets the condition before it names the Snapshot in its Checkpoint. Who else creates one can't.
    let conditions = snapshot.status.iter().flat_map(|status| &status.conditions);
    let is_known = conditions.into_iter().any(|condition| condition.type_ == ACCEPTED);
    let is_ended = matches!(snapshot.phase(), SnapshotPhase::Rejected | SnapshotPhase::Expired);
    if !is_of_this_node || !is_known || is_ended || snapshot.metadata.deletion_timestamp.is_some() {
        return Task::Nothing;
    }
    if snapshot.node(node).is_some_and(|found| is_final(found, journal)) {
        return Task::Nothing;
    }
    if journal.is_some() { Task::Continue } else { Task::Read }
}

/// Whether the entry says all that there is to say.
fn is_final(entry: &NodeCopy, journal: Option<&Entry>) -> bool {
    let holds = journal.is_some_and(|journal| journal.copy_bytes.is_some());
    match entry.state {
        NodeCopyState::Waiting => false,
        // The copy may have been deleted since.
        NodeCopyState::Held => holds || journal.is_none(),
        NodeCopyState::NotHeld | NodeCopyState::Refused => true,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use snapwatcher_api::snapshot::{SnapshotSpec, SnapshotStatus};

    use super::*;
    use crate::journal::tests::entry;

    fn snapshot(state: Option<NodeCopyState>) -> Snapshot {
        let mut spec = SnapshotSpec::default();
        "n1".clone_into(&mut spec.origin.node);
        let accepted = Condition {
            type_: ACCEPTED.to_owned(),
            status: "Unknown".to_owned(),
            reason: "Created".to_owned(),
            message: String::new(),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let nodes = state.map(|state| NodeCopy { name: "n1".to_owned(), state, ..NodeCopy::default() });
        let nodes = nodes.into_iter().collect();
        let status = SnapshotStatus { nodes, conditions: vec![accepted], ..SnapshotStatus::default() };
        Snapshot { status: Some(status), ..Snapshot::new("web", spec) }
    }

    fn in_phase(phase: SnapshotPhase) -> Snapshot {
        let mut snapshot = snapshot(None);
        snapshot.status.as_mut().unwrap().phase = Some(phase);
        snapshot
    }

    #[test]
    fn an_archive_is_read_once() {
        let held = Some(NodeCopyState::Held);
        let (journal, deleted) = (entry(1), Entry { copy_bytes: None, ..entry(1) });
        for (case, snapshot, journal, expected) in [
            ("a new one", snapshot(None), None, Task::Read),
            ("after a kill", snapshot(None), Some(&journal), Task::Continue),
            ("after a failure", snapshot(Some(NodeCopyState::Waiting)), None, Task::Read),
            ("refused", snapshot(Some(NodeCopyState::Refused)), None, Task::Nothing),
            ("saved", snapshot(held), Some(&journal), Task::Nothing),
            ("its journal is lost", snapshot(held), None, Task::Nothing),
            ("its copy was deleted", snapshot(held), Some(&deleted), Task::Continue),
            ("that was reported", snapshot(Some(NodeCopyState::NotHeld)), Some(&deleted), Task::Nothing),
        ] {
            assert_eq!(task(&snapshot, "n1", journal), expected, "{case}");
        }
    }

    #[test]
    fn what_is_not_for_this_agent_is_left() {
        let mut unknown = snapshot(None);
        unknown.status = None;
        let mut deleted = snapshot(None);
        deleted.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        for (case, snapshot, node) in [
            ("another node", snapshot(None), "n2"),
            ("no leader knows it", unknown, "n1"),
            ("deleted", deleted, "n1"),
            ("rejected", in_phase(SnapshotPhase::Rejected), "n1"),
            ("expired", in_phase(SnapshotPhase::Expired), "n1"),
        ] {
            assert_eq!(task(&snapshot, node, None), Task::Nothing, "{case}");
        }
    }
}
