//! What becomes of an archive that lies on the node: pure functions.
//!
//! The archive of a Snapshot is removed by the save itself. Here it is about all others: those of Checkpoints that saved nothing, and
//! those that no Checkpoint names.

use std::time::Duration;

use snapwatcher_api::checkpoint::WatchedCheckpoint;

/// What a Checkpoint says about its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) namespace: String,
    /// The Snapshot that was made of the archive, or that the workload had already.
    pub(crate) snapshot: Option<SnapshotName>,
    /// The Snapshot is of another Checkpoint.
    pub(crate) is_of_another: bool,
}

/// A Snapshot, by name and UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotName {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What is known about a Snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotState {
    Gone,
    /// Nothing holds it yet, or it is Rejected.
    Open,
    /// The registry or a node holds it.
    Held,
}

/// What becomes of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Removed(&'static str),
    /// No Checkpoint names it.
    Unknown,
}

impl Named {
    /// The path of the archive of a Checkpoint on that node, and what the Checkpoint says about it.
    pub(crate) fn of(checkpoint: WatchedCheckpoint, node: &str) -> Option<(String, Self)> {
        let status = checkpoint.status?;
        let location = status.location.filter(|location| location.node.as_deref() == Some(node))?;
        let is_of_another = status.snapshot.as_ref().is_some_and(|snapshot| snapshot.is_of_another_checkpoint);
        let snapshot = status.snapshot.map(|snapshot| SnapshotName { name: snapshot.name, uid: snapshot.uid });
        Some((location.archive?, Self { namespace: checkpoint.metadata.namespace?, snapshot, is_of_another }))
    }
}

/// What becomes of an archive that a Checkpoint names. `state` is that of the Snapshot in its status.
pub(crate) fn verdict_of_named(named: &Named, state: SnapshotState) -> Verdict {
    match (&named.snapshot, state) {
        (Some(_), SnapshotState::Gone) => Verdict::Removed("its Snapshot was deleted"),
        (Some(_), SnapshotState::Held) if named.is_of_another => {
            Verdict::Removed("another Checkpoint of the same revision is saved")
        }
        // Without a Snapshot, it is not decided what is saved of the Checkpoint, or nothing is.
        (Some(_), SnapshotState::Held | SnapshotState::Open) | (None, _) => Verdict::Kept,
    }
}

/// What becomes of an archive of that age that no Checkpoint names.
pub(crate) fn verdict_of_unknown(age: Duration, oldest: Duration, removes: bool) -> Verdict {
    if removes && age >= oldest { Verdict::Removed("no Checkpoint names it") } else { Verdict::Unknown }
}

/// Whether a file of the folder has the name of an archive (Kubernetes, `pkg/kubelet/kubelet.go`, `CheckpointContainer`).
pub(crate) fn is_archive_name(name: &str) -> bool {
    let path = std::path::Path::new(name);
    name.starts_with("checkpoint-") && path.extension().is_some_and(|extension| extension == "tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86400);

    fn named(snapshot: bool, is_of_another: bool) -> Named {
        let snapshot = snapshot.then(|| SnapshotName { name: "web".to_owned(), uid: "u".to_owned() });
        Named { namespace: "shop".to_owned(), snapshot, is_of_another }
    }

    #[test]
    fn an_archive_is_kept_until_it_is_certain_that_it_is_not_needed() {
        use SnapshotState::{Gone, Held, Open};
        for (case, named, state, is_removed) in [
            ("nothing is decided", named(false, false), Gone, false),
            ("it is being saved", named(true, false), Open, false),
            ("the save removes it", named(true, false), Held, false),
            ("its Snapshot was deleted", named(true, false), Gone, true),
            ("another archive is being saved", named(true, true), Open, false),
            ("another archive is saved", named(true, true), Held, true),
            ("the Snapshot of another was deleted", named(true, true), Gone, true),
        ] {
            assert_eq!(matches!(verdict_of_named(&named, state), Verdict::Removed(_)), is_removed, "{case}");
        }
    }

    #[test]
    fn an_unknown_archive_is_removed_after_a_day_and_only_where_that_is_set() {
        for (age, removes, is_removed) in
            [(DAY, true, true), (DAY, false, false), (Duration::from_secs(86_399), true, false)]
        {
            assert_eq!(matches!(verdict_of_unknown(age, DAY, removes), Verdict::Removed(_)), is_removed);
        }
    }

    #[test]
    fn only_files_that_a_kubelet_writes_are_archives() {
        for (name, expected) in [
            ("checkpoint-web-0_shop-app-2026-12-01T10:00:00Z.tar", true),
            ("checkpoint-web.tar.gz", false),
            (".checkpoint-web.tar", false),
            ("notes.tar", false),
        ] {
            assert_eq!(is_archive_name(name), expected, "{name}");
        }
    }
}
