//! Which Snapshots of this node are to be worked on, and when. One is worked on at a time.
//!
//! The namespaces take their places one after the other, so that one with many Snapshots delays no other.

use std::collections::HashMap;
use std::time::Duration;

use snapwatcher_kubernetes::backoff::Backoff;

/// How many Snapshots of one namespace may wait. More are found by a later listing.
const MOST_OF_NAMESPACE: usize = 2000;

/// A Snapshot, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// By the monotonic clock.
    due: Duration,
    failures: u32,
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Queue {
    backoff: Backoff,
    namespaces: HashMap<String, Namespace>,
    starts: u64,
}

#[derive(Debug, Default)]
struct Namespace {
    entries: HashMap<String, Entry>,
    /// The number of the last start.
    last_start: u64,
}

impl Queue {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, namespaces: HashMap::new(), starts: 0 }
    }

    /// A Snapshot is to be worked on. One that waits after a failure keeps its wait.
    pub(crate) fn add(&mut self, key: Key, now: Duration) {
        let waiting = &mut self.namespaces.entry(key.namespace).or_default().entries;
        if waiting.len() < MOST_OF_NAMESPACE || waiting.contains_key(&key.name) {
            waiting.entry(key.name).or_insert(Entry { due: now, failures: 0 });
        }
    }

    /// There is nothing left to do about a Snapshot.
    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(namespace) = self.namespaces.get_mut(&key.namespace) {
            namespace.entries.remove(&key.name);
            if namespace.entries.is_empty() {
                self.namespaces.remove(&key.namespace);
            }
        }
    }

    /// The next one that is due. It stays in the queue until [`Self::remove`].
    pub(crate) fn next(&mut self, now: Duration) -> Option<Key> {
        let due = |namespace: &Namespace| namespace.first().is_some_and(|(_, due)| due <= now);
        let waiting = self.namespaces.iter_mut().filter(|(_, namespace)| due(namespace));
        let (name, namespace) = waiting.min_by_key(|(name, namespace)| (namespace.last_start, (*name).clone()))?;
        let (first, _) = namespace.first()?;
        let key = Key { namespace: name.clone(), name: first.to_owned() };
        self.starts += 1;
        namespace.last_start = self.starts;
        Some(key)
    }

    /// The work on a Snapshot has failed. `least` is the wait that a registry requests.
    pub(crate) fn failed(&mut self, key: &Key, least: Option<Duration>, now: Duration) {
        let namespace = self.namespaces.get_mut(&key.namespace);
        let Some(entry) = namespace.and_then(|namespace| namespace.entries.get_mut(&key.name)) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.due = now + self.backoff.wait(entry.failures, fastrand::f64()).max(least.unwrap_or_default());
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.namespaces.values().filter_map(|namespace| namespace.first().map(|(_, due)| due)).min()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.entries.len()).sum()
    }
}

impl Namespace {
    fn first(&self) -> Option<(&str, Duration)> {
        let first = self.entries.iter().min_by_key(|(name, entry)| (entry.due, *name))?;
        Some((first.0, first.1.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(100));

    fn key(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_namespace_with_many_snapshots_delays_no_other() {
        let mut queue = Queue::new(BACKOFF);
        for name in ["1", "2", "3"] {
            queue.add(key("many", name), seconds(0));
        }
        queue.add(key("one", "1"), seconds(1));
        let mut order = Vec::new();
        while let Some(next) = queue.next(seconds(2)) {
            queue.remove(&next);
            order.push(format!("{}/{}", next.namespace, next.name));
        }
        assert_eq!(order, ["many/1", "one/1", "many/2", "many/3"]);
    }

    #[test]
    fn a_change_does_not_shorten_the_wait_after_a_failure() {
        let mut queue = Queue::new(BACKOFF);
        queue.add(key("shop", "1"), seconds(0));
        queue.failed(&key("shop", "1"), None, seconds(0));
        queue.add(key("shop", "1"), seconds(1));
        assert_eq!(queue.next(seconds(7)), None);
        assert!(queue.next(seconds(13)).is_some());
        queue.failed(&key("shop", "1"), Some(seconds(500)), seconds(13));
        assert_eq!(queue.next_due(), Some(seconds(513)));
    }

    #[test]
    fn what_waits_of_one_namespace_is_bounded() {
        let mut queue = Queue::new(BACKOFF);
        for number in 0..MOST_OF_NAMESPACE + 10 {
            queue.add(key("shop", &number.to_string()), seconds(0));
        }
        assert_eq!(queue.len(), MOST_OF_NAMESPACE);
    }
}
