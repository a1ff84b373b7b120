use std::time::Duration;

use snapwatcher_api::checkpoint::WorkloadReference;
use snapwatcher_api::fixtures::at;

use super::*;

const DAY: i64 = 24 * 3600;
const POLICY: SnapshotRetention = SnapshotRetention {
    revisions: 2,
    unused_for: Duration::from_secs(30 * 24 * 3600),
    every: Duration::from_secs(3600),
};

/// A saved Snapshot of workload `w`, named as its UID.
fn saved(name: &str, revision: &str, created: i64) -> StoredSnapshot {
    let workload = WorkloadReference { uid: "w".to_owned(), ..WorkloadReference::default() };
    StoredSnapshot {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        spec: SnapshotSpec { workload, revision: revision.to_owned(), ..SnapshotSpec::default() },
        phase: SnapshotPhase::Saved,
        created: at(created),
        last_used: None,
        is_kept: false,
    }
}

fn of_container(container: &str, snapshot: StoredSnapshot) -> StoredSnapshot {
    StoredSnapshot { spec: SnapshotSpec { container: container.to_owned(), ..snapshot.spec }, ..snapshot }
}

fn kept(snapshot: StoredSnapshot) -> StoredSnapshot {
    StoredSnapshot { is_kept: true, ..snapshot }
}

fn in_phase(phase: SnapshotPhase, snapshot: StoredSnapshot) -> StoredSnapshot {
    StoredSnapshot { phase, ..snapshot }
}

fn used(second: i64, snapshot: StoredSnapshot) -> StoredSnapshot {
    StoredSnapshot { last_used: Some(at(second)), ..snapshot }
}

fn after(snapshots: &[StoredSnapshot], second: i64) -> Vec<(String, Cause)> {
    expired(snapshots, POLICY, at(second)).into_iter().map(|(found, cause)| (found.name.clone(), cause)).collect()
}

fn one(name: &str, cause: Cause) -> Vec<(String, Cause)> {
    vec![(name.to_owned(), cause)]
}

#[test]
fn the_newest_revisions_of_each_container_are_kept() {
    let three = [saved("a", "r1", 1), saved("b", "r2", 2), saved("c", "r3", 3)];
    assert_eq!(after(&three, 10), one("a", Cause::Revisions));
    let of_two_containers = [
        saved("a", "r1", 1),
        of_container("log", saved("b", "r1", 1)),
        saved("c", "r2", 2),
        of_container("log", saved("d", "r3", 3)),
    ];
    assert_eq!(after(&of_two_containers, 10), []);
    let mut other_workload = saved("d", "r4", 4);
    other_workload.spec.workload.uid = "other".to_owned();
    assert_eq!(after(&[three[0].clone(), three[1].clone(), other_workload], 10), []);
}

#[test]
fn what_was_not_used_for_too_long_is_not_kept() {
    let old = [saved("a", "r1", 0), used(20 * DAY, saved("b", "r2", 0))];
    assert_eq!(after(&old, 30 * DAY), []);
    assert_eq!(after(&old, 30 * DAY + 1), one("a", Cause::Unused));
    assert_eq!(after(&old[1..], 50 * DAY + 1), one("b", Cause::Unused));
    assert_eq!(after(&[used(-DAY, saved("a", "r1", 0))], 30 * DAY), [], "a use before its creation does not count");
}

#[test]
fn a_snapshot_with_the_annotation_keep_stays_and_takes_no_place() {
    let snapshots = [kept(saved("a", "r1", 1)), saved("b", "r2", 2), saved("c", "r3", 3), kept(saved("d", "r4", 4))];
    assert_eq!(after(&snapshots, 10), []);
    let old: Vec<_> = after(&snapshots, 40 * DAY).into_iter().map(|(name, _)| name).collect();
    assert_eq!(old, ["b", "c"]);
    assert_eq!(after(&[kept(saved("a", "r1", 1)), saved("b", "r1", 2)], 10), [], "not even by a newer one");
}

#[test]
fn a_newer_snapshot_of_the_revision_replaces_one_that_is_saved_no_better() {
    use SnapshotPhase::{Expired, Local, Pending, Rejected, Saved};
    for (old, new, is_replaced) in [
        (Saved, Saved, true),
        (Saved, Local, false),
        (Saved, Pending, false),
        (Saved, Rejected, false),
        (Local, Saved, true),
        (Local, Local, true),
        (Pending, Saved, true),
        (Rejected, Local, true),
        (Rejected, Pending, false),
        (Saved, Expired, false),
    ] {
        let snapshots = [in_phase(old, saved("a", "r1", 1)), in_phase(new, saved("b", "r1", 2))];
        let found = after(&snapshots, 10);
        assert_eq!(found.contains(&("a".to_owned(), Cause::Replaced)), is_replaced, "{old:?} {new:?}: {found:?}");
        assert!(!found.iter().any(|(name, cause)| name == "b" && *cause == Cause::Replaced), "{found:?}");
    }
}

#[test]
fn of_two_of_the_same_second_one_stays() {
    let mut snapshots = [saved("a", "r1", 1), saved("b", "r1", 1)];
    assert_eq!(after(&snapshots, 10), one("a", Cause::Replaced));
    snapshots[0].spec.replaces = Some("b".to_owned());
    assert_eq!(after(&snapshots, 10), one("b", Cause::Replaced), "the one that was created as a replacement is newer");
}

#[test]
fn a_deletion_that_has_begun_is_finished_whatever_the_annotation_says() {
    let snapshots = [kept(in_phase(SnapshotPhase::Expired, saved("a", "r1", 1)))];
    assert_eq!(after(&snapshots, 10), one("a", Cause::Begun));
    assert!(!Cause::Begun.needs_no_pod() && !Cause::Replaced.needs_no_pod());
    assert!(Cause::Revisions.needs_no_pod() && Cause::Unused.needs_no_pod());
}
