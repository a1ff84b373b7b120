use snapwatcher_api::checkpoint::{LocationStatus, Phase, SnapshotReference};
use snapwatcher_api::fixtures::{CheckpointFixture, at, checkpoint};
use snapwatcher_api::snapshot::{OriginCheckpoint, SnapshotOrigin, SnapshotSpec};

use super::*;

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A Snapshot that the leader has created, of an archive on node `n1`.
fn snapshot(nodes: &[NodeCopy]) -> Snapshot {
    let checkpoint = OriginCheckpoint { name: "web-app".to_owned(), uid: "uid-of-web-app".to_owned() };
    let origin = SnapshotOrigin { checkpoint, node: "n1".to_owned(), ..SnapshotOrigin::default() };
    let mut snapshot = Snapshot::new("web", SnapshotSpec { origin, ..SnapshotSpec::default() });
    snapshot.metadata.uid = Some("u".to_owned());
    let created = LeaderStatus::created(&snapshot, at(0));
    let mut snapshot = written(&snapshot, &created);
    snapshot.status.get_or_insert_default().nodes = nodes.to_vec();
    snapshot
}

/// As the API server has it after a write.
fn written(snapshot: &Snapshot, status: &LeaderStatus) -> Snapshot {
    let nodes = snapshot.status.clone().unwrap_or_default().nodes;
    let mut written: snapwatcher_api::snapshot::SnapshotStatus =
        serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
    written.nodes = nodes;
    Snapshot { status: Some(written), ..snapshot.clone() }
}

fn entry(name: &str, state: NodeCopyState) -> NodeCopy {
    NodeCopy { name: name.to_owned(), state, bytes: Some(7), ..NodeCopy::default() }
}

fn pushed(name: &str) -> NodeCopy {
    NodeCopy { manifest_digest: Some(DIGEST.to_owned()), stored_bytes: Some(3), ..entry(name, NodeCopyState::Held) }
}

fn read() -> Look {
    Look::Manifest(Report { manifest: DIGEST.to_owned(), bytes: Some(7), stored_bytes: Some(3) })
}

fn waiting(reason: &str, message: Option<&str>) -> Look {
    Look::Verdict(Verdict::Waiting { reason: reason.to_owned(), message: message.map(str::to_owned) })
}

#[test]
fn only_the_entry_of_the_origins_node_says_what_became_of_the_archive() {
    let no_disk = NodeCopy {
        reason: Some("DiskPressure".to_owned()),
        message: Some("no\nroom".to_owned()),
        ..entry("n1", NodeCopyState::Waiting)
    };
    let refused = NodeCopy { reason: Some("WrongImage".to_owned()), ..entry("n1", NodeCopyState::Refused) };
    let rejected = |reason: &str| Look::Verdict(Verdict::Rejected { reason: reason.to_owned(), message: None });
    for (case, nodes, has_registry, expected) in [
        ("no report", vec![], true, Look::Verdict(Verdict::Copies)),
        ("of another node", vec![pushed("n2")], true, Look::Verdict(Verdict::Copies)),
        ("refused by another node", vec![entry("n2", NodeCopyState::Refused)], true, Look::Verdict(Verdict::Copies)),
        ("pushed", vec![pushed("n2"), pushed("n1")], true, read()),
        ("pushed, not held", vec![NodeCopy { state: NodeCopyState::NotHeld, ..pushed("n1") }], true, read()),
        ("waiting", vec![no_disk], true, waiting("DiskPressure", Some("no room"))),
        ("held, not pushed yet", vec![entry("n1", NodeCopyState::Held)], true, waiting("Waiting", None)),
        (
            "held without a registry",
            vec![entry("n1", NodeCopyState::Held)],
            false,
            Look::Verdict(Verdict::Local { bytes: Some(7) }),
        ),
        (
            "its only copy was deleted",
            vec![NodeCopy { reason: Some("Evicted".to_owned()), ..entry("n1", NodeCopyState::NotHeld) }],
            false,
            rejected("Evicted"),
        ),
        ("refused", vec![refused], true, rejected("WrongImage")),
        (
            "refused although pushed",
            vec![NodeCopy { state: NodeCopyState::Refused, ..pushed("n1") }],
            true,
            rejected("Refused"),
        ),
    ] {
        assert_eq!(look(&snapshot(&nodes), has_registry), expected, "{case}");
    }
    let unread = look(&snapshot(&[pushed("n1")]), false);
    assert!(matches!(unread, Look::Verdict(Verdict::Waiting { reason, .. }) if reason == "NoRegistry"));
}

