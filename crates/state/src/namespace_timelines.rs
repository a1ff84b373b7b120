//! The timelines of one namespace.

use std::collections::HashMap;
use std::sync::Arc;

use super::stored::{Stored, Uid};
use super::timeline::PodTimeline;
use super::words::Words;

/// If there are too many, this part of them is dropped at once, at least one.
const DROPPED_PART: usize = 16;
/// What the two maps need for a namespace beside its timelines, estimated from above.
const OVERHEAD: usize = 512;

/// A number of timelines and the memory that they take, see [`Stored::bytes`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) timelines: usize,
    pub(super) bytes: usize,
}

impl Size {
    /// This sum, after one of its parts has changed.
    pub(super) fn with(self, before: Self, after: Self) -> Self {
        let sum = |total: usize, before: usize, after: usize| (total + after).saturating_sub(before);
        Self {
            timelines: sum(self.timelines, before.timelines, after.timelines),
            bytes: sum(self.bytes, before.bytes, after.bytes),
        }
    }
}

/// By UID of the pod.
#[derive(Debug, Default)]
pub(super) struct NamespaceTimelines {
    /// Boxed, since a map has up to twice as many slots as entries.
    timelines: HashMap<Uid, Box<Stored>>,
    bytes: usize,
}

impl NamespaceTimelines {
    pub(super) fn size(&self) -> Size {
        let timelines = self.timelines.len();
        Size { timelines, bytes: if timelines == 0 { 0 } else { OVERHEAD + self.bytes } }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.timelines.is_empty()
    }

    pub(super) fn contains(&self, uid: &Uid) -> bool {
        self.timelines.contains_key(uid)
    }

    /// Changes the timeline of a pod. A pod that has none gets one. `last_change` is the number of this change.
    pub(super) fn update(
        &mut self,
        name: &Arc<str>,
        uid: Uid,
        last_change: u64,
        words: &mut Words,
        change: impl FnOnce(&mut Stored, &mut Words),
    ) {
        let stored = self.timelines.entry(uid).or_insert_with(|| {
            let stored = Box::new(Stored::new(name));
            self.bytes += stored.bytes();
            stored
        });
        let before = stored.bytes();
        change(stored, words);
        stored.last_change = last_change;
        self.bytes = (self.bytes + stored.bytes()).saturating_sub(before);
    }

    pub(super) fn get(&self, namespace: &str, uid: &Uid) -> Option<PodTimeline> {
        self.timelines.get(uid).map(|stored| stored.timeline(namespace, uid))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, &Stored)> {
        self.timelines.iter().map(|(uid, stored)| (uid, stored.as_ref()))
    }

    /// Drops those that were not changed for longest.
    pub(super) fn drop_some(&mut self) {
        let mut changes: Vec<u64> = self.timelines.values().map(|stored| stored.last_change).collect();
        if changes.is_empty() {
            return;
        }
        let last_dropped = (changes.len() / DROPPED_PART).saturating_sub(1);
        let (_, last_change, _) = changes.select_nth_unstable(last_dropped);
        self.drop_up_to(*last_change);
    }

    /// Drops all whose last change was then or before.
    pub(super) fn drop_up_to(&mut self, last_change: u64) {
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
