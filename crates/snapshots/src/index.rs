//! The Snapshots that exist, as the watch shows them: a few words of each.
//!
//! Other people may create Snapshots too. Of one namespace, so many are kept as SnapWatcher creates there, and as many again.

use std::collections::HashMap;

use jiff::Timestamp;

use snapwatcher_api::snapshot::{Snapshot, SnapshotPhase};

use crate::metrics::PHASES;
use crate::plan::MOST_OF_NAMESPACE;
use crate::subject::Subject;

/// What is kept of a Snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) uid: String,
    pub(crate) subject: Subject,
    pub(crate) created: Option<Timestamp>,
    phase: SnapshotPhase,
    bytes: i64,
    stored_bytes: i64,
}

/// By namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    namespaces: HashMap<String, HashMap<String, Indexed>>,
}

impl Index {
    /// Takes over a Snapshot as it is now. False: the namespace has too many, and it is not kept.
    pub(crate) fn put(&mut self, snapshot: &Snapshot) -> bool {
        let metadata = &snapshot.metadata;
        let (Some(namespace), Some(name), Some(uid)) = (&metadata.namespace, &metadata.name, &metadata.uid) else {
            return false;
        };
        let status = snapshot.status.as_ref();
        let indexed = Indexed {
            uid: uid.clone(),
            subject: Subject::of(&snapshot.spec),
            created: metadata.creation_timestamp.as_ref().map(|created| created.0),
            phase: snapshot.phase(),
            bytes: status.and_then(|status| status.bytes).unwrap_or_default(),
            stored_bytes: status.and_then(|status| status.stored_bytes).unwrap_or_default(),
        };
        let kept = self.namespaces.entry(namespace.clone()).or_default();
        if kept.len() >= 2 * MOST_OF_NAMESPACE && !kept.contains_key(name) {
            return false;
        }
        kept.insert(name.clone(), indexed);
        true
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(kept) = self.namespaces.get_mut(namespace) {
            kept.remove(name);
            if kept.is_empty() {
                self.namespaces.remove(namespace);
            }
        }
    }

    pub(crate) fn remove_namespace(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
    }

    pub(crate) fn clear(&mut self) {
        self.namespaces.clear();
    }

    /// How many a namespace has.
    pub(crate) fn count(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, HashMap::len)
    }

    /// The names and UIDs of the Snapshots of a subject, the newest first.
    pub(crate) fn of_subject(&self, namespace: &str, subject: Subject) -> Vec<(String, Indexed)> {
        let kept = self.namespaces.get(namespace).into_iter().flatten();
        let of_subject = kept.filter(|(_, indexed)| indexed.subject == subject);
        let mut found: Vec<_> = of_subject.map(|(name, indexed)| (name.clone(), indexed.clone())).collect();
        found.sort_by(|(a_name, a), (b_name, b)| (b.created, b_name).cmp(&(a.created, a_name)));
        found
    }

    /// How many are in each phase of [`PHASES`], and the bytes and stored bytes of all.
    pub(crate) fn totals(&self) -> ([i64; PHASES.len()], i64, i64) {
        let (mut phases, mut bytes, mut stored_bytes) = ([0; PHASES.len()], 0_i64, 0_i64);
        for indexed in self.namespaces.values().flat_map(HashMap::values) {
            if let Some(at) = PHASES.iter().position(|phase| *phase == indexed.phase) {
                phases[at] += 1;
            }
            bytes = bytes.saturating_add(indexed.bytes);
            stored_bytes = stored_bytes.saturating_add(indexed.stored_bytes);
        }
        (phases, bytes, stored_bytes)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use snapwatcher_api::fixtures::at;
    use snapwatcher_api::snapshot::{SnapshotSpec, SnapshotStatus};

    use super::*;

    fn snapshot(namespace: &str, name: &str, revision: &str, created: i64) -> Snapshot {
        let spec = SnapshotSpec { revision: revision.to_owned(), ..SnapshotSpec::default() };
        let mut snapshot = Snapshot::new(name, spec);
        snapshot.metadata.namespace = Some(namespace.to_owned());
        snapshot.metadata.uid = Some(format!("uid-of-{name}"));
        snapshot.metadata.creation_timestamp = Some(Time(at(created)));
        snapshot
    }

    #[test]
    fn the_newest_snapshot_of_a_subject_comes_first() {
        let mut index = Index::default();
        for (namespace, name, revision, created) in [
            ("shop", "old", "r1", 1),
            ("shop", "new", "r1", 2),
            ("shop", "other", "r2", 3),
            ("blog", "theirs", "r1", 4),
        ] {
            assert!(index.put(&snapshot(namespace, name, revision, created)));
        }
        let subject = Subject::of(&snapshot("", "", "r1", 0).spec);
        let names =
            |index: &Index| index.of_subject("shop", subject).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&index), ["new", "old"]);
        index.remove("shop", "new");
        assert_eq!((names(&index), index.count("shop"), index.count("blog")), (vec!["old".to_owned()], 2, 1));
        index.remove("blog", "theirs");
        assert_eq!(index.count("blog"), 0);
    }

    #[test]
    fn what_is_kept_of_a_namespace_is_bounded_and_known_ones_still_change() {
        let mut index = Index::default();
        for number in 0..2 * MOST_OF_NAMESPACE {
            assert!(index.put(&snapshot("shop", &number.to_string(), "r1", 1)));
        }
        assert!(!index.put(&snapshot("shop", "one more", "r1", 1)));
        assert!(index.put(&snapshot("shop", "7", "r1", 1)) && index.put(&snapshot("blog", "a", "r1", 1)));
        assert_eq!(index.count("shop"), 2 * MOST_OF_NAMESPACE);
    }

    #[test]
    fn phases_and_bytes_are_added_up() {
        let mut index = Index::default();
        let saved = |name: &str| {
            let status = SnapshotStatus {
                phase: Some(SnapshotPhase::Saved),
                bytes: Some(10),
                stored_bytes: Some(4),
                ..SnapshotStatus::default()
            };
            Snapshot { status: Some(status), ..snapshot("shop", name, "r1", 1) }
        };
        for snapshot in [saved("a"), saved("b"), snapshot("shop", "c", "r1", 1)] {
            assert!(index.put(&snapshot));
        }
        assert_eq!(index.totals(), ([1, 0, 2, 0, 0], 20, 8));
        index.clear();
        assert_eq!(index.totals(), ([0; 5], 0, 0));
    }
}
