//! Which pods a revision has, so that a look at the Checkpoint of a revision costs no look at the other pods of its namespace.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::pod_entry::PodEntry;

/// The names of pods by a digest of their namespace, revision and workload: with 100,000 pods, the texts would take some
/// megabytes. Different revisions can have the same digest, so the pods have to be compared.
#[derive(Default)]
pub(super) struct RevisionIndex {
    pods: BTreeSet<(RevisionDigest, Arc<str>)>,
}

/// Of namespace, revision, and the workload's UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RevisionDigest(u64);

impl RevisionDigest {
    pub(super) fn new(namespace: &str, revision: &str, workload_uid: Option<&str>) -> Self {
        let mut hasher = DefaultHasher::new();
        (namespace, revision, workload_uid).hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(super) fn of(entry: &PodEntry) -> Self {
        Self::new(&entry.pod.name.namespace, entry.pod.revision(), entry.workload_uid.as_deref())
    }
}

impl RevisionIndex {
    pub(super) fn insert(&mut self, digest: RevisionDigest, name: Arc<str>) {
        self.pods.insert((digest, name));
    }

    pub(super) fn remove(&mut self, digest: RevisionDigest, name: &Arc<str>) {
        self.pods.remove(&(digest, Arc::clone(name)));
    }

    /// The pod is of another revision or workload than before.
    pub(super) fn change(&mut self, before: RevisionDigest, after: RevisionDigest, name: &Arc<str>) {
        if before != after {
            self.remove(before, name);
            self.insert(after, Arc::clone(name));
        }
    }

    /// The names of the pods with this digest, in order.
    pub(super) fn names(&self, digest: RevisionDigest) -> impl Iterator<Item = &Arc<str>> {
        let from = self.pods.range((digest, Arc::from(""))..);
        from.take_while(move |(of, _)| *of == digest).map(|(_, name)| name)
    }
}
