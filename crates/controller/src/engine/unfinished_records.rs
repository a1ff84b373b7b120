//! The Checkpoints that are Pending or InProgress, as they are, and which pods they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::outcome::Reason;
use snapwatcher_kubernetes::backoff::Backoff;

use super::record_key::RecordKey;
use super::record_subject::RecordSubject;
use crate::record::first_attempt;

/// After the API server has refused an operation on a Checkpoint, for a reason that concerns this Checkpoint alone. One without room
/// for a status is refused for ever.
const REFUSED: Backoff = Backoff::new(Duration::from_secs(15), Duration::from_secs(300));

/// A Checkpoint that is Pending or InProgress.
pub(super) struct UnfinishedRecord {
    pub(super) checkpoint: Arc<Checkpoint>,
    /// Since when this process has seen its attempt unchanged, by the clock since boot.
    since: Duration,
    count: Count,
    refusals: u32,
    /// No operation starts before, by the clock since boot.
    pub(super) resumes_at: Duration,
}

/// Whether a Checkpoint counts towards the limit of its namespace. People can create any number of them, under derived names too,
/// but of those names only three for each container of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Count {
    #[default]
    Not,
    Counted,
    /// The limit was reached, and it had no attempt.
    Excess,
}

/// All of them, in order, so that equal histories take equal steps.
pub(super) struct UnfinishedRecords {
    records: BTreeMap<RecordKey, UnfinishedRecord>,
    /// How many count, by namespace; no entry is 0.
    counted: BTreeMap<String, usize>,
    /// The most that count of one namespace.
    limit: usize,
    /// An event of a pod concerns few of them.
    by_subject: BTreeSet<(RecordSubject, RecordKey)>,
}

impl UnfinishedRecord {
    /// How long its attempt has been seen unchanged.
    pub(super) fn age(&self, boot: Duration) -> Duration {
        boot.saturating_sub(self.since)
    }
}

impl UnfinishedRecords {
    pub(super) fn new(limit: usize) -> Self {
        Self { records: BTreeMap::new(), counted: BTreeMap::new(), limit, by_subject: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: &RecordKey) -> Option<&UnfinishedRecord> {
        self.records.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &RecordKey> {
        self.records.keys()
    }

    /// The keys in the order in which the Checkpoints were created.
    pub(super) fn keys_by_age(&self) -> Vec<RecordKey> {
        let mut keys: Vec<RecordKey> = self.records.keys().cloned().collect();
        keys.sort_by_cached_key(|key| self.records.get(key).and_then(|record| record.checkpoint.creation_timestamp()));
        keys
    }

    pub(super) fn insert(&mut self, key: RecordKey, checkpoint: Arc<Checkpoint>, boot: Duration) {
        let known = self.remove(&key);
        // Another one of the same name is a new one.
        let is_same = |known: &&UnfinishedRecord| known.checkpoint.uid() == checkpoint.uid();
        let count = known.as_ref().filter(is_same).map(|known| known.count).unwrap_or_default();
        self.add(key.namespace(), count);
        let known = known.filter(|known| has_same_attempt(&known.checkpoint, &checkpoint));
        let (since, refusals, resumes_at) =
            known.map_or((boot, 0, Duration::ZERO), |known| (known.since, known.refusals, known.resumes_at));
        self.by_subject.extend(RecordSubject::all_of(&checkpoint).map(|subject| (subject, key.clone())));
        self.records.insert(key, UnfinishedRecord { checkpoint, since, count, refusals, resumes_at });
    }

    /// The API server has refused an operation on this Checkpoint. Returns how long no other one starts. `jitter` is from 0 to 1.
    pub(super) fn refused(&mut self, key: &RecordKey, jitter: f64, boot: Duration) -> Duration {
        let Some(record) = self.records.get_mut(key) else { return REFUSED.wait(1, jitter) };
        record.refusals = record.refusals.saturating_add(1);
        let wait = REFUSED.wait(record.refusals, jitter);
        record.resumes_at = boot + wait;
        wait
    }

    pub(super) fn remove(&mut self, key: &RecordKey) -> Option<UnfinishedRecord> {
        let removed = self.records.remove(key)?;
        for subject in RecordSubject::all_of(&removed.checkpoint) {
            self.by_subject.remove(&(subject, key.clone()));
        }
        self.subtract(key.namespace(), removed.count);
        Some(removed)
    }

    /// Counts a Checkpoint, unless it was created by SnapWatcher for a container of a pod that exists.
    pub(super) fn count(&mut self, key: &RecordKey, has_container: bool) {
        let Some(record) = self.records.get(key) else { return };
        let before = record.count;
        let is_attempted = was_attempted(&record.checkpoint);
        let is_full = self.counted.get(key.namespace()).is_some_and(|count| *count >= self.limit);
        let count = match before {
            Count::Excess if !is_attempted => Count::Excess,
            _ if has_container => Count::Not,
            Count::Not if is_full && !is_attempted => Count::Excess,
            _ => Count::Counted,
        };
        self.subtract(key.namespace(), before);
        self.add(key.namespace(), count);
        if let Some(record) = self.records.get_mut(key) {
            record.count = count;
        }
    }

    /// Whether the limit was reached when this Checkpoint was to be counted.
    pub(super) fn is_excess(&self, key: &RecordKey) -> bool {
        self.records.get(key).is_some_and(|record| record.count == Count::Excess)
    }

    fn add(&mut self, namespace: &str, count: Count) {
        if count == Count::Counted {
            *self.counted.entry(namespace.to_owned()).or_default() += 1;
        }
    }

    fn subtract(&mut self, namespace: &str, count: Count) {
        if count == Count::Counted
            && let Some(counted) = self.counted.get_mut(namespace)
        {
            *counted -= 1;
            if *counted == 0 {
                self.counted.remove(namespace);
            }
        }
    }

    /// The next Checkpoint about that subject, in order; `None`: there are no more.
    pub(super) fn next_about(&self, subject: &RecordSubject, after: Option<&RecordKey>) -> Option<RecordKey> {
        let key = |key: &RecordKey| (subject.clone(), key.clone());
        let start =
            after.map_or_else(|| Bound::Included(key(&RecordKey::new("", ""))), |after| Bound::Excluded(key(after)));
        let (of, key) = self.by_subject.range((start, Bound::Unbounded)).next()?;
        (of == subject).then(|| key.clone())
    }
}

/// Whether there was an attempt, as far as people cannot have made it up: an annotation shows one, and the status shows it when it
/// was cancelled, because this process never sent it, or interrupted.
fn was_attempted(checkpoint: &Checkpoint) -> bool {
    let attempts = checkpoint.status.as_ref().map_or(0, |status| status.attempt);
    let can_be_made_up = || {
        let reason = checkpoint.reason().and_then(Reason::named);
        attempts == 1 && matches!(reason, Some(Reason::NotSent | Reason::Interrupted))
    };
    attempts > 0 && !first_attempt::is_in(checkpoint) && !can_be_made_up()
}

fn has_same_attempt(a: &Checkpoint, b: &Checkpoint) -> bool {
    let attempt = |checkpoint: &Checkpoint| {
        let status = checkpoint.status.as_ref()?;
        let start = status.start_time.as_ref().map(|start| start.0);
        Some((checkpoint.uid(), checkpoint.phase(), status.attempt, status.holder.clone(), start))
    };
    attempt(a) == attempt(b)
}
