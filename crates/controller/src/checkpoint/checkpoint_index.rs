//! A small key of each Checkpoint in the watched namespaces.
//!
//! A container that has a Checkpoint costs no request when its pod is seen again, and finished Checkpoints take little
//! memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::Reason;

use super::fields;

/// The keys, written by the watch of Checkpoints alone.
pub(crate) struct CheckpointIndex {
    entries: Mutex<Entries>,
    /// How many scopes there are.
    scopes: usize,
    /// The scopes whose first listing is complete.
    listed: watch::Sender<HashSet<usize>>,
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<KeyDigest, IndexEntry>,
    /// How many Succeeded Checkpoints each pod and container has.
    successes: HashMap<KeyDigest, usize>,
    /// What a listing under way has delivered, by scope.
    listings: HashMap<usize, HashSet<KeyDigest>>,
}

struct IndexEntry {
    scope: usize,
    subject: Option<KeyDigest>,
    succeeded: bool,
    /// UID of the Checkpoint, if it may hold a slot. Few do at any time.
    slot_holder: Option<String>,
}

/// 128 bits of a SHA-256: in practice no two keys share one.
type KeyDigest = u128;

/// Which pods the pod watch must try to claim again, because Checkpoints were deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reclaim {
    /// The pod of this UID.
    Pod(String),
    /// Any pod: the Checkpoint of a revision was deleted, or some were deleted while the watch was interrupted.
    All,
}

/// What one event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexChanges {
    pub reclaim: Option<Reclaim>,
    /// UIDs of Checkpoints that may have held a slot and were deleted while the watch was interrupted.
    pub removed_uids: Vec<String>,
}

impl From<Option<Reclaim>> for IndexChanges {
    fn from(reclaim: Option<Reclaim>) -> Self {
        Self { reclaim, removed_uids: Vec::new() }
    }
}

impl CheckpointIndex {
    /// An empty index over that many scopes.
    pub(crate) fn new(scopes: usize) -> Self {
        Self { entries: Mutex::default(), scopes, listed: watch::Sender::default() }
    }

    /// Waits for the first listing of every scope. Before it, a missing Checkpoint proves nothing.
    pub(crate) async fn until_all_listed(&self) {
        // The sender is part of `self`, so the wait ends with the condition only.
        let _ = self.listed.subscribe().wait_for(|listed| listed.len() == self.scopes).await;
    }

    /// Waits for the first listing of that scope. Checkpoints in other watched namespaces do not matter for its pods.
    pub(crate) async fn until_listed(&self, scope: usize) {
        let _ = self.listed.subscribe().wait_for(|listed| listed.contains(&scope)).await;
    }

    pub(crate) fn contains(&self, namespace: &str, name: &str) -> bool {
        self.lock().by_name.contains_key(&digest(&[namespace, name]))
    }

    /// Whether a Succeeded Checkpoint of that pod and container exists, whatever its name.
    pub(crate) fn has_success(&self, pod_uid: &str, container: &str) -> bool {
        self.lock().successes.contains_key(&digest(&[pod_uid, container]))
    }

