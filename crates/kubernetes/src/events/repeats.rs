//! The memory of warnings that were published lately, so that repeats are counted in one Event.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::queued::QueuedEvent;

/// How many warnings are remembered, each with its name about 150 bytes. A repeat of a forgotten one is an Event of its own.
const MAX_EVENTS: usize = 1000;
/// A warning is forgotten if it was not repeated for this long. The longest wait before a retry is 5 min.
const MAX_AGE: Duration = Duration::from_secs(360);

/// How an Event is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    /// The key of the Event in the memory.
    pub(super) key: u64,
    pub(super) name: String,
    /// How often the Event has happened, this time included. 1: it is created; more: the count of the existing one is raised.
    pub(super) count: i32,
}

#[derive(Debug)]
struct Published {
    name: String,
    count: i32,
    last: Timestamp,
}

/// Warnings by a hash of what makes them the same Event.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    published: HashMap<u64, Published>,
}

impl Repeats {
    /// Decides how to publish an Event. Only warnings are remembered: a success has no repeat.
    pub(super) fn publication(&mut self, event: &QueuedEvent, now: Timestamp) -> Publication {
        let mut hasher = self.hasher.build_hasher();
        event.hash_identity(&mut hasher);
        let key = std::hash::Hasher::finish(&hasher);
        if !event.is_warning {
            return Publication { key, name: event.name_at(now), count: 1 };
        }
        self.published.retain(|_, published| !is_old(published, now));
        if let Some(published) = self.published.get_mut(&key) {
            published.count = published.count.saturating_add(1);
            published.last = now;
            return Publication { key, name: published.name.clone(), count: published.count };
        }
        if self.published.len() >= MAX_EVENTS {
            let oldest = self.published.iter().min_by_key(|(_, published)| published.last).map(|(key, _)| *key);
            oldest.and_then(|oldest| self.published.remove(&oldest));
        }
        let name = event.name_at(now);
        self.published.insert(key, Published { name: name.clone(), count: 1, last: now });
        Publication { key, name, count: 1 }
    }

    /// Forgets an Event that could not be published, so that its repeat is created.
    pub(super) fn forget(&mut self, key: u64) {
        self.published.remove(&key);
    }
}

/// After the clock was set back, a warning is younger than nothing, and is still remembered.
fn is_old(published: &Published, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(published.last)).is_ok_and(|age| age >= MAX_AGE)
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::at;
    use snapwatcher_api::pod::PodName;

    use super::super::queued::ObjectKind;

    use super::*;

    fn event(pod: &str, is_warning: bool) -> QueuedEvent {
        QueuedEvent {
            kind: ObjectKind::Pod,
            object: PodName { namespace: "default".into(), name: pod.into() },
            uid: Some(format!("uid-of-{pod}")),
            checkpoint: None,
            is_warning,
            action: "Checkpoint",
            reason: "Busy",
            note: "differs".to_owned(),
        }
    }

    #[test]
    fn a_repeat_within_minutes_is_counted_in_the_first_event() {
        let mut repeats = Repeats::default();
        let first = repeats.publication(&event("web", true), at(0));
        assert_eq!(first.count, 1);
        for (second, count) in [(300, 2), (600, 3)] {
            let repeat = repeats.publication(&event("web", true), at(second));
            assert_eq!((repeat.count, repeat.name), (count, first.name.clone()));
        }
        assert_eq!(repeats.publication(&event("db", true), at(600)).count, 1, "another pod");
        assert_eq!(repeats.publication(&event("web", true), at(960)).count, 1, "a new series");
    }

    #[test]
    fn a_success_is_not_remembered() {
        let mut repeats = Repeats::default();
        let publications = [0, 1].map(|second| repeats.publication(&event("web", false), at(second)));
        assert!(publications.iter().all(|publication| publication.count == 1));
        assert_ne!(publications[0].name, publications[1].name);
        assert!(repeats.published.is_empty());
    }

    #[test]
    fn an_event_that_was_not_published_is_forgotten() {
        let mut repeats = Repeats::default();
        let key = repeats.publication(&event("web", true), at(0)).key;
        repeats.forget(key);
        assert_eq!(repeats.publication(&event("web", true), at(1)).count, 1);
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut repeats = Repeats::default();
        for number in 0..=MAX_EVENTS {
            let second = i64::from(u8::from(number > 0));
            repeats.publication(&event(&number.to_string(), true), at(second));
        }
        assert_eq!(repeats.published.len(), MAX_EVENTS);
        assert_eq!(repeats.publication(&event("1", true), at(2)).count, 2);
        assert_eq!(repeats.publication(&event("0", true), at(2)).count, 1);
    }
}
