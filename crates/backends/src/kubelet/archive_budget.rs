//! How many bytes of archives a namespace may have written to the disk of a node in a day.
//!
//! An archive is as large as the memory of its container, counts towards no quota, and is not removed by the kubelet. Without a
//! limit, a namespace could fill the disk of each node on which it has a pod, by deleting its Checkpoints or its pods again and
//! again. The budget is that of a token bucket: it is full at first, and refills evenly.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The budgets of all namespaces on all nodes.
#[derive(Debug)]
pub(super) struct ArchiveBudget {
    /// Bytes a day. `None`: no limit.
    per_day: Option<u64>,
    /// What was taken and has not refilled, by namespace and node.
    taken: Mutex<HashMap<(String, String), Taken>>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    bytes: u64,
    /// On the clock of the caller.
    at: Duration,
}

impl Taken {
    fn refilled(self, per_day: u64, now: Duration) -> Self {
        let refill = u128::from(per_day) * now.saturating_sub(self.at).as_millis() / DAY.as_millis();
        Self { bytes: self.bytes.saturating_sub(u64::try_from(refill).unwrap_or(u64::MAX)), at: now }
    }
}

impl ArchiveBudget {
    /// `per_day` is in bytes; 0: no limit.
    pub(super) fn new(per_day: u64) -> Self {
        Self { per_day: Some(per_day).filter(|bytes| *bytes > 0), taken: Mutex::default() }
    }

    /// Takes the bytes of one archive. An archive larger than the budget takes all of it, so that it can be written at all.
    ///
    /// `Err`: how long it takes until so much has refilled. `now` is a clock that never goes back.
    pub(super) fn take(&self, namespace: &str, node: &str, bytes: u64, now: Duration) -> Result<(), Duration> {
        let Some(per_day) = self.per_day else { return Ok(()) };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // What is full again need not be kept.
        taken.retain(|_, taken| taken.refilled(per_day, now).bytes > 0);
        let key = (namespace.to_owned(), node.to_owned());
        let before = taken.get(&key).map_or(0, |taken| taken.refilled(per_day, now).bytes);
        let after = before.saturating_add(bytes.min(per_day));
        if after > per_day {
            let missing = u128::from(after - per_day);
            let wait = missing * DAY.as_millis() / u128::from(per_day);
            return Err(Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)));
        }
        taken.insert(key, Taken { bytes: after, at: now });
        Ok(())
    }

    /// The archive of a [`Self::take`] was not written.
    pub(super) fn put_back(&self, namespace: &str, node: &str, bytes: u64) {
        let Some(per_day) = self.per_day else { return };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = taken.get_mut(&(namespace.to_owned(), node.to_owned())) {
            taken.bytes = taken.bytes.saturating_sub(bytes.min(per_day));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn a_namespace_cannot_fill_the_disk_of_a_node() {
        let budget = ArchiveBudget::new(24 * GIB);
        for _ in 0..6 {
            assert_eq!(budget.take("a", "n1", 4 * GIB, hours(0)), Ok(()));
        }
        assert_eq!(budget.take("a", "n1", 4 * GIB, hours(1)), Err(hours(3)), "1 GiB has refilled");
        assert_eq!(budget.take("a", "n2", 4 * GIB, hours(1)), Ok(()), "another node");
        assert_eq!(budget.take("b", "n1", 4 * GIB, hours(1)), Ok(()), "another namespace");
        assert_eq!(budget.take("a", "n1", 4 * GIB, hours(4)), Ok(()));
        let in_a_week = (5..168).filter(|hour| budget.take("a", "n1", 4 * GIB, hours(*hour)).is_ok()).count();
        assert!(in_a_week <= 41, "{in_a_week} archives");
    }

    #[test]
    fn an_archive_larger_than_the_budget_is_written_once_a_day() {
        let budget = ArchiveBudget::new(20 * GIB);
        assert_eq!(budget.take("a", "n1", 64 * GIB, hours(0)), Ok(()));
        assert_eq!(budget.take("a", "n1", 64 * GIB, hours(12)), Err(hours(12)));
        assert_eq!(budget.take("a", "n1", 64 * GIB, hours(24)), Ok(()));
    }

    #[test]
    fn an_archive_that_was_not_written_costs_nothing() {
        let budget = ArchiveBudget::new(20 * GIB);
        for _ in 0..3 {
            assert_eq!(budget.take("a", "n1", 20 * GIB, hours(0)), Ok(()));
            budget.put_back("a", "n1", 20 * GIB);
        }
    }

    #[test]
    fn only_what_has_not_refilled_is_kept() {
        let budget = ArchiveBudget::new(20 * GIB);
        for node in 0..100 {
            assert_eq!(budget.take("a", &node.to_string(), GIB, hours(0)), Ok(()));
        }
        assert_eq!(budget.take("a", "n1", GIB, hours(24)), Ok(()));
        assert_eq!(budget.taken.lock().unwrap().len(), 1);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let budget = ArchiveBudget::new(0);
        assert!((0..1000).all(|_| budget.take("a", "n1", u64::MAX, hours(0)).is_ok()));
        assert!(budget.taken.lock().unwrap().is_empty());
    }
}
