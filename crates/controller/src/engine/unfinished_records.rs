//! The Checkpoints that are Pending or InProgress, as they are, and which pods they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::pod::PodName;

use super::record_key::RecordKey;
use crate::record::fields;

/// A Checkpoint that is Pending or InProgress.
pub(super) struct UnfinishedRecord {
    pub(super) checkpoint: Arc<Checkpoint>,
    /// Since when this process has seen its attempt unchanged, by the clock since boot.
    since: Duration,
    /// `None`: SnapWatcher created it.
    pub(super) manual: Option<ManualRecord>,
}

/// A Checkpoint that a person created. People can create any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManualRecord {
    /// It counts towards the limit of its namespace.
    Counted,
    /// The limit was reached when it was first seen, and it had no attempt.
    Excess,
}

/// All of them, in order, so that equal histories take equal steps.
pub(super) struct UnfinishedRecords {
    records: BTreeMap<RecordKey, UnfinishedRecord>,
    /// How many manual ones count, by namespace; no entry is 0.
    manual: BTreeMap<String, usize>,
    /// The most that count of one namespace.
    max_manual: usize,
    /// An event of a pod concerns few of them.
    by_subject: BTreeSet<(String, Subject, RecordKey)>,
}

/// What a Checkpoint is about, in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The pod of this name.
    Pod(String),
    /// All pods of this revision.
    Revision(String),
}

impl UnfinishedRecord {
    /// How long its attempt has been seen unchanged.
    pub(super) fn age(&self, boot: Duration) -> Duration {
        boot.saturating_sub(self.since)
    }
}

impl UnfinishedRecords {
    pub(super) fn new(max_manual: usize) -> Self {
        Self { records: BTreeMap::new(), manual: BTreeMap::new(), max_manual, by_subject: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: &RecordKey) -> Option<&UnfinishedRecord> {
        self.records.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RecordKey> {
        self.records.keys()
    }

    pub(super) fn insert(&mut self, key: RecordKey, checkpoint: Arc<Checkpoint>, boot: Duration) {
        let known = self.remove(&key);
        let manual = match known.as_ref().map(|known| known.manual) {
            Some(manual) => manual,
            None => is_manual(&checkpoint).then(|| self.manual_record(key.namespace(), &checkpoint)),
        };
        if manual == Some(ManualRecord::Counted) {
            *self.manual.entry(key.namespace().to_owned()).or_default() += 1;
        }
        let known = known.filter(|known| has_same_attempt(&known.checkpoint, &checkpoint));
        let since = known.map_or(boot, |known| known.since);
        for subject in subjects(&checkpoint) {
            self.by_subject.insert((key.namespace().to_owned(), subject, key.clone()));
        }
        self.records.insert(key, UnfinishedRecord { checkpoint, since, manual });
    }

    pub(super) fn remove(&mut self, key: &RecordKey) -> Option<UnfinishedRecord> {
        let removed = self.records.remove(key)?;
        for subject in subjects(&removed.checkpoint) {
            self.by_subject.remove(&(key.namespace().to_owned(), subject, key.clone()));
        }
        if removed.manual == Some(ManualRecord::Counted)
            && let Some(count) = self.manual.get_mut(key.namespace())
        {
            *count -= 1;
            if *count == 0 {
                self.manual.remove(key.namespace());
            }
        }
        Some(removed)
    }

    /// Whether a manual Checkpoint counts that is seen for the first time. One with an attempt does: a request may be under way.
    fn manual_record(&self, namespace: &str, checkpoint: &Checkpoint) -> ManualRecord {
        let is_attempted = checkpoint.status.as_ref().is_some_and(|status| status.attempt > 0);
        let is_full = self.manual.get(namespace).is_some_and(|count| *count >= self.max_manual);
        if is_full && !is_attempted { ManualRecord::Excess } else { ManualRecord::Counted }
    }

    /// Those that may depend on a pod of that revision, in order.
    pub(super) fn about_pod(&self, pod: &PodName, revision: &str) -> BTreeSet<RecordKey> {
        let about = |subject: Subject| {
            let first = (pod.namespace.to_string(), subject, RecordKey::new("", ""));
            let (namespace, subject, _) = first.clone();
            let same = self.by_subject.range(first..);
            let same = same.take_while(move |(of, about, _)| *of == namespace && *about == subject);
            same.map(|(_, _, key)| key.clone())
        };
        about(Subject::Pod(pod.name.to_string())).chain(about(Subject::Revision(revision.to_owned()))).collect()
    }
}

/// Whether a person created it: its name is not the one that is derived from its target, or its spec is not valid.
fn is_manual(checkpoint: &Checkpoint) -> bool {
    fields::target(checkpoint).is_none_or(|target| matches!(target, CheckpointTarget::Manual { .. }))
}

/// The pod of the last attempt counts too: whether its slot is taken depends on the pod.
fn subjects(checkpoint: &Checkpoint) -> impl Iterator<Item = Subject> {
    let named = checkpoint.spec.pod.as_ref().map(|pod| &pod.name);
    let attempted = checkpoint.status.as_ref().and_then(|status| status.pod.as_ref()).map(|pod| &pod.name);
    let pods = [named, attempted].into_iter().flatten().cloned().map(Subject::Pod);
    pods.chain(checkpoint.spec.revision.clone().map(Subject::Revision))
}

fn has_same_attempt(a: &Checkpoint, b: &Checkpoint) -> bool {
    let attempt = |checkpoint: &Checkpoint| {
        let status = checkpoint.status.as_ref()?;
        let start = status.start_time.as_ref().map(|start| start.0);
        Some((checkpoint.uid(), checkpoint.phase(), status.attempt, status.holder.clone(), start))
    };
    attempt(a) == attempt(b)
}
