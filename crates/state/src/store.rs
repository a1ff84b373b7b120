//! All timelines, bounded in number, bytes and age.
//!
//! A pod is found by namespace and UID, so that a Checkpoint of one namespace with the UID of a pod of another one changes
//! nothing there. If there are too many timelines, the namespace with the most loses some: the others keep theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use snapwatcher_api::pod::PodName;

use super::namespace_timelines::{NamespaceTimelines, Size};
use super::stored::{Stored, Uid};
use super::timeline::{PageStart, PodTimeline};
use super::words::{Words, cut};

/// How many timelines are kept.
pub(super) const MAX_TIMELINES: usize = 10_000;
/// How much memory they take, see [`Stored::bytes`]. 10,000 timelines of usual pods take about half of it.
const MAX_BYTES: usize = 10 << 20;
/// A timeline that was not changed for this long is dropped.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// How often old timelines are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Timelines by namespace. Times count from when the store was made.
#[derive(Debug, Default)]
pub(super) struct Store {
    namespaces: HashMap<Arc<str>, NamespaceTimelines>,
    words: Words,
    total: Size,
    /// How many were dropped although they were not old.
    pub(super) evictions: Counter,
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
        let (uid, namespace) = (Uid::from(uid), self.words.shared(&pod.namespace));
        let is_new = !self.namespaces.get(&namespace).is_some_and(|timelines| timelines.contains(&uid));
        if is_new && self.total.timelines >= MAX_TIMELINES {
            self.drop_from_largest(|size| size.timelines);
        }
        // No two changes have the same number.
        self.last_change = microseconds(now).max(self.last_change + 1);
        let timelines = self.namespaces.entry(namespace).or_default();
        let before = timelines.size();
        timelines.update(&pod.name, uid, self.last_change, &mut self.words, change);
        self.total = self.total.with(before, timelines.size());
        while self.total.bytes > MAX_BYTES && self.total.timelines > 1 {
            self.drop_from_largest(|size| size.bytes);
        }
    }

    pub(super) fn get(&self, namespace: &str, uid: &str) -> Option<PodTimeline> {
        self.namespaces.get(cut(namespace))?.get(namespace, &uid.into())
    }

    /// The next timelines in the order of [`PageStart`], at most `limit`, and whether there are more.
    pub(super) fn page(
        &mut self,
        namespace: Option<&str>,
        after: Option<&PageStart>,
        limit: usize,
        now: Duration,
    ) -> (Vec<PodTimeline>, bool) {
        self.drop_old(now);
        let after = after.map(|after| (&*after.namespace, &*after.name, Uid::from(&*after.uid)));
        let mut rows: Vec<Row<'_>> = self
            .namespaces
            .iter()
            .filter(|(name, _)| namespace.is_none_or(|namespace| cut(namespace) == &***name))
            .flat_map(|(namespace, of)| of.iter().map(move |(uid, stored)| (&**namespace, uid, stored)))
            .filter(|row| after.as_ref().is_none_or(|(of, name, uid)| order(row) > (*of, *name, uid)))
            .collect();
        let has_more = rows.len() > limit;
        if has_more {
            // Only the rows of the page are sorted.
            rows.select_nth_unstable_by(limit, |a, b| order(a).cmp(&order(b)));
            rows.truncate(limit);
        }
        rows.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        let timelines = rows.into_iter().map(|(namespace, uid, stored)| stored.timeline(namespace, uid)).collect();
        (timelines, has_more)
    }

    fn drop_old(&mut self, now: Duration) {
        let Some(youngest) = now.checked_sub(MAX_AGE) else { return };
        for timelines in self.namespaces.values_mut() {
            let before = timelines.size();
            timelines.drop_up_to(microseconds(youngest));
            self.total = self.total.with(before, timelines.size());
        }
        self.namespaces.retain(|_, timelines| !timelines.is_empty());
    }

    /// Drops some timelines of the namespace that has the most by this measure.
    fn drop_from_largest(&mut self, measure: impl Fn(Size) -> usize) {
        let largest = self.namespaces.iter_mut().max_by_key(|(_, timelines)| measure(timelines.size()));
        let Some((namespace, timelines)) = largest else { return };
        let before = timelines.size();
        timelines.drop_some();
        self.total = self.total.with(before, timelines.size());
        self.evictions.inc_by((before.timelines - timelines.size().timelines) as u64);
        if timelines.is_empty() {
            let namespace = Arc::clone(namespace);
            self.namespaces.remove(&namespace);
        }
    }
}

/// Namespace, UID of the pod, and timeline.
type Row<'a> = (&'a str, &'a Uid, &'a Stored);

/// The key by which rows are sorted.
fn order<'a>(&(namespace, uid, stored): &Row<'a>) -> (&'a str, &'a str, &'a Uid) {
    (namespace, stored.name(), uid)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