    /// Takes over one event of the watch of `scope`.
    pub(crate) fn apply(&self, scope: usize, event: &Event<Checkpoint>) -> IndexChanges {
        let mut entries = self.lock();
        match event {
            Event::Init => {
                entries.listings.insert(scope, HashSet::new());
                IndexChanges::default()
            }
            Event::InitApply(checkpoint) => {
                let key = entries.insert(scope, checkpoint);
                entries.listings.entry(scope).or_default().insert(key);
                IndexChanges::default()
            }
            Event::InitDone => {
                let removed = entries.finish_listing(scope);
                self.listed.send_if_modified(|listed| listed.insert(scope));
                let reclaim = (!removed.is_empty()).then_some(Reclaim::All);
                let removed_uids = removed.into_iter().filter_map(|entry| entry.slot_holder).collect();
                IndexChanges { reclaim, removed_uids }
            }
            Event::Apply(checkpoint) => {
                entries.insert(scope, checkpoint);
                IndexChanges::default()
            }
            Event::Delete(checkpoint) => {
                entries.remove(name_digest(checkpoint));
                // A revision's new Checkpoint may be claimed for any of its pods, not only for the one in the status.
                let pod = fields::pod_uid(checkpoint).filter(|_| checkpoint.spec.workload.is_none());
                Some(pod.map_or(Reclaim::All, |uid| Reclaim::Pod(uid.to_owned()))).into()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn insert(&mut self, scope: usize, checkpoint: &Checkpoint) -> KeyDigest {
        let key = name_digest(checkpoint);
        self.remove(key);
        let slot_holder = checkpoint.uid().filter(|_| may_hold_slot(checkpoint));
        let succeeded = checkpoint.phase() == Phase::Succeeded;
        let entry = IndexEntry { scope, subject: subject_digest(checkpoint), succeeded, slot_holder };
        if let (Some(subject), true) = (entry.subject, entry.succeeded) {
            *self.successes.entry(subject).or_default() += 1;
        }
        self.by_name.insert(key, entry);
        key
    }

    fn remove(&mut self, key: KeyDigest) -> Option<IndexEntry> {
        let entry = self.by_name.remove(&key)?;
        if let IndexEntry { subject: Some(subject), succeeded: true, .. } = &entry
            && let Some(count) = self.successes.get_mut(subject)
        {
            *count -= 1;
            if *count == 0 {
                self.successes.remove(subject);
            }
        }
        Some(entry)
    }

    /// Removes and returns the entries that the listing did not contain.
    fn finish_listing(&mut self, scope: usize) -> Vec<IndexEntry> {
        let listed = self.listings.remove(&scope).unwrap_or_default();
        let is_gone = |(key, entry): &(&KeyDigest, &IndexEntry)| entry.scope == scope && !listed.contains(key);
        let gone: Vec<KeyDigest> = self.by_name.iter().filter(is_gone).map(|(key, _)| *key).collect();
        gone.into_iter().filter_map(|key| self.remove(key)).collect()
    }
}

/// The rule of the concurrency limiter, without the deadline.
fn may_hold_slot(checkpoint: &Checkpoint) -> bool {
    checkpoint.phase() == Phase::InProgress || checkpoint.reason() == Some(Reason::NoResponse.as_str())
}

fn subject_digest(checkpoint: &Checkpoint) -> Option<KeyDigest> {
    Some(digest(&[fields::pod_uid(checkpoint)?, fields::container(checkpoint)?]))
}

fn name_digest(checkpoint: &Checkpoint) -> KeyDigest {
    digest(&[&checkpoint.namespace().unwrap_or_default(), &checkpoint.name_any()])
}

/// Names contain no `/`, so different parts give different texts.
fn digest(parts: &[&str]) -> KeyDigest {
    let digest = Sha256::digest(parts.join("/"));
    digest.iter().take(16).fold(0, |key, &byte| key << 8 | KeyDigest::from(byte))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use snapwatcher_api::fixtures::checkpoint;

    /// With the UID `<name>`, of the pod `uid-of-<name>`.
    fn object(name: &str, phase: Phase) -> Checkpoint {
        let pod_uid = Some(format!("uid-of-{name}"));
        let object = checkpoint("web").named(name).uid(name).phase(phase);
        object.spec(|spec| spec.pod.as_mut().unwrap().uid = pod_uid).build()
    }

    fn list(index: &CheckpointIndex, checkpoints: &[Checkpoint]) -> IndexChanges {
        index.apply(0, &Event::Init);
        for checkpoint in checkpoints {
            index.apply(0, &Event::InitApply(checkpoint.clone()));
        }
        index.apply(0, &Event::InitDone)
    }

    #[tokio::test]
    async fn the_index_is_complete_once_every_scope_was_listed() {
        let index = CheckpointIndex::new(2);
        let is_complete = || index.until_all_listed().now_or_never().is_some();
        list(&index, &[]);
        index.until_listed(0).await;
        assert!(!is_complete() && index.until_listed(1).now_or_never().is_none());
        list(&index, &[]); // a relist of the same scope does not count twice
        assert!(!is_complete());
        index.apply(1, &Event::InitDone);
        assert!(is_complete());
    }

    #[test]
    fn a_success_is_known_by_pod_and_container_until_its_last_checkpoint_is_deleted() {
        let index = CheckpointIndex::new(1);
        let is_known = || index.has_success("uid-of-a", "app");
        index.apply(0, &Event::Apply(object("a", Phase::InProgress)));
        assert!(index.contains("default", "a") && !is_known());
        index.apply(0, &Event::Apply(object("a", Phase::Succeeded)));
        index.apply(0, &Event::Apply(object("a", Phase::Succeeded)));
        let mut manual = object("a", Phase::Succeeded);
        manual.metadata.name = Some("manual".into());
        index.apply(0, &Event::Apply(manual.clone()));
        let changes = index.apply(0, &Event::Delete(object("a", Phase::Succeeded)));
        assert_eq!(changes, Some(Reclaim::Pod("uid-of-a".into())).into());
        assert!(is_known(), "another Checkpoint of the same pod and container is left");
        index.apply(0, &Event::Delete(manual));
        assert!(!is_known() && !index.contains("default", "a"));
    }

    #[test]
    fn a_deletion_during_an_interruption_is_noticed_at_the_relist() {
        let index = CheckpointIndex::new(1);
        let (a, b, c) = (object("a", Phase::Succeeded), object("b", Phase::Pending), object("c", Phase::InProgress));
        assert_eq!(list(&index, &[a, b.clone(), c.clone()]), IndexChanges::default());
        assert_eq!(list(&index, &[b.clone(), c]), Some(Reclaim::All).into());
        assert!(!index.contains("default", "a") && !index.has_success("uid-of-a", "app"));
        assert!(index.contains("default", "b") && index.contains("default", "c"));
        let removed_uids = vec!["c".to_owned()];
        let changes = IndexChanges { reclaim: Some(Reclaim::All), removed_uids };
        assert_eq!(list(&index, &[b]), changes, "it held a slot");
    }
}
