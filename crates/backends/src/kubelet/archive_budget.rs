//! How many bytes of archives a namespace may have written to the disk of a node in a day.
//!
//! An archive is as large as the memory of its container, counts towards no quota, and is not removed by the kubelet. Without a
//! limit, a namespace could fill the disk of each node on which it has a pod, by deleting its Checkpoints or its pods again and
//! again. The budget is that of a token bucket: it is full at first, and refills evenly. What was taken is kept by archive, so
//! that an archive that a Checkpoint shows is not counted again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// No archive counts less: beside memory and files it holds the state of the processes. So a day has few archives.
const SMALLEST: u64 = 16 << 20;

/// The budgets of all namespaces on all nodes.
#[derive(Debug)]
pub(super) struct ArchiveBudget {
    /// Bytes a day.
    per_day: u64,
    /// What was taken and has not refilled, by namespace and node.
    buckets: Mutex<HashMap<(String, String), Bucket>>,
}

/// An archive that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archive<'a> {
    pub(super) namespace: &'a str,
    pub(super) node: &'a str,
    /// The UID of its Checkpoint.
    pub(super) checkpoint: &'a str,
    pub(super) bytes: u64,
    /// When it was written, on the clock of the caller, which never goes back.
    pub(super) at: Duration,
}

/// What was taken of one budget.
#[derive(Debug, Default)]
struct Bucket {
    /// What was taken until `since`, by archives that are older than a day.
    rest: u64,
    since: Duration,
    /// The later ones, in the order of their times.
    archives: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    checkpoint: String,
    bytes: u64,
    at: Duration,
}

impl ArchiveBudget {
    pub(super) fn new(per_day: u64) -> Self {
        Self { per_day, buckets: Mutex::default() }
    }

    /// Takes the bytes of one archive. An archive larger than the budget takes all of it, so that it can be written at all.
    ///
    /// `Err`: how long it takes until so much has refilled.
    pub(super) fn take(&self, archive: &Archive<'_>) -> Result<(), Duration> {
        let mut buckets = self.lock();
        // What is full again need not be kept.
        buckets.retain(|_, bucket| bucket.taken(self.per_day, archive.at) > 0);
        let key = (archive.namespace.to_owned(), archive.node.to_owned());
        let before = buckets.get(&key).map_or(0, |bucket| bucket.taken(self.per_day, archive.at));
        let after = before.saturating_add(self.counted(archive));
        if after > self.per_day {
            let missing = u128::from(after - self.per_day);
            let wait = missing * DAY.as_millis() / u128::from(self.per_day).max(1);
            return Err(Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)));
        }
        let bucket = buckets.entry(key).or_default();
        bucket.merge_before(archive.at.saturating_sub(DAY), self.per_day);
        bucket.add(archive.checkpoint, self.counted(archive), archive.at);
        Ok(())
    }

    /// Counts an archive that a Checkpoint shows, unless it is counted: another process may have written it, or this one before a
    /// restart.
    pub(super) fn recall(&self, archive: &Archive<'_>, now: Duration) {
        if archive.at.saturating_add(DAY) <= now {
            return;
        }
        let mut buckets = self.lock();
        let key = (archive.namespace.to_owned(), archive.node.to_owned());
        let bucket = buckets.entry(key.clone()).or_default();
        if !bucket.archives.iter().any(|taken| taken.checkpoint == archive.checkpoint) {
            bucket.add(archive.checkpoint, self.counted(archive), archive.at);
        }
        if bucket.taken(self.per_day, now) == 0 {
            buckets.remove(&key);
        }
    }

    /// The archive of the last [`Self::take`] of this Checkpoint was not written.
    pub(super) fn put_back(&self, namespace: &str, node: &str, checkpoint: &str) {
        if let Some(bucket) = self.lock().get_mut(&(namespace.to_owned(), node.to_owned()))
            && let Some(last) = bucket.archives.iter().rposition(|taken| taken.checkpoint == checkpoint)
        {
            bucket.archives.remove(last);
        }
    }

    fn counted(&self, archive: &Archive<'_>) -> u64 {
        archive.bytes.max(SMALLEST).min(self.per_day)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// How many bytes have not refilled. It is never more than the budget of a day: whatever was taken, the budget is full a day
    /// later.
    fn taken(&self, per_day: u64, now: Duration) -> u64 {
        let (mut bytes, mut at) = (self.rest, self.since);
        for archive in &self.archives {
            bytes = refilled(bytes, per_day, archive.at.saturating_sub(at)).saturating_add(archive.bytes).min(per_day);
            at = archive.at;
        }
        refilled(bytes, per_day, now.saturating_sub(at))
    }

    fn add(&mut self, checkpoint: &str, bytes: u64, at: Duration) {
        let place = self.archives.partition_point(|taken| taken.at <= at);
        self.archives.insert(place, Taken { checkpoint: checkpoint.to_owned(), bytes, at });
    }

    /// Of archives of that time and before, only the sum is kept. A Checkpoint that shows one is too old to be counted.
    fn merge_before(&mut self, time: Duration, per_day: u64) {
        let later = self.archives.partition_point(|taken| taken.at <= time);
        for Taken { bytes, at, .. } in self.archives.drain(..later) {
            let before = refilled(self.rest, per_day, at.saturating_sub(self.since));
            (self.rest, self.since) = (before.saturating_add(bytes).min(per_day), at);
        }
    }
}

