//! The admissions that this process answered, until the watch shows their pods.
//!
//! An API server waits while an admission is stored, so storing is one push to a ring, without an allocation. The ring
//! has hashes of the requests' UIDs, so its size does not depend on what clients send.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How many admissions are kept, 24 bytes each. The oldest is dropped first.
const MAX_ADMISSIONS: usize = 10_000;
/// An admission does not count after this time. The watch shows a pod within moments of its admission, or never if the API
/// server rejected the pod afterwards.
const MAX_AGE: Duration = Duration::from_secs(600);

/// When each admission request was answered.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    hasher: RandomState,
    /// The latest last. A pod that the watch shows was admitted a moment ago, so a search from the end is short.
    ring: Mutex<VecDeque<(u64, Timestamp)>>,
}

impl Admissions {
    /// Stores an admission. Another one of the same request replaces it.
    pub(super) fn insert(&self, request_uid: &str, at: Timestamp) {
        let hash = self.hasher.hash_one(request_uid);
        let mut ring = self.ring();
        if ring.len() >= MAX_ADMISSIONS {
            ring.pop_front();
        }
        ring.push_back((hash, at));
    }

    /// When this process answered that request, if it did so in the last ten minutes.
    pub(super) fn get(&self, request_uid: &str, now: Timestamp) -> Option<Timestamp> {
        let hash = self.hasher.hash_one(request_uid);
        let at = self.ring().iter().rev().find(|(stored, _)| *stored == hash).map(|(_, at)| *at)?;
        // After the clock was set back, an admission is younger than nothing, and still counts.
        let is_old = Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= MAX_AGE);
        (!is_old).then_some(at)
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<(u64, Timestamp)>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::at;

    use super::*;

    #[test]
    fn an_admission_counts_for_ten_minutes_also_after_the_clock_was_set_back() {
        let admissions = Admissions::default();
        admissions.insert("r", at(1_000));
        for (now, expected) in [(1_000, true), (1_599, true), (1_600, false), (0, true)] {
            assert_eq!(admissions.get("r", at(now)).is_some(), expected, "{now}");
        }
        assert_eq!(admissions.get("another", at(1_000)), None);
    }

    #[test]
    fn the_oldest_admission_is_dropped_when_there_are_too_many() {
        let admissions = Admissions::default();
        for number in 0..=MAX_ADMISSIONS {
            admissions.insert(&number.to_string(), at(0));
        }
        assert_eq!(admissions.get("0", at(1)), None);
        assert!(admissions.get("1", at(1)).is_some() && admissions.get(&MAX_ADMISSIONS.to_string(), at(1)).is_some());
        assert_eq!(admissions.ring().len(), MAX_ADMISSIONS);
    }
}
