//! The entry of this node in the status of a Snapshot: pure functions.

use snapwatcher_api::outcome::Redacted;
use snapwatcher_api::snapshot::{NodeCopy, NodeCopyState, Snapshot};
use snapwatcher_daemon::telemetry::error_chain;

use crate::journal::Entry;
use crate::save_error::{Consequence, SaveError};

/// What the node has done, by its journal.
pub(crate) fn done(node: &str, entry: &Entry) -> NodeCopy {
    let state = if entry.copy_bytes.is_some() { NodeCopyState::Held } else { NodeCopyState::NotHeld };
    let is_lost = entry.copy_bytes.is_none() && entry.manifest.is_none();
    NodeCopy {
        name: node.to_owned(),
        state,
        archive_digest: Some(entry.archive_digest.clone()),
        manifest_digest: entry.manifest.clone(),
        bytes: Some(signed(entry.bytes)),
        stored_bytes: entry.layer.as_ref().filter(|_| entry.manifest.is_some()).map(|layer| signed(layer.bytes)),
        shape: Some(format!("sha256:{}", entry.shape)),
        reason: is_lost.then(|| "Evicted".to_owned()),
        message: is_lost
            .then(|| "the node has deleted the only copy to make room, because there is no registry".to_owned()),
    }
}

/// What failed. `None`: there is nothing to report, or the same is in the status already.
pub(crate) fn failed(node: &str, snapshot: &Snapshot, error: &SaveError) -> Option<NodeCopy> {
    let (state, reason) = match error.consequence() {
        Consequence::Refused(reason) => (NodeCopyState::Refused, reason),
        Consequence::Waiting(reason) => (NodeCopyState::Waiting, reason),
        Consequence::Unreported => return None,
    };
    // The words may differ each time, as with a port. The reason says enough about what repeats.
    let is_known =
        snapshot.node(node).is_some_and(|found| found.state == state && found.reason.as_deref() == Some(reason));
    (!is_known).then(|| NodeCopy {
        name: node.to_owned(),
        state,
        reason: Some(reason.to_owned()),
        message: Some(shown(error)),
        ..NodeCopy::default()
    })
}

/// An error in words. The texts of a registry and of an archive in it are redacted and escaped already.
pub(crate) fn shown(error: &SaveError) -> String {
    Redacted::own(&error_chain(error)).to_string()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::snapshot::{SnapshotSpec, SnapshotStatus};

    use super::*;
    use crate::journal::LayerEntry;
    use crate::journal::tests::entry;

    #[test]
    fn what_was_pushed_is_reported_only_after_the_registry_has_returned_it() {
        let layer = Some(LayerEntry { digest: "sha256:1".to_owned(), bytes: 40 });
        let pushing = Entry { layer, ..entry(1) };
        let before = done("n1", &pushing);
        assert_eq!((before.state, before.manifest_digest, before.stored_bytes), (NodeCopyState::Held, None, None));
        let pushed = Entry { manifest: Some("sha256:2".to_owned()), ..pushing };
        let after = done("n1", &pushed);
        assert_eq!((after.manifest_digest.as_deref(), after.stored_bytes), (Some("sha256:2"), Some(40)));
        let deleted = done("n1", &Entry { copy_bytes: None, ..pushed });
        assert_eq!((deleted.state, deleted.reason), (NodeCopyState::NotHeld, None));
    }

    #[test]
    fn the_loss_of_the_only_copy_has_a_reason() {
        let lost = done("n1", &Entry { copy_bytes: None, ..entry(1) });
        assert_eq!((lost.state, lost.reason.as_deref()), (NodeCopyState::NotHeld, Some("Evicted")));
    }

    #[test]
    fn a_failure_that_repeats_is_reported_once() {
        let error = SaveError::NoRoom { bytes: 1 };
        let mut snapshot = Snapshot::new("web", SnapshotSpec::default());
        let first = failed("n1", &snapshot, &error).unwrap();
        assert_eq!((first.state, first.reason.as_deref()), (NodeCopyState::Waiting, Some("StoreFull")));
        snapshot.status = Some(SnapshotStatus { nodes: vec![first], ..SnapshotStatus::default() });
        assert_eq!(failed("n1", &snapshot, &error), None);
        assert!(failed("n1", &snapshot, &SaveError::Recipient("x".to_owned())).is_some());
        assert_eq!(failed("n1", &snapshot, &SaveError::Stopped), None);
    }
}
