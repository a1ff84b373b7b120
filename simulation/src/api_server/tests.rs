use std::sync::Arc;

use jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::core::params::Preconditions;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointStatus, Phase, PodReference};
use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::{WatchedContainer, WatchedPod, WatchedSpec, WatchedStatus};

use super::{ApiServer, EventKind, Rejection};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 987_654_321);

fn checkpoint(namespace: &str, name: &str) -> Checkpoint {
    let pod = PodReference { name: "web".to_owned(), uid: Some("u".to_owned()) };
    let spec = CheckpointSpec { pod: Some(pod), container: Some("app".to_owned()), ..CheckpointSpec::default() };
    let mut object = Checkpoint::new(name, spec);
    object.metadata.namespace = Some(namespace.to_owned());
    object
}

fn pod(name: &str) -> WatchedPod {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("a".to_owned()),
        labels: Some([(SNAP.to_owned(), OPTED_IN.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let (name, image) = ("app".to_owned(), Some("app:1".to_owned()));
    let containers = vec![WatchedContainer { name, image, ..WatchedContainer::default() }];
    let spec = WatchedSpec { containers, node_name: Some("n1".to_owned()), ..WatchedSpec::default() };
    WatchedPod { metadata, spec, status: WatchedStatus::default() }
}

fn names(objects: &[Arc<Checkpoint>]) -> Vec<&str> {
    objects.iter().map(|object| object.metadata.name.as_deref().unwrap()).collect()
}

fn in_phase(object: &Checkpoint, phase: Phase) -> Checkpoint {
    let status = CheckpointStatus { phase: Some(phase), ..CheckpointStatus::default() };
    Checkpoint { status: Some(status), ..object.clone() }
}

#[test]
fn of_two_writes_to_one_version_the_second_is_a_conflict() {
    let mut server = ApiServer::new(&["a"]);
    let created = server.create_checkpoint(checkpoint("a", "c"), NOW).unwrap();
    assert_eq!(created.metadata.creation_timestamp.as_ref().unwrap().0.subsec_nanosecond(), 0);
    let first = server.replace_status(in_phase(&created, Phase::InProgress)).unwrap();
    assert_eq!(server.replace_status(in_phase(&created, Phase::Failed)).err(), Some(Rejection::Conflict));
    let again = server.replace_status(in_phase(&first, Phase::InProgress)).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "a write that changes nothing is no new version");
    let version = Preconditions { uid: None, resource_version: created.metadata.resource_version.clone() };
    assert_eq!(server.delete_checkpoint("a", "c", &version), Err(Rejection::Conflict));
    assert_eq!(server.delete_checkpoint("a", "c", &Preconditions::default()), Ok(()));
    let second = server.create_checkpoint(checkpoint("a", "c"), NOW).unwrap();
    assert_ne!(second.metadata.uid, created.metadata.uid);
    assert_eq!(server.replace_status(in_phase(&first, Phase::Failed)).err(), Some(Rejection::Conflict));
}

#[test]
fn the_pages_of_a_list_show_one_revision() {
    let mut server = ApiServer::new(&["a", "a-b"]);
    for (namespace, name) in [("a", "c3"), ("a", "c1"), ("a-b", "c0"), ("a", "c2")] {
        server.create_checkpoint(checkpoint(namespace, name), NOW).unwrap();
    }
    let first = server.list_checkpoints(None, 2, None).unwrap();
    assert_eq!(names(&first.items), ["c0", "c1"], "in the order of etcd's keys");
    server.delete_checkpoint("a", "c2", &Preconditions::default()).unwrap();
    server.create_checkpoint(checkpoint("a", "c4"), NOW).unwrap();
    let c3 = server.checkpoint("a", "c3").unwrap();
    server.replace_status(in_phase(&c3, Phase::Failed)).unwrap();
    let second = server.list_checkpoints(None, 2, first.next.as_ref()).unwrap();
    assert_eq!(names(&second.items), ["c2", "c3"]);
    assert_eq!(second.items[1].phase(), Phase::Pending);
    assert_eq!((second.revision, &second.next), (first.revision, &None));

    server.compact(server.revision());
    assert_eq!(server.list_checkpoints(None, 2, first.next.as_ref()).err(), Some(Rejection::Expired));
    assert_eq!(names(&server.list_checkpoints(Some("a"), 0, None).unwrap().items), ["c1", "c3", "c4"]);
}

#[test]
fn a_watch_resumes_until_its_revision_is_forgotten() {
    let mut server = ApiServer::new(&["a"]);
    let start = server.revision();
    let created = server.create_checkpoint(checkpoint("a", "c"), NOW).unwrap();
    server.replace_status(in_phase(&created, Phase::Failed)).unwrap();
    let middle = server.revision();
    server.delete_checkpoint("a", "c", &Preconditions::default()).unwrap();
    let kinds = |server: &ApiServer, since| {
        let events = server.checkpoint_events(None, since)?;
        Ok::<_, Rejection>(events.map(|event| event.kind).collect::<Vec<_>>())
    };
    let all = vec![EventKind::Added, EventKind::Modified, EventKind::Deleted];
    assert_eq!(kinds(&server, start), Ok(all));
    server.compact(middle);
    assert_eq!(kinds(&server, start), Err(Rejection::Expired));
    assert_eq!(kinds(&server, middle), Ok(vec![EventKind::Deleted]));
    let last = server.checkpoint_events(Some("a"), middle).unwrap().next().unwrap();
    assert_eq!(last.object.metadata.resource_version, Some(last.revision.to_string()));
    assert_eq!(last.object.phase(), Phase::Failed);
    assert_eq!(server.checkpoint_events(Some("b"), middle).unwrap().count(), 0);
}

#[test]
fn a_pod_without_its_label_is_deleted_for_the_watch() {
    let mut server = ApiServer::new(&["a"]);
    let start = server.revision();
    server.create_pod(pod("web"), NOW).unwrap();
    let ready = server.set_pod_ready("a", "web", true, NOW).unwrap();
    assert!(ready.facts.ready_since.is_some() && ready.facts.container("app").unwrap().started);
    server.change_pod("a", "web", |pod| pod.metadata.labels = None).unwrap();
    server.change_pod("a", "web", |pod| pod.metadata.labels = ready.object.metadata.labels.clone()).unwrap();
    server.delete_pod("a", "web", NOW).unwrap();
    assert!(server.pod("a", "web").unwrap().facts.terminating);
    assert_eq!(server.create_pod(pod("web"), NOW), Err(Rejection::AlreadyExists));
    server.remove_pod("a", "web", NOW).unwrap();
    let kinds: Vec<_> = server.labeled_pod_events(None, start).unwrap().map(|event| event.kind).collect();
    let (added, modified, deleted) = (EventKind::Added, EventKind::Modified, EventKind::Deleted);
    assert_eq!(kinds, [added, modified, deleted, added, modified, modified, deleted]);
    let again = server.create_pod(pod("web"), NOW).unwrap();
    assert_ne!(again.facts.uid, ready.facts.uid);
}

#[test]
fn a_namespace_that_is_being_deleted_accepts_no_objects() {
    let mut server = ApiServer::new(&["a"]);
    server.create_checkpoint(checkpoint("a", "c"), NOW).unwrap();
    server.create_pod(pod("web"), NOW).unwrap();
    server.terminate_namespace("a");
    let refused = server.create_checkpoint(checkpoint("a", "d"), NOW).unwrap_err();
    let causes = refused.status().details.unwrap().causes;
    assert_eq!((refused.code(), causes[0].reason.as_str()), (403, "NamespaceTerminating"));
    server.remove_namespace("a", NOW).unwrap();
    assert_eq!(server.checkpoint("a", "c").err(), Some(Rejection::NotFound));
    assert_eq!(server.create_pod(pod("web"), NOW), Err(Rejection::NotFound));
    assert!(server.list_checkpoints(Some("a"), 0, None).unwrap().items.is_empty());
}
