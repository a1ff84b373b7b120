use snapwatcher_api::checkpoint::{LocationStatus, Phase};
use snapwatcher_api::fixtures::{CONTAINER, IMAGE, POD_UID, PodFixture, checkpoint, pod};
use snapwatcher_api::keys::{POD_TEMPLATE_HASH, SAVE};
use snapwatcher_api::pod::RevisionLabels;

use super::*;

fn archived() -> ArchivedCheckpoint {
    let succeeded = checkpoint("web").in_progress().phase(Phase::Succeeded).status(|status| {
        let (archive, node) = (Some("/var/lib/kubelet/checkpoints/a.tar".to_owned()), Some("n1".to_owned()));
        status.location = Some(LocationStatus { archive, node, ..LocationStatus::default() });
        status.revision = Some("d1".to_owned());
        status.image = Some(IMAGE.to_owned());
        status.image_id = Some("sha256:1".to_owned());
    });
    ArchivedCheckpoint::of(&succeeded.build()).unwrap()
}

fn of_deployment() -> PodFixture {
    pod("web").labeled().label(POD_TEMPLATE_HASH, "d1").controlled_by("apps/v1", "ReplicaSet", "web-d1").ready(0)
}

fn read(pod: PodFixture) -> SavedPod {
    SavedPod::read(pod.watched(), &RevisionLabels::default())
}

fn deployment() -> Workload {
    Workload { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "web".into(), uid: "d".into() }
}

#[test]
fn a_pod_that_is_gone_or_opts_out_is_not_saved() {
    let checkpoint = archived();
    for (case, pod, expected) in [
        ("gone", None, Err(NotSaved::PodGone)),
        ("another pod of the name", Some(of_deployment().uid("other")), Err(NotSaved::PodGone)),
        ("opted out", Some(of_deployment().annotation(SAVE, "false")), Err(NotSaved::OptedOut)),
        ("opted in", Some(of_deployment().annotation(SAVE, "true")), Ok(())),
        ("nothing said", Some(of_deployment()), Ok(())),
    ] {
        let pod = pod.map(read);
        assert_eq!(consenting(&checkpoint, pod.as_ref()).map(|_| ()), expected, "{case}");
    }
}

#[test]
fn a_snapshot_names_workload_controller_revision_and_origin() {
    let spec = spec(&archived(), &read(of_deployment()), &deployment()).unwrap();
    assert_eq!((spec.workload.kind.as_str(), spec.workload.uid.as_str()), ("Deployment", "d"));
    assert_eq!((spec.controller.kind.as_str(), spec.controller.uid.as_str()), ("ReplicaSet", "uid-of-web-d1"));
    assert_eq!((spec.revision.as_str(), spec.revision_label.as_deref()), ("d1", Some(POD_TEMPLATE_HASH)));
    assert_eq!((spec.container.as_str(), spec.image.as_str(), spec.image_id.as_str()), (CONTAINER, IMAGE, "sha256:1"));
    let SnapshotOrigin { checkpoint, pod, node, archive } = &spec.origin;
    assert_eq!((checkpoint.uid.as_str(), pod.uid.as_str(), node.as_str()), ("uid-of-web-app", POD_UID, "n1"));
    assert_eq!(archive, "/var/lib/kubelet/checkpoints/a.tar");
    assert_eq!((spec.recipient, spec.replaces), (None, None));
}

#[test]
fn a_pod_without_a_controller_is_its_own() {
    let workload = Workload { api_version: "v1".into(), kind: "Pod".into(), name: "web".into(), uid: POD_UID.into() };
    let spec = spec(&archived(), &read(pod("web").ready(0)), &workload).unwrap();
    assert_eq!((spec.controller.kind.as_str(), spec.controller.uid.as_str()), ("Pod", POD_UID));
    assert_eq!(spec.revision_label, None, "the pod has not the revision of the Checkpoint");
}

#[test]
fn the_image_is_that_of_the_checkpoint_and_not_a_later_one() {
    let updated = read(of_deployment().image("busybox:2").ready(0));
    let without = |change: fn(&mut ArchivedCheckpoint)| {
        let mut checkpoint = archived();
        change(&mut checkpoint);
        checkpoint
    };
    let image_id = |checkpoint: &ArchivedCheckpoint, pod: &SavedPod| {
        spec(checkpoint, pod, &deployment()).map(|spec| (spec.image, spec.image_id))
    };
    let (old, id) = (IMAGE.to_owned(), "sha256:1".to_owned());
    assert_eq!(image_id(&archived(), &updated), Ok((old.clone(), id.clone())));
    let no_id = without(|checkpoint| checkpoint.image_id = None);
    assert_eq!(
        image_id(&no_id, &updated),
        Err(NotSaved::ImageUnknown),
        "the ID of the new image is not that of the old one"
    );
    assert_eq!(image_id(&no_id, &read(of_deployment())), Ok((old, id)));
}

#[test]
fn a_manual_checkpoint_has_a_name_of_its_own() {
    let spec = spec(&archived(), &read(of_deployment()), &deployment()).unwrap();
    let names = |is_manual| names(&spec, is_manual).collect::<Vec<_>>();
    let (automatic, manual) = (names(false), names(true));
    assert_eq!((automatic.len(), manual.len()), (3, 3));
    assert!(automatic.iter().all(|name| !manual.contains(name)));
}

#[test]
fn an_object_of_the_name_is_ours_or_of_the_revision_or_something_else() {
    let wanted = SnapshotSpec {
        recipient: Some("age1ours".to_owned()),
        ..spec(&archived(), &read(of_deployment()), &deployment()).unwrap()
    };
    let changed = |change: fn(&mut SnapshotSpec)| {
        let mut found = wanted.clone();
        change(&mut found);
        existing(&found, &wanted)
    };
    for (case, found, expected) in [
        ("the same", changed(|_| ()), Existing::Own),
        ("created when another one existed", changed(|spec| spec.replaces = Some("u".into())), Existing::Own),
        ("another checkpoint", changed(|spec| spec.origin.checkpoint.uid = "c2".into()), Existing::OfRevision),
        ("to another key", changed(|spec| spec.recipient = Some("age1theirs".into())), Existing::OfRevision),
        ("another workload", changed(|spec| spec.workload.uid = "e".into()), Existing::Other),
        ("another revision", changed(|spec| spec.revision = "d2".into()), Existing::Other),
        ("another container", changed(|spec| spec.container = "log".into()), Existing::Other),
    ] {
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn each_reason_has_a_word_and_a_message_within_the_limit() {
    let words: std::collections::HashSet<_> = NotSaved::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), NotSaved::ALL.len());
    assert!(NotSaved::ALL.iter().all(|reason| (1..240).contains(&reason.message().len())));
}
