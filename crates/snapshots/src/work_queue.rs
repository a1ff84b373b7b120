//! Which Checkpoints and Snapshots are to be worked on, and when: each with a back-off of its own.
//!
//! The namespaces take their places one after the other, so that one with many objects, or with calls that take long, delays no other.
//! An object is known by its name alone: what is to be done is decided by a live read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use snapwatcher_kubernetes::backoff::Backoff;

/// How many objects are worked on at once.
pub(crate) const AT_ONCE: usize = 8;
/// How many of one namespace.
const OF_NAMESPACE_AT_ONCE: usize = 2;
/// How many objects of one namespace may wait. More are found by a later listing.
const MOST_OF_NAMESPACE: usize = 2000;
/// The waits after failures in a row.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// After so many rejections in a row, in about an hour, an object is left until it changes: a policy may never permit the write.
const MOST_REJECTIONS: u32 = 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Checkpoint,
    Snapshot,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "Checkpoint",
            Self::Snapshot => "Snapshot",
        }
    }
}

/// An object to work on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// How work on an object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// Another writer was first: it is looked at again soon.
    Overtaken,
    /// Nothing can be done now.
    Later(Duration),
    /// `is_rejected`: the API server does not accept this object, and others can still succeed. `least`: the wait that a server
    /// requests.
    Failed {
        is_rejected: bool,
        least: Option<Duration>,
    },
}

/// After a conflict.
const OVERTAKEN_WAIT: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// By the monotonic clock.
    due: Duration,
    failures: u32,
    rejections: u32,
    is_running: bool,
    /// It has changed while it was worked on.
    has_changed: bool,
}

#[derive(Debug, Default)]
struct Namespace {
    entries: HashMap<(Kind, String), Entry>,
    running: usize,
    /// The number of the last start, so that the namespace that waits longest is next.
    last_start: u64,
}

#[derive(Debug, Default)]
pub(crate) struct WorkQueue {
    namespaces: BTreeMap<String, Namespace>,
    running: usize,
    starts: u64,
    /// An object was left out, because its namespace has too many.
    has_left_out: bool,
}

impl WorkQueue {
    /// An object has changed: it is worked on at once.
    pub(crate) fn add(&mut self, key: Key, now: Duration) {
        let namespace = self.namespaces.entry(key.namespace).or_default();
        let entry = (key.kind, key.name);
        if namespace.entries.len() >= MOST_OF_NAMESPACE && !namespace.entries.contains_key(&entry) {
            self.has_left_out = true;
            return;
        }
        let entry = namespace.entries.entry(entry).or_insert(Entry { due: now, ..Entry::default() });
        entry.has_changed = entry.is_running;
        entry.rejections = 0;
        // A change does not shorten the wait after a failure: people can change objects all the time.
        if entry.failures == 0 && !entry.is_running {
            entry.due = entry.due.min(now);
        }
    }

    /// The next object to work on, if there is one and a place for it.
    pub(crate) fn start(&mut self, now: Duration) -> Option<Key> {
        if self.running >= AT_ONCE {
            return None;
        }
        let has_place = |namespace: &&mut Namespace| {
            namespace.running < OF_NAMESPACE_AT_ONCE && namespace.first().is_some_and(|(_, due)| due <= now)
        };
        let waiting = self.namespaces.iter_mut().filter(|(_, namespace)| has_place(namespace));
        let (name, namespace) = waiting.min_by_key(|(_, namespace)| namespace.last_start)?;
        let ((kind, object), _) = namespace.first()?;
        let entry = namespace.entries.get_mut(&(kind, object.clone()))?;
        entry.is_running = true;
        self.starts += 1;
        (namespace.running, namespace.last_start) = (namespace.running + 1, self.starts);
        self.running += 1;
        Some(Key { kind, namespace: name.clone(), name: object })
    }

    /// Work on an object that [`Self::start`] returned has ended. True: it is left, because it was rejected too often.
    pub(crate) fn finish(&mut self, key: &Key, end: End, now: Duration) -> bool {
        self.running = self.running.saturating_sub(1);
        let Some(namespace) = self.namespaces.get_mut(&key.namespace) else { return false };
        namespace.running = namespace.running.saturating_sub(1);
        let id = (key.kind, key.name.clone());
        let Some(entry) = namespace.entries.get_mut(&id) else { return false };
        let has_changed = std::mem::take(&mut entry.has_changed);
        entry.is_running = false;
        let wait = match end {
            End::Done | End::Later(_) if has_changed => Some(Duration::ZERO),
            End::Done => None,
            End::Overtaken => Some(OVERTAKEN_WAIT),
            End::Later(wait) => Some(wait),
            End::Failed { is_rejected, least } => {
                entry.failures = entry.failures.saturating_add(1);
                entry.rejections = if is_rejected { entry.rejections + 1 } else { 0 };
                let wait = BACKOFF.wait(entry.failures, fastrand::f64());
                (entry.rejections < MOST_REJECTIONS).then(|| wait.max(least.unwrap_or_default()))
            }
        };
        if !matches!(end, End::Failed { .. }) {
            (entry.failures, entry.rejections) = (0, 0);
        }
        if let Some(wait) = wait {
            entry.due = now + wait;
        } else {
            namespace.entries.remove(&id);
            if namespace.entries.is_empty() && namespace.running == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
        wait.is_none() && end != End::Done
    }

    /// When the next object is due that has a place; `None`: only the end of work, or a change, leads to more.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        if self.running >= AT_ONCE {
            return None;
        }
        let with_place = self.namespaces.values().filter(|namespace| namespace.running < OF_NAMESPACE_AT_ONCE);
        with_place.filter_map(|namespace| namespace.first().map(|(_, due)| due)).min()
    }

    /// Whether objects were left out since the last call that a new listing would find, and there is room for them.
    pub(crate) fn take_left_out(&mut self) -> bool {
        let has_room = self.namespaces.values().all(|namespace| namespace.entries.len() < MOST_OF_NAMESPACE / 2);
        has_room && std::mem::take(&mut self.has_left_out)
    }

    /// Forgets everything. Work that runs has to be ended before.
    pub(crate) fn clear(&mut self) {
        *self = Self { starts: self.starts, ..Self::default() };
    }
}

impl Namespace {
    /// The object that is due first, if it is not worked on.
    fn first(&self) -> Option<((Kind, String), Duration)> {
        let waiting = self.entries.iter().filter(|(_, entry)| !entry.is_running);
        waiting.min_by_key(|(id, entry)| (entry.due, *id)).map(|(id, entry)| (id.clone(), entry.due))
    }
}

#[cfg(test)]
mod tests;
