//! What exists of records, as a small key for each: so that a pod that was claimed before costs no request, and memory
//! does not grow with history beyond that.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::Reason;

/// The keys of all records in the watched namespaces. The watch of records is its only writer.
pub struct CheckpointIndex {
    inner: Mutex<Inner>,
    /// How many scopes there are.
    scopes: usize,
    /// Those that were listed.
    listed: watch::Sender<HashSet<usize>>,
}

#[derive(Default)]
struct Inner {
    /// By record.
    records: HashMap<Key, Entry>,
    /// How many Succeeded records there are of a pod and container.
    successes: HashMap<Key, usize>,
    /// What a listing under way has told, by scope.
    listings: HashMap<usize, HashSet<Key>>,
}

struct Entry {
    scope: usize,
    subject: Option<Key>,
    succeeded: bool,
    /// UID of a record that may hold a slot; few do at any time.
    holder: Option<String>,
}

/// 128 bits of a SHA-256: two records never share one, in practice.
type Key = u128;

/// What the watch of pods has to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    /// The record of this pod (UID) was deleted.
    Pod(String),
    /// The record of a revision was deleted, or records went while the watch was interrupted.
    Some,
}

/// What follows from one event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub forgotten: Option<Forgotten>,
    /// UIDs of records that may have held a slot and went while the watch was interrupted.
    pub missed: Vec<String>,
}

impl From<Option<Forgotten>> for Changes {
    fn from(forgotten: Option<Forgotten>) -> Self {
        Self { forgotten, missed: Vec::new() }
    }
}

impl CheckpointIndex {
    /// An empty ledger over that many scopes.
    pub fn new(scopes: usize) -> Self {
        Self { inner: Mutex::default(), scopes, listed: watch::Sender::default() }
    }

    /// Waits until every scope was listed once: before, an absent record proves nothing.
    pub async fn complete(&self) {
        // The sender lives in self, so waiting can only end with the condition.
        let _ = self.listed.subscribe().wait_for(|listed| listed.len() == self.scopes).await;
    }

