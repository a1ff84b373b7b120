//! The admissions that this process answered, until their pods are seen in the watch.
//!
//! Each review of a labelled pod writes here, and an API server waits for it. So it only puts down a line behind the last
//! one; whoever looks for an admission puts what has come in order first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How many admissions there may be in a generation: this many wait for their pods to be seen, and at times twice as many.
const MOST: usize = 5_000;
/// A pod shows up in the watch within moments of its admission; a rejected one never does.
const AGE: Duration = Duration::from_secs(600);

/// When each was answered, by the UID of its request. Bounded in number and age.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    /// What was not put in order yet, [`MOST`] at the most. Locked for some instructions.
    come: Mutex<VecDeque<Admitted>>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Admitted {
    request_uid: Box<str>,
    at: Timestamp,
}

/// The older generation goes as a whole, so the order within does not have to be kept.
#[derive(Debug, Default)]
struct Kept {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    times: HashMap<Box<str>, Timestamp>,
    /// When the first came.
    begun: Option<Timestamp>,
}

impl Admissions {
    /// Remembers an admission; another of the same request takes its place.
    pub(super) fn insert(&self, request_uid: &str, at: Timestamp) {
        let admitted = Admitted { request_uid: request_uid.into(), at };
        let mut come = lock(&self.come);
        let gone = if come.len() < MOST { None } else { come.pop_front() };
        come.push_back(admitted);
        drop(come);
        drop(gone);
    }

    /// When the request of that UID was answered, if it was here and of late.
    pub(super) fn get(&self, request_uid: &str, now: Timestamp) -> Option<Timestamp> {
        // In this order, so that of two who look at once the later does not miss what the earlier has taken.
        let mut kept = lock(&self.kept);
        let come = std::mem::take(&mut *lock(&self.come));
        for admitted in come {
            kept.insert(admitted);
        }
        kept.get(request_uid).filter(|at| !is_old(*at, now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn insert(&mut self, Admitted { request_uid, at }: Admitted) {
        // A new generation begins where the young one is full or as old as its entries may be.
        if self.young.times.len() >= MOST || self.young.begun.is_some_and(|begun| is_old(begun, at)) {
            // As large at once: a map that grows moves all that it holds.
            let times = HashMap::with_capacity(self.young.times.len());
            self.old = std::mem::replace(&mut self.young, Generation { times, begun: None });
        }
        self.young.begun.get_or_insert(at);
        self.young.times.insert(request_uid, at);
    }

    fn get(&self, request_uid: &str) -> Option<Timestamp> {
        self.young.times.get(request_uid).or_else(|| self.old.times.get(request_uid)).copied()
    }
}

/// Whether an admission is too old to be joined with a pod; where the clock was set back, none is.
fn is_old(at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// How many are remembered.
    fn count(admissions: &Admissions) -> usize {
        let kept = lock(&admissions.kept);
        lock(&admissions.come).len() + kept.young.times.len() + kept.old.times.len()
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
    fn a_request_that_is_answered_again_is_remembered_as_of_the_last_time() {
        for between in [0, MOST] {
            let admissions = Admissions::default();
            admissions.insert("r-1", at(1));
            for number in 0..between {
                admissions.insert(&number.to_string(), at(1));
            }
            admissions.insert("r-1", at(2));
            assert_eq!(admissions.get("r-1", at(3)), Some(at(2)), "{between}");
        }
    }

    #[test]
    fn admissions_are_bounded_in_number_and_the_latest_are_found() {
        let admissions = Admissions::default();
        for number in 0..MOST * 5 {
            admissions.insert(&number.to_string(), at(0));
            assert!(admissions.get(&number.saturating_sub(MOST - 1).to_string(), at(1)).is_some(), "{number}");
            assert!(count(&admissions) <= 2 * MOST, "{number}");
        }
        assert_eq!(admissions.get("0", at(1)), None);
    }

    #[test]
    fn admissions_that_nobody_looks_for_are_bounded_in_number_and_the_latest_are_found() {
        let admissions = Admissions::default();
        for number in 0..MOST * 3 {
            admissions.insert(&number.to_string(), at(0));
        }
        assert_eq!(count(&admissions), MOST);
        for (number, expected) in [(MOST * 3 - 1, true), (MOST * 2, true), (MOST * 2 - 1, false)] {
            assert_eq!(admissions.get(&number.to_string(), at(1)).is_some(), expected, "{number}");
        }
    }

    #[test]
    fn what_is_too_old_takes_no_memory_once_others_come() {
        let admissions = Admissions::default();
        for number in 0..100 {
            admissions.insert(&number.to_string(), at(number));
        }
        admissions.insert("later", at(10_000));
        admissions.insert("still later", at(20_000));
        assert!(admissions.get("still later", at(20_000)).is_some());
        assert_eq!(count(&admissions), 2);
    }
}
