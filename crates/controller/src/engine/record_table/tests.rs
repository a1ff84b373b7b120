use super::*;
use snapwatcher_api::checkpoint::{CheckpointStatus, PodStatus, WorkloadReference};
use snapwatcher_api::fixtures::checkpoint;

const NOW: Duration = Duration::ZERO;

/// With the UID `<name>`, of the pod `uid-of-<name>`.
fn object(name: &str, phase: Phase) -> Checkpoint {
    let pod_uid = Some(format!("uid-of-{name}"));
    let object = checkpoint("web").named(name).uid(name).phase(phase);
    let object = object.spec(|spec| spec.pod.as_mut().unwrap().uid = pod_uid);
    object.spec(|spec| spec.image = Some("web:1".to_owned())).build()
}

/// Lists these, and returns what was deleted meanwhile.
fn list(table: &mut RecordTable, checkpoints: &[Checkpoint]) -> (Vec<String>, Reclaim) {
    table.apply(0, Event::Init, NOW);
    for checkpoint in checkpoints {
        table.apply(0, Event::InitApply(checkpoint.clone()), NOW);
    }
    let change = table.apply(0, Event::InitDone, NOW);
    let RecordChange::Listed { gone, reclaim } = change else { panic!("{change:?}") };
    (gone.iter().map(ToString::to_string).collect(), reclaim)
}

fn contains(table: &RecordTable, name: &str) -> bool {
    table.entries.contains_key(&digest(&["default", name]))
}

#[test]
fn a_scope_is_listed_once_its_listing_is_complete() {
    let mut table = RecordTable::new(10);
    list(&mut table, &[]);
    list(&mut table, &[]); // a relist of the same scope does not count twice
    assert!(table.is_listed(0) && !table.is_listed(1));
    table.apply(1, Event::InitDone, NOW);
    assert!(table.is_listed(1));
}

#[test]
fn a_success_is_known_by_pod_and_container_until_its_last_checkpoint_is_deleted() {
    let mut table = RecordTable::new(10);
    let is_known = |table: &RecordTable| table.has_success("uid-of-a", "app", SuccessOf::Image("web:1"));
    table.apply(0, Event::Apply(object("a", Phase::InProgress)), NOW);
    assert!(contains(&table, "a") && !is_known(&table));
    table.apply(0, Event::Apply(object("a", Phase::Succeeded)), NOW);
    table.apply(0, Event::Apply(object("a", Phase::Succeeded)), NOW);
    let mut manual = object("a", Phase::Succeeded);
    manual.metadata.name = Some("manual".into());
    table.apply(0, Event::Apply(manual.clone()), NOW);
    let change = table.apply(0, Event::Delete(object("a", Phase::Succeeded)), NOW);
    let RecordChange::Deleted(key, reclaim) = change else { panic!("{change:?}") };
    let (name, uid) = (fields::pod_name(&object("a", Phase::Succeeded)).unwrap(), "uid-of-a".into());
    assert_eq!((key.to_string().as_str(), reclaim), ("default/a", Reclaim::Pod { name, uid }));
    assert!(is_known(&table), "another Checkpoint of the same pod and container is left");
    table.apply(0, Event::Delete(manual), NOW);
    assert!(!is_known(&table) && !contains(&table, "a"));
}

#[test]
fn a_success_counts_for_its_image_and_its_revision_alone() {
    let mut table = RecordTable::new(10);
    let mut manual = object("a", Phase::Succeeded);
    manual.spec.image = None;
    let status = manual.status.as_mut().unwrap();
    (status.image, status.revision) = (Some("web:1".to_owned()), Some("r1".to_owned()));
    table.apply(0, Event::Apply(manual.clone()), NOW);
    let has = |table: &RecordTable, of| table.has_success("uid-of-a", "app", of);
    assert!(has(&table, SuccessOf::Image("web:1")) && has(&table, SuccessOf::Revision("r1")), "as resolved");
    assert!(!has(&table, SuccessOf::Image("web:2")) && !has(&table, SuccessOf::Revision("r2")));
    assert!(!has(&table, SuccessOf::Image("r1")) && !has(&table, SuccessOf::Revision("web:1")));
    table.apply(0, Event::Delete(manual), NOW);
    assert!(table.successes.is_empty());
}

#[test]
fn a_deletion_during_an_interruption_is_noticed_at_the_relist() {
    let mut table = RecordTable::new(10);
    let (a, b, c) = (object("a", Phase::Succeeded), object("b", Phase::Pending), object("c", Phase::InProgress));
    assert_eq!(list(&mut table, &[a, b.clone(), c.clone()]), (vec![], Reclaim::None));
    assert_eq!(list(&mut table, &[b.clone(), c]), (vec![], Reclaim::Scope(0)), "a finished one");
    assert!(!contains(&table, "a") && !table.has_success("uid-of-a", "app", SuccessOf::Image("web:1")));
    assert!(contains(&table, "b") && contains(&table, "c"));
    assert_eq!(list(&mut table, &[b]), (vec!["default/c".to_owned()], Reclaim::Scope(0)), "it may hold a slot");
}

