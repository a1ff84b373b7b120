//! Which copies of the node store are deleted: pure functions.
//!
//! First go copies that are also in the registry: they can be read again. Of them, those that are not pinned go first, and of those,
//! the one that was not used for the longest time. A copy that is on this node alone goes last, and never if it is pinned.

use jiff::Timestamp;
use uuid::Uuid;

use crate::disk::Disk;

/// A copy in the node store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredCopy {
    pub(crate) snapshot: Uuid,
    pub(crate) bytes: u64,
    /// The registry has the Snapshot too.
    pub(crate) is_saved: bool,
    /// The annotation `snap.weaversoft.io/keep` pins the Snapshot.
    pub(crate) is_kept: bool,
    pub(crate) last_used: Timestamp,
}

/// How much of the disk the copies may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of all copies.
    pub(crate) budget: u64,
    /// Percent of the disk that stay free.
    pub(crate) free_percent: u8,
}

/// Which copies have to be deleted before a new one of that size is written. `None`: it can't be written.
pub(crate) fn make_room(copies: &[StoredCopy], new: u64, disk: Disk, limits: Limits) -> Option<Vec<Uuid>> {
    let floor = disk.percent(limits.free_percent);
    // A copy that fits nowhere must not cost the others their place.
    if new > limits.budget || new.saturating_add(floor) > disk.total {
        return None;
    }
    let wanted = Shortage {
        over_budget: (total(copies) + new).saturating_sub(limits.budget),
        below_floor: new.saturating_add(floor).saturating_sub(disk.free),
    };
    let (deleted, rest) = delete(copies, wanted, |_| true);
    rest.is_none().then_some(deleted)
}

/// Which copies are deleted now, because the budget was lowered or others have filled the disk.
///
/// What is on this node alone is deleted only under DiskPressure, when the kubelet otherwise stops pods. DiskPressure may have other
/// causes than missing bytes, so one copy goes each time at least.
pub(crate) fn excess(copies: &[StoredCopy], disk: Disk, limits: Limits, has_pressure: bool) -> Vec<Uuid> {
    let wanted = Shortage {
        over_budget: total(copies).saturating_sub(limits.budget),
        below_floor: disk.percent(limits.free_percent).saturating_sub(disk.free).max(u64::from(has_pressure)),
    };
    delete(copies, wanted, |copy| copy.is_saved || has_pressure).0
}

/// Bytes that are missing.
#[derive(Debug, Clone, Copy)]
struct Shortage {
    over_budget: u64,
    below_floor: u64,
}

fn total(copies: &[StoredCopy]) -> u64 {
    copies.iter().map(|copy| copy.bytes).sum()
}

