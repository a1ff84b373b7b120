//! The admissions that this process answered, until their pods are seen in the watch.
//!
//! Each review of a labelled pod writes here, so it is a map behind a lock that is held for some hundred nanoseconds: a
//! cache that keeps the order of use and the age of its entries by itself costs ten times as much for each of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How many admissions wait for their pod to be seen; the oldest goes first.
const MOST: usize = 10_000;
/// A pod shows up in the watch within moments of its admission; a rejected one never does.
const AGE: Duration = Duration::from_secs(600);

/// When each was answered, by the UID of its request. Bounded in number and age.
#[derive(Debug, Default)]
pub(super) struct Admissions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    times: HashMap<Arc<str>, Timestamp>,
    /// The keys of `times`, each once, in the order in which they came.
    order: VecDeque<Arc<str>>,
}

impl Admissions {
    /// Remembers an admission; another of the same request takes its place.
    pub(super) fn insert(&self, request_uid: &str, at: Timestamp) {
        let mut kept = self.kept();
        kept.forget_before(at);
        if let Some(time) = kept.times.get_mut(request_uid) {
            *time = at;
            return;
        }
        if kept.order.len() >= MOST {
            kept.forget_oldest();
        }
        let uid: Arc<str> = request_uid.into();
        kept.order.push_back(Arc::clone(&uid));
        kept.times.insert(uid, at);
    }

    /// When the request of that UID was answered, if it was here and of late.
    pub(super) fn get(&self, request_uid: &str, now: Timestamp) -> Option<Timestamp> {
        let mut kept = self.kept();
        kept.forget_before(now);
        kept.times.get(request_uid).copied()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Forgets what is too old at that time; where the clock was set back, a little later.
    fn forget_before(&mut self, now: Timestamp) {
        let is_old = |at: &Timestamp| Duration::try_from(now.duration_since(*at)).is_ok_and(|age| age >= AGE);
        while self.order.front().and_then(|uid| self.times.get(uid)).is_some_and(is_old) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(uid) = self.order.pop_front() {
            self.times.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Kept {
        fn lengths(&self) -> (usize, usize) {
            (self.times.len(), self.order.len())
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn an_admission_is_found_until_it_is_too_old() {
        for (second, expected) in [(1, Some(at(1))), (0, Some(at(1))), (600, Some(at(1))), (601, None), (9_999, None)] {
            let admissions = Admissions::default();
            admissions.insert("r-1", at(1));
            assert_eq!(admissions.get("r-1", at(second)), expected, "after {second} s");
            assert_eq!(admissions.get("r-2", at(second)), None);
        }
    }

    #[test]
    fn a_request_that_is_answered_again_is_remembered_once_and_as_of_the_last_time() {
        let admissions = Admissions::default();
        admissions.insert("r-1", at(1));
        admissions.insert("r-1", at(2));
        assert_eq!(admissions.get("r-1", at(3)), Some(at(2)));
        assert_eq!(admissions.kept().order.len(), 1);
    }

    #[test]
    fn admissions_are_bounded_in_number_and_the_oldest_goes_first() {
        let admissions = Admissions::default();
        for number in 0..MOST + 2 {
            admissions.insert(&number.to_string(), at(0));
        }
        let found = [0, 1, 2, MOST + 1].map(|number| admissions.get(&number.to_string(), at(1)).is_some());
        assert_eq!(found, [false, false, true, true]);
        assert_eq!(admissions.kept().lengths(), (MOST, MOST));
    }

    #[test]
    fn what_is_too_old_takes_no_memory_once_another_comes() {
        let admissions = Admissions::default();
        for number in 0..100 {
            admissions.insert(&number.to_string(), at(number));
        }
        admissions.insert("later", at(10_000));
        assert_eq!(admissions.kept().lengths(), (1, 1));
    }
}