#[test]
fn the_deleted_checkpoint_of_a_revision_concerns_the_pods_of_the_revision() {
    let mut table = RecordTable::new(10);
    let mut deleted = object("rev", Phase::Succeeded);
    deleted.spec = CheckpointSpec {
        workload: Some(WorkloadReference::default()),
        revision: Some("r".into()),
        container: Some("app".into()),
        ..CheckpointSpec::default()
    };
    deleted.status.as_mut().unwrap().pod = None;
    table.apply(0, Event::Apply(deleted.clone()), NOW);
    let change = table.apply(0, Event::Delete(deleted), NOW);
    let RecordChange::Deleted(_, reclaim) = change else { panic!("{change:?}") };
    let (namespace, revision) = ("default".to_owned(), "r".to_owned());
    assert_eq!(reclaim, Reclaim::Revision { namespace, revision, pod: None });
}

#[test]
fn a_checkpoint_of_another_target_does_not_count_under_the_name() {
    let mut table = RecordTable::new(10);
    table.apply(0, Event::Apply(object("a", Phase::Pending)), NOW);
    let pod = |uid: &str, image: &str| {
        let (name, container) = ("web".to_owned(), "app".to_owned());
        CheckpointTarget::Pod { name, uid: uid.to_owned(), container, image: image.to_owned() }
    };
    assert_eq!(table.has_target("default", "a", &pod("uid-of-a", "web:1")), Some(true));
    assert_eq!(table.has_target("default", "a", &pod("uid-of-a", "web:2")), Some(false), "of another image");
    assert_eq!(table.has_target("default", "a", &pod("other", "web:1")), Some(false));
    assert_eq!(table.has_target("default", "b", &pod("other", "web:1")), None);
    let workload = WorkloadReference { uid: "d".into(), ..WorkloadReference::default() };
    let (revision, container) = ("r".to_owned(), "app".to_owned());
    let revision = CheckpointTarget::Revision { workload, revision, container };
    assert_eq!(table.has_target("default", "a", &revision), Some(false), "of a revision");
}

#[test]
fn the_age_of_an_attempt_runs_until_the_attempt_changes() {
    let mut table = RecordTable::new(10);
    let seconds = Duration::from_secs;
    let attempt = |number| {
        let mut object = object("a", Phase::InProgress);
        object.status.as_mut().unwrap().attempt = number;
        Event::Apply(object)
    };
    let age = |table: &RecordTable, now| table.unfinished(&RecordKey::new("default", "a")).unwrap().age(now);
    table.apply(0, attempt(1), seconds(1));
    table.apply(0, attempt(1), seconds(3));
    assert_eq!(age(&table, seconds(5)), seconds(4), "seen again, unchanged");
    table.apply(0, attempt(2), seconds(6));
    assert_eq!(age(&table, seconds(6)), Duration::ZERO, "another attempt");
}

#[test]
fn a_changed_pod_concerns_its_own_checkpoints_and_those_of_its_revision() {
    let mut table = RecordTable::new(10);
    let of_revision = |revision: &str| {
        let set = |spec: &mut CheckpointSpec| (spec.pod, spec.revision) = (None, Some(revision.to_owned()));
        checkpoint(revision).named(revision).spec(set).build()
    };
    let attempted = {
        let pod = PodStatus { name: "web".into(), ..PodStatus::default() };
        let mut object = of_revision("3");
        object.status = Some(CheckpointStatus { pod: Some(pod), ..CheckpointStatus::default() });
        object
    };
    let others = [checkpoint("other").build(), checkpoint("web").namespace("b").build(), of_revision("2")];
    for object in others.into_iter().chain([checkpoint("web").build(), of_revision("1"), attempted]) {
        table.apply(0, Event::Apply(object), NOW);
    }
    let pod = PodName { namespace: "default".into(), name: "web".into() };
    let subjects = [RecordSubject::pod(&pod), RecordSubject::revision(&pod.namespace, "1")];
    let names = |table: &RecordTable| {
        let about = |subject: &RecordSubject| {
            let next = |last: &RecordKey| table.next_about(subject, Some(last));
            std::iter::successors(table.next_about(subject, None), next).collect::<Vec<_>>()
        };
        let mut names: Vec<String> = subjects.iter().flat_map(about).map(|key| key.to_string()).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(&table), ["default/1", "default/3", "default/web-app"]);
    for object in [of_revision("1"), checkpoint("web").build()] {
        table.apply(0, Event::Delete(object), NOW);
    }
    assert_eq!(names(&table), ["default/3"]);
}

#[test]
fn checkpoints_of_no_existing_container_beyond_the_limit_of_their_namespace_are_excess() {
    let mut table = RecordTable::new(2);
    let mut apply_of = |object: Checkpoint, has_container: bool| {
        let key = RecordKey::of(&object);
        table.apply(0, Event::Apply(object), NOW);
        table.count(&key, has_container);
        table.is_excess(&key)
    };
    let mut apply = |object: Checkpoint| apply_of(object, false);
    let pending = |name: &str| object(name, Phase::Pending);
    assert_eq!(["a", "b", "c"].map(|name| apply(pending(name))), [false, false, true]);
    assert!(!apply(checkpoint("web").named("d").namespace("other").phase(Phase::Pending).build()), "another namespace");
    assert!(!apply(checkpoint("web").named("e").in_progress().build()), "a request may be under way");
    assert!(!apply(object("a", Phase::Succeeded)) && !apply(object("e", Phase::Succeeded)));
    assert!(apply(pending("c")), "it is still to be written that it is");
    assert!(!apply(pending("f")), "one has finished");
    assert!(apply_of(pending("g"), false) && !apply_of(pending("h"), true), "SnapWatcher created it for a pod");
    assert!(apply_of(pending("h"), false), "its pod is gone");
    assert!(!apply_of(pending("f"), true) && !apply_of(pending("i"), false), "one has a pod now");
}