/// Deletes in order until nothing is missing. Returns what is still missing.
fn delete(
    copies: &[StoredCopy],
    wanted: Shortage,
    may_go: impl Fn(&StoredCopy) -> bool,
) -> (Vec<Uuid>, Option<Shortage>) {
    let is_deletable = |copy: &&StoredCopy| (copy.is_saved || !copy.is_kept) && may_go(copy);
    let mut candidates: Vec<&StoredCopy> = copies.iter().filter(is_deletable).collect();
    candidates.sort_by_key(|copy| (!copy.is_saved, copy.is_kept, copy.last_used, copy.snapshot));
    let (mut missing, mut deleted) = (wanted, Vec::new());
    for copy in candidates {
        if missing.over_budget == 0 && missing.below_floor == 0 {
            break;
        }
        missing.over_budget = missing.over_budget.saturating_sub(copy.bytes);
        missing.below_floor = missing.below_floor.saturating_sub(copy.bytes);
        deleted.push(copy.snapshot);
    }
    let is_enough = missing.over_budget == 0 && missing.below_floor == 0;
    (deleted, (!is_enough).then_some(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { budget: 100, free_percent: 15 };
    const EMPTY: Disk = Disk { free: 1000, total: 1000 };

    fn copy(number: u128, bytes: u64) -> StoredCopy {
        let last_used = Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        StoredCopy { snapshot: Uuid::from_u128(number), bytes, is_saved: true, is_kept: false, last_used }
    }

    fn numbers(uuids: &[Uuid]) -> Vec<u128> {
        uuids.iter().map(Uuid::as_u128).collect()
    }

    #[test]
    fn the_copy_that_was_not_used_for_the_longest_time_goes_first() {
        let copies = [copy(3, 40), copy(1, 30), copy(2, 30)];
        for (new, expected) in [(0, &[][..]), (30, &[1]), (31, &[1, 2]), (100, &[1, 2, 3])] {
            assert_eq!(numbers(&make_room(&copies, new, EMPTY, LIMITS).unwrap()), expected, "{new}");
        }
    }

    #[test]
    fn what_is_also_in_the_registry_goes_first_and_what_is_pinned_goes_last() {
        let local = StoredCopy { is_saved: false, ..copy(1, 25) };
        let kept = StoredCopy { is_kept: true, ..copy(2, 25) };
        let kept_local = StoredCopy { is_saved: false, is_kept: true, ..copy(3, 25) };
        let copies = [local, kept, kept_local, copy(4, 25)];
        for (new, expected) in [(25, Some(&[4][..])), (50, Some(&[4, 2])), (75, Some(&[4, 2, 1])), (76, None)] {
            let found = make_room(&copies, new, EMPTY, LIMITS).map(|found| numbers(&found));
            assert_eq!(found.as_deref(), expected, "{new}");
        }
    }

    #[test]
    fn a_copy_that_fits_nowhere_costs_no_other_its_place() {
        let copies = [copy(1, 30)];
        assert_eq!(make_room(&copies, 101, EMPTY, LIMITS), None);
        // 15 percent of the disk stay free.
        let full = Disk { free: 20, total: 100 };
        for (new, expected) in [(5, Some(&[][..])), (6, Some(&[1])), (35, Some(&[1])), (36, None), (86, None)] {
            let found = make_room(&copies, new, full, LIMITS).map(|found| numbers(&found));
            assert_eq!(found.as_deref(), expected, "{new}");
        }
    }

    #[test]
    fn a_disk_that_others_fill_costs_only_what_is_in_the_registry() {
        let local = StoredCopy { is_saved: false, ..copy(1, 10) };
        let copies = [local, copy(2, 10), copy(3, 10)];
        for (free, expected) in [(150, &[][..]), (149, &[2]), (140, &[2]), (139, &[2, 3]), (0, &[2, 3])] {
            let disk = Disk { free, total: 1000 };
            assert_eq!(numbers(&excess(&copies, disk, LIMITS, false)), expected, "{free}");
        }
    }

    #[test]
    fn under_disk_pressure_one_copy_goes_each_time_and_at_last_those_of_this_node_alone() {
        let local = StoredCopy { is_saved: false, ..copy(1, 10) };
        let kept = StoredCopy { is_saved: false, is_kept: true, ..copy(4, 10) };
        assert_eq!(numbers(&excess(&[local, copy(2, 10), kept], EMPTY, LIMITS, true)), [2]);
        assert_eq!(numbers(&excess(&[local, kept], EMPTY, LIMITS, true)), [1]);
        assert_eq!(numbers(&excess(&[kept], EMPTY, LIMITS, true)), [0; 0]);
        let full = Disk { free: 0, total: 1000 };
        assert_eq!(numbers(&excess(&[local, copy(2, 10), kept], full, LIMITS, true)), [2, 1]);
    }

    #[test]
    fn a_lower_budget_is_kept_at_once() {
        let lower = Limits { budget: 50, ..LIMITS };
        assert_eq!(numbers(&excess(&[copy(1, 30), copy(2, 30)], EMPTY, lower, false)), [1]);
    }
}
