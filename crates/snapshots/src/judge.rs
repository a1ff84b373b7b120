//! How a Snapshot is judged by what its nodes report: pure functions of the object.
//!
//! Only the entry of the origin's node says what became of the archive. Entries of other nodes count as copies and nothing else.

use jiff::Timestamp;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::snapshot::{
    ACCEPTED, ArchivedCheckpoint, NodeCopy, NodeCopyState, SAVED, Snapshot, SnapshotPhase,
};

use crate::leader_status::{LeaderStatus, Truth, shown};
use crate::manifest_check::{Checked, Report};

/// What follows from the object alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Look {
    /// There is nothing to decide.
    Nothing,
    /// The leader has not accepted its origin yet: the Checkpoint is read.
    Origin,
    /// The origin's node has pushed it: the manifest is read.
    Manifest(Report),
    Verdict(Verdict),
}

/// A decision about a Snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// The registry holds it.
    Saved {
        image: String,
        checked: Checked,
    },
    /// The origin's node holds it, and there is no registry.
    Local {
        bytes: Option<i64>,
    },
    Rejected {
        reason: String,
        message: Option<String>,
    },
    /// The origin's node has not finished, or its report could not be compared yet.
    Waiting {
        reason: String,
        message: Option<String>,
    },
    /// Only the number of copies may have changed.
    Copies,
}

/// Looks at a Snapshot. `has_registry`: the leader can read manifests.
pub(crate) fn look(snapshot: &Snapshot, has_registry: bool) -> Look {
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Look::Nothing;
    }
    let conditions = snapshot.status.iter().flat_map(|status| &status.conditions);
    let is_known = conditions.into_iter().any(|condition| condition.type_ == ACCEPTED);
    match snapshot.phase() {
        SnapshotPhase::Rejected | SnapshotPhase::Expired => return Look::Nothing,
        SnapshotPhase::Saved => return Look::Verdict(Verdict::Copies),
        SnapshotPhase::Pending | SnapshotPhase::Local if !is_known => return Look::Origin,
        SnapshotPhase::Pending | SnapshotPhase::Local => {}
    }
    let Some(node) = snapshot.node(&snapshot.spec.origin.node) else { return Look::Verdict(Verdict::Copies) };
    let reason = |otherwise: &str| node.reason.clone().unwrap_or_else(|| otherwise.to_owned());
    match (&node.manifest_digest, node.state) {
        (_, NodeCopyState::Refused) | (None, NodeCopyState::NotHeld) => {
            Look::Verdict(Verdict::Rejected { reason: reason("Refused"), message: shown(node.message.as_deref()) })
        }
        (Some(manifest), _) if has_registry => Look::Manifest(report(manifest, node)),
        (Some(_), _) => Look::Verdict(Verdict::Waiting {
            reason: "NoRegistry".to_owned(),
            message: Some(
                "the node has pushed it, and the leader has no registry to read it from. Set --registry-repository"
                    .to_owned(),
            ),
        }),
        (None, NodeCopyState::Held) if !has_registry => Look::Verdict(Verdict::Local { bytes: node.bytes }),
        (None, _) => {
            Look::Verdict(Verdict::Waiting { reason: reason("Waiting"), message: shown(node.message.as_deref()) })
        }
    }
}

fn report(manifest: &str, node: &NodeCopy) -> Report {
    Report { manifest: manifest.to_owned(), bytes: node.bytes, stored_bytes: node.stored_bytes }
}

/// Whether a Snapshot that the leader has not accepted yet is one that a leader created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The Checkpoint names it.
    Ours,
    /// It is not decided yet what is saved of the Checkpoint.
    Open,
    /// There is no such Checkpoint, or it names another Snapshot.
    Foreign,
}

/// Compares a Snapshot with the Checkpoint of its origin, as it is now.
pub(crate) fn origin(snapshot: &Snapshot, checkpoint: Option<&Checkpoint>) -> Origin {
    let named = &snapshot.spec.origin.checkpoint;
    let Some(checkpoint) = checkpoint.filter(|found| found.metadata.uid.as_ref() == Some(&named.uid)) else {
        return Origin::Foreign;
    };
    match checkpoint.status.as_ref().and_then(|status| status.snapshot.as_ref()) {
        Some(saved) if saved.is_of_another_checkpoint => Origin::Foreign,
        Some(saved) if Some(&saved.uid) == snapshot.metadata.uid.as_ref() => Origin::Ours,
        None if ArchivedCheckpoint::of(checkpoint).is_some() => Origin::Open,
        Some(_) | None => Origin::Foreign,
    }
}

/// A Snapshot that no leader created.
pub(crate) fn foreign() -> Verdict {
    let message = "its Checkpoint does not exist, or names another Snapshot. SnapWatcher creates Snapshots itself: delete this one";
    Verdict::Rejected { reason: "NotOfACheckpoint".to_owned(), message: Some(message.to_owned()) }
}

impl Verdict {
    /// The status after this verdict.
    pub(crate) fn status(&self, snapshot: &Snapshot, now: Timestamp) -> LeaderStatus {
        let before = LeaderStatus::of(snapshot).with_copies_of(snapshot);
        match self {
            Self::Copies => before,
            Self::Saved { image, checked } => {
                let (phase, image, message) = (SnapshotPhase::Saved, Some(image.clone()), None);
                let (bytes, stored_bytes) = (checked.bytes, Some(checked.stored_bytes));
                let saved = LeaderStatus { phase, image, bytes, stored_bytes, message, ..before };
                saved.with_condition(ACCEPTED, Truth::True, "OriginCompared", now).with_condition(
                    SAVED,
                    Truth::True,
                    "ManifestRead",
                    now,
                )
            }
            Self::Local { bytes } => {
                let message = Some("only the node holds it, because no registry is configured".to_owned());
                let local = LeaderStatus { phase: SnapshotPhase::Local, bytes: *bytes, message, ..before };
                local.with_condition(ACCEPTED, Truth::True, "OriginCompared", now).with_condition(
                    SAVED,
                    Truth::False,
                    "NoRegistry",
                    now,
                )
            }
            Self::Rejected { reason, message } => {
                let rejected = LeaderStatus { phase: SnapshotPhase::Rejected, message: message.clone(), ..before };
                rejected.with_condition(ACCEPTED, Truth::False, reason, now).with_condition(
                    SAVED,
                    Truth::False,
                    reason,
                    now,
                )
            }
            Self::Waiting { reason, message } => {
                LeaderStatus { message: message.clone(), ..before }.with_condition(SAVED, Truth::False, reason, now)
            }
        }
    }
}

#[cfg(test)]
mod tests;