#[test]
fn a_final_phase_is_not_judged_again() {
    let in_phase = |phase| {
        let mut snapshot = snapshot(&[entry("n1", NodeCopyState::Refused)]);
        snapshot.status.get_or_insert_default().phase = Some(phase);
        look(&snapshot, true)
    };
    assert_eq!(in_phase(SnapshotPhase::Saved), Look::Verdict(Verdict::Copies), "the manifest that was accepted stays");
    assert_eq!((in_phase(SnapshotPhase::Rejected), in_phase(SnapshotPhase::Expired)), (Look::Nothing, Look::Nothing));
    let mut deleted = snapshot(&[pushed("n1")]);
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(look(&deleted, true), Look::Nothing);
}

#[test]
fn a_snapshot_that_no_leader_accepted_is_compared_with_its_checkpoint_first() {
    let mut unknown = snapshot(&[pushed("n1")]);
    unknown.status.get_or_insert_default().conditions.clear();
    assert_eq!(look(&unknown, true), Look::Origin);
    unknown.status = None;
    assert_eq!(look(&unknown, true), Look::Origin);
}

#[test]
fn a_snapshot_is_ours_if_its_checkpoint_names_it() {
    let archived = || {
        checkpoint("web").in_progress().phase(Phase::Succeeded).status(|status| {
            let (archive, node) = (Some("/a.tar".to_owned()), Some("n1".to_owned()));
            status.location = Some(LocationStatus { archive, node, ..LocationStatus::default() });
        })
    };
    let names = |uid: &str, is_of_another_checkpoint| {
        let (name, uid) = ("web".to_owned(), uid.to_owned());
        archived().status(|status| status.snapshot = Some(SnapshotReference { name, uid, is_of_another_checkpoint }))
    };
    let snapshot = snapshot(&[]);
    let of = |checkpoint: CheckpointFixture| origin(&snapshot, Some(&checkpoint.build()));
    assert_eq!(origin(&snapshot, None), Origin::Foreign);
    for (case, found, expected) in [
        ("named", of(names("u", false)), Origin::Ours),
        ("another is named", of(names("v", false)), Origin::Foreign),
        ("named as that of another Checkpoint", of(names("u", true)), Origin::Foreign),
        ("not decided", of(archived()), Origin::Open),
        ("a later Checkpoint of the name", of(names("u", false).uid("other")), Origin::Foreign),
        ("without an archive", of(checkpoint("web").in_progress()), Origin::Foreign),
    ] {
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn a_verdict_becomes_phase_conditions_and_figures() {
    let snapshot = snapshot(&[pushed("n1"), entry("n2", NodeCopyState::Held)]);
    let condition = |status: &LeaderStatus, type_: &str| {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_).cloned().unwrap();
        (found.status, found.reason)
    };
    let checked = Checked { bytes: Some(7), stored_bytes: 3 };
    let saved = Verdict::Saved { image: format!("r.example.com/s@{DIGEST}"), checked };
    let texts = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    for (verdict, phase, accepted, is_saved) in [
        (saved.clone(), SnapshotPhase::Saved, texts("True", "OriginCompared"), texts("True", "ManifestRead")),
        (
            Verdict::Local { bytes: Some(7) },
            SnapshotPhase::Local,
            texts("True", "OriginCompared"),
            texts("False", "NoRegistry"),
        ),
        (foreign(), SnapshotPhase::Rejected, texts("False", "NotOfACheckpoint"), texts("False", "NotOfACheckpoint")),
        (
            Verdict::Waiting { reason: "a b".to_owned(), message: None },
            SnapshotPhase::Pending,
            texts("Unknown", "Waiting"),
            texts("False", "Unspecified"),
        ),
        (Verdict::Copies, SnapshotPhase::Pending, texts("Unknown", "Waiting"), texts("False", "Waiting")),
    ] {
        let status = verdict.status(&snapshot, at(1));
        assert_eq!((status.phase, status.copies), (phase, Some(2)), "{verdict:?}");
        assert_eq!((condition(&status, ACCEPTED), condition(&status, SAVED)), (accepted, is_saved), "{verdict:?}");
        let again = verdict.status(&written(&snapshot, &status), at(2));
        assert_eq!(again, status, "{verdict:?}: the same verdict changes nothing");
    }
    let status = saved.status(&snapshot, at(1));
    assert_eq!((status.bytes, status.stored_bytes, status.message), (Some(7), Some(3), None));
}
