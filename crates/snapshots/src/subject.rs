//! What a Snapshot is of: one container of one revision of a workload, in one namespace.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use snapwatcher_api::snapshot::SnapshotSpec;

/// A digest of workload, revision and container, to find the Snapshots of one subject in the memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Subject(u64);

impl Subject {
    pub(crate) fn of(spec: &SnapshotSpec) -> Self {
        let mut hasher = DefaultHasher::new();
        (&spec.workload.uid, &spec.revision, &spec.container).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Whether two Snapshots of a namespace are of the same container of the same revision.
pub(crate) fn is_same(a: &SnapshotSpec, b: &SnapshotSpec) -> bool {
    (&a.workload.uid, &a.revision, &a.container) == (&b.workload.uid, &b.revision, &b.container)
}