    /// Waits until that scope was listed once. What another scope holds is nothing to a pod of this one.
    pub async fn listed(&self, scope: usize) {
        let _ = self.listed.subscribe().wait_for(|listed| listed.contains(&scope)).await;
    }

    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.lock().records.contains_key(&key(&[namespace, name]))
    }

    /// Whether any Succeeded record of that pod and container exists, whatever its name.
    pub fn has_success(&self, pod_uid: &str, container: &str) -> bool {
        self.lock().successes.contains_key(&key(&[pod_uid, container]))
    }

    /// Follows one event of the watch of `scope`.
    pub fn apply(&self, scope: usize, event: &Event<Checkpoint>) -> Changes {
        let mut inner = self.lock();
        match event {
            Event::Init => {
                inner.listings.insert(scope, HashSet::new());
                Changes::default()
            }
            Event::InitApply(record) => {
                let key = inner.note(scope, record);
                inner.listings.entry(scope).or_default().insert(key);
                Changes::default()
            }
            Event::InitDone => {
                let gone = inner.finish_listing(scope);
                self.listed.send_if_modified(|listed| listed.insert(scope));
                let forgotten = (!gone.is_empty()).then_some(Forgotten::Some);
                Changes { forgotten, missed: gone.into_iter().filter_map(|entry| entry.holder).collect() }
            }
            Event::Apply(record) => {
                inner.note(scope, record);
                Changes::default()
            }
            Event::Delete(record) => {
                inner.forget(record_key(record));
                // Any pod of a revision may want a new record, not just the one that stood for it.
                let of_one_pod = pod_uid(record).filter(|_| record.spec.workload.is_none());
                Some(of_one_pod.map_or(Forgotten::Some, |uid| Forgotten::Pod(uid.to_owned()))).into()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, scope: usize, record: &Checkpoint) -> Key {
        let key = record_key(record);
        self.forget(key);
        let holder = record.uid().filter(|_| may_hold_slot(record));
        let entry = Entry { scope, subject: subject(record), succeeded: record.phase() == Phase::Succeeded, holder };
        if let (Some(subject), true) = (entry.subject, entry.succeeded) {
            *self.successes.entry(subject).or_default() += 1;
        }
        self.records.insert(key, entry);
        key
    }

    fn forget(&mut self, key: Key) -> Option<Entry> {
        let entry = self.records.remove(&key)?;
        if let Entry { subject: Some(subject), succeeded: true, .. } = &entry
            && let Some(count) = self.successes.get_mut(subject)
        {
            *count -= 1;
            if *count == 0 {
                self.successes.remove(subject);
            }
        }
        Some(entry)
    }

    /// Drops and returns what the listing did not tell.
    fn finish_listing(&mut self, scope: usize) -> Vec<Entry> {
        let listed = self.listings.remove(&scope).unwrap_or_default();
        let gone: Vec<Key> = self
            .records
            .iter()
            .filter(|(key, entry)| entry.scope == scope && !listed.contains(key))
            .map(|(key, _)| *key)
            .collect();
        gone.into_iter().filter_map(|key| self.forget(key)).collect()
    }
}

/// As the budget counts slots.
fn may_hold_slot(record: &Checkpoint) -> bool {
    record.phase() == Phase::InProgress || record.reason() == Some(Reason::NoResponse.as_str())
}

/// UID of the pod a record is about, by its wish or as resolved.
pub fn pod_uid(record: &Checkpoint) -> Option<&str> {
    let wished = record.spec.pod.as_ref().and_then(|pod| pod.uid.as_deref());
    let resolved = || record.status.as_ref().and_then(|status| status.pod.as_ref()).and_then(|pod| pod.uid.as_deref());
    wished.or_else(resolved)
}

/// The container a record is about, by its wish or as resolved.
pub fn container(record: &Checkpoint) -> Option<&str> {
    let resolved = || record.status.as_ref().and_then(|status| status.container.as_deref());
    record.spec.container.as_deref().or_else(resolved)
}

fn subject(record: &Checkpoint) -> Option<Key> {
    Some(key(&[pod_uid(record)?, container(record)?]))
}

fn record_key(record: &Checkpoint) -> Key {
    key(&[&record.namespace().unwrap_or_default(), &record.name_any()])
}

/// Names hold no `/`, so joined parts are as different as the parts.
fn key(parts: &[&str]) -> Key {
    let digest = Sha256::digest(parts.join("/"));
    digest.iter().take(16).fold(0, |key, &byte| key << 8 | Key::from(byte))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus, PodReference};

    fn record(name: &str, phase: Phase) -> Checkpoint {
        let pod = PodReference { name: "web".into(), uid: Some(format!("uid-of-{name}")) };
        let spec = CheckpointSpec { pod: Some(pod), container: Some("app".into()), ..Default::default() };
        let mut record = Checkpoint::new(name, spec);
        (record.metadata.namespace, record.metadata.uid) = (Some("default".into()), Some(name.to_owned()));
        record.status = Some(CheckpointStatus { phase: Some(phase), ..Default::default() });
        record
    }

    fn list(ledger: &CheckpointIndex, records: &[Checkpoint]) -> Changes {
        ledger.apply(0, &Event::Init);
        for record in records {
            ledger.apply(0, &Event::InitApply(record.clone()));
        }
        ledger.apply(0, &Event::InitDone)
    }

    #[tokio::test]
    async fn the_ledger_is_complete_once_every_scope_was_listed() {
        let ledger = CheckpointIndex::new(2);
        let is_complete = || ledger.complete().now_or_never().is_some();
        list(&ledger, &[]);
        ledger.listed(0).await;
        assert!(!is_complete() && ledger.listed(1).now_or_never().is_none());
        list(&ledger, &[]); // a relist of the same scope does not count twice
        assert!(!is_complete());
        ledger.apply(1, &Event::InitDone);
        assert!(is_complete());
    }

    #[test]
    fn a_success_is_known_by_pod_and_container_until_its_last_record_goes() {
        let ledger = CheckpointIndex::new(1);
        let known = || ledger.has_success("uid-of-a", "app");
        ledger.apply(0, &Event::Apply(record("a", Phase::InProgress)));
        assert!(ledger.contains("default", "a") && !known());
        ledger.apply(0, &Event::Apply(record("a", Phase::Succeeded)));
        ledger.apply(0, &Event::Apply(record("a", Phase::Succeeded)));
        let mut by_hand = record("a", Phase::Succeeded);
        by_hand.metadata.name = Some("by-hand".into());
        ledger.apply(0, &Event::Apply(by_hand.clone()));
        let forgotten = ledger.apply(0, &Event::Delete(record("a", Phase::Succeeded)));
        assert_eq!(forgotten, Some(Forgotten::Pod("uid-of-a".into())).into());
        assert!(known(), "another record of the same pod and container is left");
        ledger.apply(0, &Event::Delete(by_hand));
        assert!(!known() && !ledger.contains("default", "a"));
    }

    #[test]
    fn a_deletion_missed_while_disconnected_is_noticed_at_the_relist() {
        let ledger = CheckpointIndex::new(1);
        let (a, b, c) = (record("a", Phase::Succeeded), record("b", Phase::Pending), record("c", Phase::InProgress));
        assert_eq!(list(&ledger, &[a, b.clone(), c.clone()]), Changes::default());
        assert_eq!(list(&ledger, &[b.clone(), c]), Some(Forgotten::Some).into());
        assert!(!ledger.contains("default", "a") && !ledger.has_success("uid-of-a", "app"));
        assert!(ledger.contains("default", "b") && ledger.contains("default", "c"));
        let missed = vec!["c".to_owned()];
        assert_eq!(list(&ledger, &[b]), Changes { forgotten: Some(Forgotten::Some), missed }, "it held a slot");
    }
}
