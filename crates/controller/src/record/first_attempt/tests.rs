use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use snapwatcher_api::checkpoint::{Phase, WorkloadReference};
use snapwatcher_api::fixtures::{IMAGE, at, checkpoint, pod};

const LONGEST: SignedDuration = SignedDuration::from_secs(130);

fn holder() -> Holder {
    Holder { instance: "snapwatcher-0".into(), boot: "b1".into() }
}

/// A claim of pod `web` with its first attempt, created by the server at `at(0)`.
fn claimed() -> Checkpoint {
    let (name, uid, container) = ("web".into(), "u".into(), "app".into());
    let target = CheckpointTarget::Pod { name, uid, container, image: IMAGE.into() };
    let name = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]).unwrap();
    let mut object = checkpoint("web").named(&name).spec(|spec| *spec = (&target).into()).build();
    object.metadata.creation_timestamp = Some(Time(at(0)));
    let attempt = AttemptTarget::new(&pod("web").labeled().ready(0).facts(), "app".into(), "Deployment/web".into());
    write(&mut object, &attempt, &holder(), LONGEST, at(0));
    object
}

#[test]
fn the_annotation_becomes_the_status_of_the_attempt() {
    let mut object = claimed();
    assert!(read(&mut object, LONGEST));
    let status = object.status.unwrap();
    assert_eq!((status.phase, status.attempt), (Some(Phase::InProgress), 1));
    assert_eq!(status.holder.as_deref(), Some("snapwatcher-0/b1"));
    assert_eq!(status.pod.unwrap().node.as_deref(), Some("n1"));
    assert_eq!((status.start_time.unwrap().0, status.deadline.unwrap().0), (at(0), at(130)));
    assert_eq!((status.container.as_deref(), status.image.as_deref()), (Some("app"), Some(IMAGE)));
}

#[test]
fn times_in_the_far_past_or_future_are_cut() {
    for year in ["9023-", "1023-"] {
        let mut object = claimed();
        let text = object.annotations()[ATTEMPT].replacen("2023-", year, if year == "9023-" { 2 } else { 1 });
        object.annotations_mut().insert(ATTEMPT.into(), text);
        assert!(read(&mut object, LONGEST));
        let status = object.status.unwrap();
        let (start, deadline) = (status.start_time.unwrap().0, status.deadline.unwrap().0);
        assert!(deadline <= at(131) && deadline.duration_since(start) <= LONGEST, "{year}: {start} to {deadline}");
    }
}

#[test]
fn a_time_before_the_year_0_is_replaced_by_the_creation() {
    let mut object = claimed();
    let mut attempt: serde_json::Value = serde_json::from_str(&object.annotations()[ATTEMPT]).unwrap();
    attempt["startTime"] = "-009998-01-01T00:00:00.000000Z".into();
    attempt["deadline"] = attempt["startTime"].clone();
    object.annotations_mut().insert(ATTEMPT.into(), attempt.to_string());
    assert!(read(&mut object, LONGEST));
    let status = object.status.unwrap();
    assert_eq!((status.start_time.unwrap().0, status.deadline.unwrap().0), (at(0), at(0)));
}

#[test]
fn an_attempt_keeps_its_length_if_the_clock_of_its_holder_is_ahead() {
    let mut object = claimed();
    object.metadata.creation_timestamp = Some(Time(at(-60)));
    assert!(read(&mut object, LONGEST));
    let status = object.status.unwrap();
    let (start, deadline) = (status.start_time.unwrap().0, status.deadline.unwrap().0);
    assert_eq!((start, deadline.duration_since(start)), (at(-59), LONGEST));
}

#[test]
fn an_annotation_of_anything_else_does_not_count() {
    let change = |change: fn(&mut Checkpoint)| {
        let mut object = claimed();
        change(&mut object);
        object
    };
    for (case, mut object) in [
        ("a name that is not derived", change(|object| object.metadata.name = Some("mine".into()))),
        ("no JSON", change(|object| drop(object.annotations_mut().insert(ATTEMPT.into(), "x".into())))),
        ("too long", change(|object| drop(object.annotations_mut().insert(ATTEMPT.into(), "x".repeat(9999))))),
        (
            "another pod",
            change(|object| {
                let text = object.annotations()[ATTEMPT].replace("\"uid\":\"u\"", "\"uid\":\"v\"");
                object.annotations_mut().insert(ATTEMPT.into(), text);
            }),
        ),
        (
            "another image",
            change(|object| {
                let text = object.annotations()[ATTEMPT].replace(IMAGE, "busybox:2");
                object.annotations_mut().insert(ATTEMPT.into(), text);
            }),
        ),
    ] {
        assert!(!read(&mut object, LONGEST) && object.status.is_none(), "{case}");
    }
}

#[test]
fn an_annotation_with_a_text_that_snapwatcher_does_not_write_does_not_count() {
    let fields = ["/holder", "/pod/node", "/workload", "/revision", "/imageID"];
    for text in ["\u{1b}[2Jx", "snapwatcher-0/\u{1b}[2Jx", "a b/c", "w\u{fc}b/x", "x\n", "\u{202e}x"] {
        for field in fields {
            let mut object = claimed();
            let mut attempt: serde_json::Value = serde_json::from_str(&object.annotations()[ATTEMPT]).unwrap();
            *attempt.pointer_mut(field).unwrap() = text.into();
            object.annotations_mut().insert(ATTEMPT.into(), attempt.to_string());
            assert!(!read(&mut object, LONGEST) && object.status.is_none(), "{field}: {text:?}");
        }
    }
    for (field, text) in [("/workload", "web"), ("/workload", "/web"), ("/pod/node", "N1"), ("/revision", "")] {
        let mut object = claimed();
        let mut attempt: serde_json::Value = serde_json::from_str(&object.annotations()[ATTEMPT]).unwrap();
        *attempt.pointer_mut(field).unwrap() = text.into();
        object.annotations_mut().insert(ATTEMPT.into(), attempt.to_string());
        assert!(!read(&mut object, LONGEST), "{field}: {text:?}");
    }
}