fn refilled(bytes: u64, per_day: u64, time: Duration) -> u64 {
    let refill = u128::from(per_day) * time.as_millis() / DAY.as_millis();
    bytes.saturating_sub(u64::try_from(refill).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    fn archive<'a>(namespace: &'a str, node: &'a str, gib: u64, at: Duration) -> Archive<'a> {
        Archive { namespace, node, checkpoint: "c", bytes: gib * GIB, at }
    }

    fn take(budget: &ArchiveBudget, namespace: &str, node: &str, gib: u64, hour: u64) -> Result<(), Duration> {
        budget.take(&archive(namespace, node, gib, hours(hour)))
    }

    #[test]
    fn a_namespace_cannot_fill_the_disk_of_a_node() {
        let budget = ArchiveBudget::new(24 * GIB);
        for _ in 0..6 {
            assert_eq!(take(&budget, "a", "n1", 4, 0), Ok(()));
        }
        assert_eq!(take(&budget, "a", "n1", 4, 1), Err(hours(3)), "1 GiB has refilled");
        assert_eq!(take(&budget, "a", "n2", 4, 1), Ok(()), "another node");
        assert_eq!(take(&budget, "b", "n1", 4, 1), Ok(()), "another namespace");
        assert_eq!(take(&budget, "a", "n1", 4, 4), Ok(()));
        let in_a_week = (5..168).filter(|hour| take(&budget, "a", "n1", 4, *hour).is_ok()).count();
        assert!((40..=41).contains(&in_a_week), "{in_a_week} archives");
    }

    #[test]
    fn an_archive_larger_than_the_budget_is_written_once_a_day() {
        let budget = ArchiveBudget::new(20 * GIB);
        assert_eq!(take(&budget, "a", "n1", 64, 0), Ok(()));
        assert_eq!(take(&budget, "a", "n1", 64, 12), Err(hours(12)));
        assert_eq!(take(&budget, "a", "n1", 64, 24), Ok(()));
    }

    #[test]
    fn an_archive_that_was_not_written_costs_nothing() {
        let budget = ArchiveBudget::new(20 * GIB);
        for _ in 0..3 {
            assert_eq!(take(&budget, "a", "n1", 20, 0), Ok(()));
            budget.put_back("a", "n1", "c");
        }
    }

    #[test]
    fn what_checkpoints_show_counts_as_if_this_process_had_taken_it() {
        let taken = ArchiveBudget::new(24 * GIB);
        let shown = ArchiveBudget::new(24 * GIB);
        let archives: Vec<String> = (0..6).map(|number| number.to_string()).collect();
        let of = |number: usize| {
            let at = hours(30 + number as u64);
            Archive { checkpoint: &archives[number], ..archive("a", "n1", 4, at) }
        };
        for number in 0..6 {
            taken.take(&of(number)).unwrap();
        }
        // In another order, and with a repetition, as a watch that is interrupted shows them.
        for number in [3, 0, 5, 1, 3, 4, 2, 0] {
            shown.recall(&of(number), hours(36));
        }
        let wait = take(&taken, "a", "n1", 8, 36).unwrap_err();
        assert_eq!((take(&shown, "a", "n1", 8, 36), wait), (Err(wait), hours(2)), "18 of 24 GiB are taken");
        taken.recall(&of(3), hours(36));
        assert_eq!(take(&taken, "a", "n1", 8, 36), Err(wait), "its own archives are counted once");
        assert_eq!(take(&shown, "b", "n1", 24, 36), Ok(()), "another namespace");
    }

    #[test]
    fn deleting_a_checkpoint_changes_nothing_and_an_old_one_does_not_count() {
        let budget = ArchiveBudget::new(20 * GIB);
        budget.recall(&archive("a", "n1", 20, hours(30)), hours(54));
        assert_eq!(take(&budget, "a", "n1", 20, 54), Ok(()), "it was written a day ago");
        // What a watch shows can only add.
        budget.recall(&archive("a", "n1", 20, hours(53)), hours(54));
        assert!(take(&budget, "a", "n1", 1, 54).is_err());
    }

    #[test]
    fn after_a_day_the_budget_is_full_whatever_was_written_before() {
        let budget = ArchiveBudget::new(20 * GIB);
        for checkpoint in ["a", "b", "c", "d"] {
            budget.recall(&Archive { checkpoint, ..archive("a", "n1", 20, hours(30)) }, hours(30));
        }
        assert!(take(&budget, "a", "n1", 20, 53).is_err());
        assert_eq!(take(&budget, "a", "n1", 20, 54), Ok(()));
    }

    #[test]
    fn only_what_has_not_refilled_is_kept() {
        let budget = ArchiveBudget::new(20 * GIB);
        for node in 0..100 {
            assert_eq!(take(&budget, "a", &node.to_string(), 1, 0), Ok(()));
        }
        assert_eq!(take(&budget, "a", "n1", 1, 24), Ok(()));
        assert_eq!(budget.lock().len(), 1);
        budget.recall(&archive("a", "n2", 1, hours(5)), hours(24));
        assert_eq!(budget.lock().len(), 1, "it has refilled since");
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_days_and_with_small_archives() {
        let budget = ArchiveBudget::new(GIB);
        let tiny = |minute: u64| Archive { bytes: 1, ..archive("a", "n1", 0, Duration::from_secs(60 * minute)) };
        let written = (0..30 * 24 * 60).filter(|minute| budget.take(&tiny(*minute)).is_ok()).count();
        let kept = budget.lock().values().map(|bucket| bucket.archives.len()).sum::<usize>();
        assert!(kept <= 128 && written > 10 * kept, "{kept} of {written}");
    }
}
