//! All timelines, bounded in number, bytes and age.

use std::collections::HashMap;
use std::time::Duration;

use snapwatcher_api::pod::PodName;

use super::stored::{Stored, Uid};
use super::timeline::PodTimeline;
use super::words::Words;

/// How many timelines are kept.
pub(super) const MAX_TIMELINES: usize = 10_000;
/// How much memory they take, see [`Stored::bytes`]. 10,000 timelines of usual pods take about half of it.
const MAX_BYTES: usize = 10 << 20;
/// If there are too many, this part of them is dropped at once, those that were not changed for longest.
const DROPPED_PART: usize = 16;
/// A timeline that was not changed for this long is dropped.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// How often old timelines are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Timelines by UID of the pod. Times count from when the store was made.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Boxed, since a map has up to twice as many slots as entries.
    timelines: HashMap<Uid, Box<Stored>>,
    words: Words,
    bytes: usize,
    last_change: u64,
    last_sweep: Duration,
}

impl Store {
    /// Changes the timeline of a pod. A pod that has none gets one.
    pub(super) fn update(
        &mut self,
        pod: &PodName,
        uid: &str,
        now: Duration,
        change: impl FnOnce(&mut Stored, &mut Words),
    ) {
        if now.saturating_sub(self.last_sweep) >= SWEEP_INTERVAL {
            self.last_sweep = now;
            self.drop_old(now);
        }
        let uid = Uid::from(uid);
        if self.timelines.len() >= MAX_TIMELINES && !self.timelines.contains_key(&uid) {
            self.drop_some();
        }
        // No two changes have the same number.
        self.last_change = microseconds(now).max(self.last_change + 1);
        let words = &mut self.words;
        let stored = self.timelines.entry(uid).or_insert_with(|| {
            let stored = Box::new(Stored::new(pod, words));
            self.bytes += stored.bytes();
            stored
        });
        let before = stored.bytes();
        change(stored, words);
        stored.last_change = self.last_change;
        self.bytes = (self.bytes + stored.bytes()).saturating_sub(before);
        while self.bytes > MAX_BYTES && self.timelines.len() > 1 {
            self.drop_some();
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<PodTimeline> {
        let uid = Uid::from(uid);
        self.timelines.get(&uid).map(|stored| stored.timeline(&uid))
    }

    pub(super) fn all(&mut self, now: Duration) -> Vec<PodTimeline> {
        self.drop_old(now);
        self.timelines.iter().map(|(uid, stored)| stored.timeline(uid)).collect()
    }

    fn drop_old(&mut self, now: Duration) {
        if let Some(youngest) = now.checked_sub(MAX_AGE) {
            self.drop_up_to(microseconds(youngest));
        }
    }

    /// Drops those that were not changed for longest.
    fn drop_some(&mut self) {
        let mut changes: Vec<u64> = self.timelines.values().map(|stored| stored.last_change).collect();
        let last_dropped = (changes.len() / DROPPED_PART).saturating_sub(1);
        let (_, last_change, _) = changes.select_nth_unstable(last_dropped);
        self.drop_up_to(*last_change);
    }

    /// Drops all whose last change was then or before.
    fn drop_up_to(&mut self, last_change: u64) {
        let bytes = &mut self.bytes;
        self.timelines.retain(|_, stored| {
            let is_kept = stored.last_change > last_change;
            if !is_kept {
                *bytes = bytes.saturating_sub(stored.bytes());
            }
            is_kept
        });
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::LONGEST_TEXT;

    const NOW: Duration = Duration::from_secs(100);

    fn pod() -> PodName {
        PodName { namespace: "default".into(), name: "web".into() }
    }

    #[test]
    fn timelines_are_bounded_in_number() {
        let mut store = Store::default();
        for number in 0..MAX_TIMELINES + 500 {
            store.update(&pod(), &number.to_string(), NOW, |_, _| {});
            store.update(&pod(), "0", NOW, |_, _| {});
        }
        assert!((MAX_TIMELINES * 9 / 10..=MAX_TIMELINES).contains(&store.timelines.len()));
        let is_kept = |number: usize| store.get(&number.to_string()).is_some();
        assert!(is_kept(MAX_TIMELINES + 499) && is_kept(0), "the newest, and one that was changed later");
        assert!(!is_kept(1) && !is_kept(500), "the oldest");
    }

    #[test]
    fn timelines_are_bounded_in_bytes() {
        let mut store = Store::default();
        for number in 0..MAX_TIMELINES {
            store.update(&pod(), &number.to_string(), NOW, |stored, words| {
                for container in 0..10 {
                    stored.update_container(&format!("{container}"), words, |timeline| {
                        timeline.checkpoint = Some("x".repeat(1000));
                    });
                }
            });
            assert!(store.bytes <= MAX_BYTES);
        }
        let stored: Vec<_> = store.timelines.values().collect();
        assert_eq!(store.bytes, stored.iter().map(|stored| stored.bytes()).sum::<usize>());
        assert!((2000..5000).contains(&stored.len()), "{}", stored.len());
        let checkpoint = store.get("9999").unwrap().containers["0"].checkpoint.clone();
        assert_eq!(checkpoint, Some("x".repeat(LONGEST_TEXT)));
    }

    #[test]
    fn a_timeline_is_dropped_a_day_after_its_last_change() {
        let mut store = Store::default();
        store.update(&pod(), "old", NOW, |_, _| {});
        store.update(&pod(), "young", NOW * 2, |_, _| {});
        assert_eq!(store.all(NOW + MAX_AGE.saturating_sub(Duration::from_secs(1))).len(), 2);
        store.update(&pod(), "new", NOW + MAX_AGE, |_, _| {});
        assert!(store.get("old").is_none() && store.get("young").is_some());
        assert_eq!(store.all(NOW * 2 + MAX_AGE).len(), 1);
    }

    #[test]
    fn a_usual_timeline_takes_less_than_600_bytes() {
        let mut store = Store::default();
        let pod = PodName { namespace: "production".into(), name: "checkout-7d5d69f7c4-x2x9z".into() };
        store.update(&pod, "0b5c9d7e-1111-2222-3333-444455556666", NOW, |stored, words| {
            stored.set_waiting_for(Some("NotReady"), words);
            stored.update_container("app", words, |container| {
                container.checkpoint = Some("checkout-7d5d69f7c4-x2x9z-app-0123456789".to_owned());
                container.outcome = Some("Succeeded".to_owned());
            });
        });
        assert!(store.bytes < 600, "{}", store.bytes);
    }
}