#[test]
fn an_attempt_of_a_revision_names_a_pod_by_a_name_that_pods_can_have() {
    let (revision, container) = ("r".to_owned(), "app".to_owned());
    let (api_version, kind, name) = ("apps/v1".into(), "Deployment".into(), "web".into());
    let workload = WorkloadReference { api_version, kind, name, uid: "d".into() };
    let target = CheckpointTarget::Revision { workload, revision, container };
    for (pod, counts) in [("web-1", true), ("../../other/pods/db", false), ("\u{1b}[2Jx", false)] {
        let mut object = claimed();
        object.metadata.name = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]);
        object.spec = (&target).into();
        let mut attempt: serde_json::Value = serde_json::from_str(&object.annotations()[ATTEMPT]).unwrap();
        attempt["pod"]["name"] = pod.into();
        object.annotations_mut().insert(ATTEMPT.into(), attempt.to_string());
        assert_eq!(read(&mut object, LONGEST), counts, "{pod:?}");
    }
}

#[test]
fn what_snapwatcher_writes_of_any_owner_and_node_counts() {
    let long = format!("{}.example.com", "n".repeat(200));
    let pods = [
        pod("web").labeled().controlled_by("apps/v1", "ReplicaSet", "web-1"),
        pod("web").labeled().controlled_by("x.io/v1", "", "a b\u{1b}"),
        pod("web").labeled().label("pod-template-hash", "7d4b8c8f9"),
    ];
    for facts in pods.map(|pod| pod.ready(0).node(&long).facts()) {
        let workload = facts.controller.as_ref().map_or_else(
            || "Pod/web".to_owned(),
            |controller| snapwatcher_kubernetes::workload::Workload::from(&**controller).to_string(),
        );
        let mut object = claimed();
        write(&mut object, &AttemptTarget::new(&facts, "app".into(), workload), &holder(), LONGEST, at(0));
        assert!(read(&mut object, LONGEST), "{:?}", object.annotations());
    }
}

#[test]
fn an_attempt_of_a_revision_counts_under_a_derived_name_only() {
    let (revision, container) = ("r".to_owned(), "app".to_owned());
    let (api_version, kind, name) = ("apps/v1".into(), "Deployment".into(), "web".into());
    let workload = WorkloadReference { api_version, kind, name, uid: "d".into() };
    let target = CheckpointTarget::Revision { workload, revision, container };
    let derived = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]).unwrap();
    for (name, counts) in [(derived.as_str(), true), ("mine", false)] {
        let mut object = claimed();
        object.metadata.name = Some(name.into());
        object.spec = (&target).into();
        assert_eq!(read(&mut object, LONGEST), counts, "{name}");
    }
}

#[test]
fn the_metadata_that_is_not_read_is_dropped() {
    let long = "x".repeat(1 << 20);
    let mut object = claimed();
    let before = object.metadata.clone();
    object.labels_mut().insert("note".into(), long.clone());
    object.annotations_mut().insert("note".into(), long.clone());
    object.metadata.finalizers = Some(vec![long.clone()]);
    object.metadata.owner_references = Some(vec![OwnerReference { name: long.clone(), ..Default::default() }]);
    trim_metadata(&mut object);
    assert_eq!(object.metadata, before);
    object.annotations_mut().insert(ATTEMPT.into(), long);
    trim_metadata(&mut object);
    assert!(is_in(&object) && object.annotations()[ATTEMPT].is_empty());
}

#[test]
fn the_attempt_of_the_original_is_not_that_of_a_checkpoint_from_a_backup() {
    let mut object = claimed();
    object.labels_mut().insert(RESTORE_NAME.into(), "r".repeat(63));
    object.labels_mut().insert("note".into(), "x".into());
    trim_metadata(&mut object);
    assert_eq!(object.labels().iter().collect::<Vec<_>>(), [(&RESTORE_NAME.to_owned(), &String::new())]);
    assert!(read(&mut object, LONGEST) && object.status.is_none());
    assert!(fields::is_from_backup(&object));
    object.status = Some(CheckpointStatus { phase: Some(Phase::Succeeded), ..Default::default() });
    assert!(!fields::is_from_backup(&object), "its status was restored");
    trim_metadata(&mut object);
    assert!(object.labels().is_empty());
}

#[test]
fn a_status_overrules_the_annotation() {
    let mut object = claimed();
    object.status = Some(CheckpointStatus { phase: Some(Phase::Pending), ..Default::default() });
    assert!(read(&mut object, LONGEST));
    assert_eq!(object.phase(), Phase::Pending);
}

#[test]
fn two_tries_to_create_an_object_differ() {
    let (first, mut second) = (claimed(), claimed());
    assert!(is_same(&first, &second));
    let attempt = AttemptTarget::new(&pod("web").facts(), "app".into(), "Deployment/web".into());
    write(&mut second, &attempt, &holder(), LONGEST, at(1));
    assert!(!is_same(&first, &second));
    assert!(!is_same(&checkpoint("web").build(), &checkpoint("web").build()), "without an attempt");
}
