//! Which Snapshots of a namespace are not needed any more: a pure function of a listing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::snapshot::{Snapshot, SnapshotPhase, SnapshotSpec, is_kept};

use crate::settings::SnapshotRetention;
use crate::subject;

/// What retention looks at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSnapshot {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) spec: SnapshotSpec,
    pub(crate) phase: SnapshotPhase,
    pub(crate) created: Timestamp,
    pub(crate) last_used: Option<Timestamp>,
    /// An annotation protects it.
    pub(crate) is_kept: bool,
}

/// Why a Snapshot is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// Its deletion has begun.
    Begun,
    /// A newer one of the same revision is saved at least as well.
    Replaced,
    /// There are enough newer revisions.
    Revisions,
    /// It was not used for too long.
    Unused,
}

impl Cause {
    pub(crate) const ALL: [Self; 4] = [Self::Begun, Self::Replaced, Self::Revisions, Self::Unused];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Replaced => "replaced",
            Self::Revisions => "revisions",
            Self::Unused => "unused",
        }
    }

    /// For the status, until the object is gone.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Begun => "its deletion has begun",
            Self::Replaced => "a newer Snapshot of the same revision has replaced it",
            Self::Revisions => "its revision has no pod, and newer revisions are saved",
            Self::Unused => "its revision has no pod, and it was not used for a long time",
        }
    }

    /// Whether it may be deleted only while no pod of its revision exists.
    pub(crate) fn needs_no_pod(self) -> bool {
        matches!(self, Self::Revisions | Self::Unused)
    }
}

impl StoredSnapshot {
    /// `None`: it is being deleted already.
    pub(crate) fn of(snapshot: &Snapshot) -> Option<Self> {
        let metadata = &snapshot.metadata;
        if metadata.deletion_timestamp.is_some() {
            return None;
        }
        let last_used = snapshot.status.as_ref().and_then(|status| status.last_used_time.as_ref());
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            spec: snapshot.spec.clone(),
            phase: snapshot.phase(),
            created: metadata.creation_timestamp.as_ref()?.0,
            last_used: last_used.map(|time| time.0),
            is_kept: is_kept(metadata),
        })
    }

    /// How well it is saved. A copy in the registry outlives the nodes.
    fn rank(&self) -> u8 {
        match self.phase {
            SnapshotPhase::Saved => 2,
            SnapshotPhase::Local => 1,
            SnapshotPhase::Pending | SnapshotPhase::Rejected | SnapshotPhase::Expired => 0,
        }
    }
}

/// Whether `newer` makes the other one unnecessary. Of several Snapshots of a revision, at least one is made so by none.
pub(crate) fn replaces(newer: &StoredSnapshot, older: &StoredSnapshot) -> bool {
    // A total order. Times have whole seconds, and one that was created to replace another is the newer one of a second.
    let age = |snapshot: &StoredSnapshot| (snapshot.created, snapshot.spec.replaces.is_some(), snapshot.uid.clone());
    let is_saved_as_well = newer.rank() > 0 && newer.rank() >= older.rank();
    subject::is_same(&newer.spec, &older.spec) && is_saved_as_well && age(newer) > age(older)
}

/// The Snapshots of a namespace that may be deleted, each with the first cause.
pub(crate) fn expired(
    snapshots: &[StoredSnapshot],
    policy: SnapshotRetention,
    now: Timestamp,
) -> Vec<(&StoredSnapshot, Cause)> {
    let unused_for = SignedDuration::try_from(policy.unused_for).unwrap_or(SignedDuration::MAX);
    let newest = newest_revisions(snapshots);
    let cause = |snapshot: &StoredSnapshot| {
        let workload = (snapshot.spec.workload.uid.as_str(), snapshot.spec.container.as_str());
        let revisions = newest.get(&workload).map(Vec::as_slice).unwrap_or_default();
        let is_among = |count: usize| revisions.iter().take(count).any(|revision| *revision == snapshot.spec.revision);
        let last_used = snapshot.last_used.unwrap_or(snapshot.created).max(snapshot.created);
        if snapshot.phase == SnapshotPhase::Expired {
            Some(Cause::Begun)
        } else if snapshot.is_kept {
            None
        } else if snapshots.iter().any(|newer| replaces(newer, snapshot)) {
            Some(Cause::Replaced)
        } else if !is_among(policy.revisions) {
            Some(Cause::Revisions)
        } else if now.duration_since(last_used) > unused_for {
            Some(Cause::Unused)
        } else {
            None
        }
    };
    snapshots.iter().filter_map(|snapshot| cause(snapshot).map(|cause| (snapshot, cause))).collect()
}

/// The revisions of each container of a workload, the newest first. Those that are kept by an annotation do not count.
fn newest_revisions(snapshots: &[StoredSnapshot]) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut created: BTreeMap<(&str, &str), BTreeMap<&str, Timestamp>> = BTreeMap::new();
    for StoredSnapshot { spec, created: at, .. } in snapshots.iter().filter(|snapshot| !snapshot.is_kept) {
        let revisions = created.entry((&spec.workload.uid, &spec.container)).or_default();
        let newest = revisions.entry(&spec.revision).or_insert(*at);
        *newest = (*newest).max(*at);
    }
    let newest_first = created.into_iter().map(|(workload, revisions)| {
        let mut sorted: Vec<(&str, Timestamp)> = revisions.into_iter().collect();
        sorted.sort_by_key(|(_, created)| Reverse(*created));
        (workload, sorted.into_iter().map(|(revision, _)| revision).collect())
    });
    newest_first.collect()
}

#[cfg(test)]
mod tests;
