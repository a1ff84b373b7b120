use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::client::Body;
use serde_json::json;

use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus, Phase, PodReference, PodStatus};
use snapwatcher_api::fixtures::{CheckpointFixture, POD_UID, at, checkpoint};
use snapwatcher_api::keys::WORKLOAD;

use super::expired::{MOST_COUNTED, NAMESPACE_SHARE, UNREAD_SHARE};
use super::*;

fn finished(namespace: &str, workload: &str, name: &str, completed: i64) -> FinishedCheckpoint {
    FinishedCheckpoint {
        namespace: namespace.into(),
        name: name.into(),
        uid: name.into(),
        resource_version: "1".into(),
        workload: workload.into(),
        completed: at(completed),
        subject: RetentionSubject::Pod { name: name.into(), uid: name.into() },
    }
}

fn of_no_pod(checkpoint: FinishedCheckpoint) -> FinishedCheckpoint {
    FinishedCheckpoint { subject: RetentionSubject::Nothing, ..checkpoint }
}

fn policy(limit: usize, ttl: u64) -> RetentionPolicy {
    RetentionPolicy { limit, ttl: Duration::from_secs(ttl), every: Duration::ZERO }
}

/// The evaluation of each namespace, in the order in which the API server lists them.
fn evaluated(
    mut finished: Vec<FinishedCheckpoint>,
    policy: RetentionPolicy,
    now: i64,
    known_pods: &[&str],
) -> Vec<NamespaceCheckpoints> {
    let known_pods = known_pods.iter().map(|&uid| uid.to_owned()).collect();
    let mut namespaces: Vec<NamespaceCheckpoints> = Vec::new();
    finished.sort_by_key(|checkpoint| (checkpoint.namespace.clone(), checkpoint.name.clone()));
    for checkpoint in finished {
        if namespaces.last().is_none_or(|last| last.namespace != checkpoint.namespace) {
            namespaces.push(NamespaceCheckpoints::new(checkpoint.namespace.clone(), policy, at(now)));
        }
        namespaces.last_mut().unwrap().add(checkpoint, &known_pods);
    }
    namespaces
}

/// The names of the expired Checkpoints, the newest first.
fn names(finished: Vec<FinishedCheckpoint>, limit: usize, ttl: u64, now: i64) -> Vec<String> {
    let expired = |mut namespace: NamespaceCheckpoints| [namespace.take_unread(), namespace.into_share()].concat();
    let mut expired: Vec<_> = evaluated(finished, policy(limit, ttl), now, &[]).into_iter().flat_map(expired).collect();
    expired.sort_by(|a, b| (b.completed, &a.name).cmp(&(a.completed, &b.name)));
    expired.into_iter().map(|checkpoint| checkpoint.name).collect()
}

#[test]
fn the_newest_checkpoints_of_each_workload_are_kept() {
    let checkpoints = || {
        vec![
            finished("a", "Deployment/web", "old", 10),
            finished("a", "Deployment/web", "new", 30),
            finished("a", "Deployment/web", "middle", 20),
            finished("a", "Deployment/db", "other", 5),
            finished("b", "Deployment/web", "other-namespace", 5),
        ]
    };
    assert_eq!(names(checkpoints(), 2, 1000, 40), ["old"]);
    assert!(names(checkpoints(), 3, 1000, 40).is_empty());
    assert_eq!(names(checkpoints(), 0, 1000, 40).len(), 5);
}

#[test]
fn of_checkpoints_that_finished_together_those_with_the_first_names_are_kept() {
    let checkpoints = ["b", "a", "c"].map(|name| finished("a", "Deployment/web", name, 10)).to_vec();
    assert_eq!(names(checkpoints, 1, 1000, 40), ["b", "c"]);
}

#[test]
fn a_checkpoint_older_than_the_time_to_live_expires() {
    let checkpoints = vec![finished("a", "Deployment/web", "old", 10), finished("a", "Deployment/web", "new", 30)];
    assert_eq!(names(checkpoints, 10, 15, 40), ["old"]);
}

#[test]
fn the_checkpoint_of_a_known_pod_counts_and_is_not_looked_at() {
    let checkpoints = ["a", "b", "c"].map(|name| finished("a", "Deployment/web", name, 10)).to_vec();
    let namespaces = evaluated(checkpoints, policy(1, 1000), 40, &["a", "b"]);
    let looked_at: Vec<_> = namespaces.into_iter().flat_map(NamespaceCheckpoints::into_share).collect();
    assert_eq!(looked_at.iter().map(|checkpoint| checkpoint.name.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn the_checkpoints_of_one_namespace_do_not_fill_a_round() {
    let mut expired: Vec<_> = (0..5000).map(|number| finished("a", "", &number.to_string(), number)).collect();
    expired.push(finished("b", "Deployment/web", "web", 1));
    let mut shares = evaluated(expired, policy(0, 1000), 6000, &[]).into_iter().map(NamespaceCheckpoints::into_share);
    let (a, b) = (shares.next().unwrap(), shares.next().unwrap());
    assert_eq!((a.len(), b.len()), (NAMESPACE_SHARE, 1));
}

#[test]
fn any_checkpoint_beyond_the_share_is_looked_at_in_some_round() {
    let of = |number: i64| finished("a", "", &format!("{number:04}"), number);
    let last = of(1099);
    let is_chosen = |_| {
        let namespaces = evaluated((0..1100).map(of).collect(), policy(0, 1000), 6000, &[]);
        namespaces.into_iter().any(|namespace| namespace.into_share().contains(&last))
    };
    assert!((0..100).any(is_chosen));
}

#[test]
fn checkpoints_of_no_pod_take_nothing_of_the_share_of_others() {
    let others = (0..3000).map(|number| of_no_pod(finished("a", "", &format!("manual-{number:04}"), number)));
    let expired = others.chain([finished("a", "Deployment/web", "web", 1)]).collect();
    let mut namespace = evaluated(expired, policy(0, 1000), 4000, &[]).remove(0);
    assert_eq!(namespace.take_unread().len(), 3000);
    assert!(namespace.take_unread().is_empty());
    assert_eq!(namespace.into_share().len(), 1);
}

#[test]
fn what_is_kept_of_a_namespace_does_not_grow_with_its_checkpoints() {
    let many = 20 * i64::try_from(NAMESPACE_SHARE).unwrap();
    let name = |number: i64| format!("{number:06}");
    let of = |number: i64| finished("a", &name(number / 2), &name(number), number % 7);
    // Of 10,000 workloads none has too many.
    let kept = evaluated((0..many).map(of).collect(), policy(10, 1000), 10, &[]).remove(0).kept();
    assert!(kept <= MOST_COUNTED, "{kept}");
    // Of each, one is too many.
    let kept = evaluated((0..many).map(of).collect(), policy(1, 1000), 10, &[]).remove(0).kept();
    assert!(kept <= MOST_COUNTED + NAMESPACE_SHARE, "{kept}");
    // One workload has fewer than the limit.
    let of = |number: i64| finished("a", "", &name(number), number);
    let kept = evaluated((0..many).map(of).collect(), policy(usize::MAX, 100_000), many, &[]).remove(0).kept();
    assert!(kept <= MOST_COUNTED, "{kept}");
    let kept = evaluated((0..many).map(of).map(of_no_pod).collect(), policy(0, 1000), many, &[]).remove(0).kept();
    assert_eq!(kept, UNREAD_SHARE);
}

#[test]
fn a_checkpoint_within_the_limit_is_kept_whatever_else_is_in_the_namespace() {
    let name = |number: i64| format!("{number:06}");
    let mut checkpoints: Vec<_> = (0..10_000).map(|number| finished("a", &name(number), &name(number), 20)).collect();
    checkpoints.push(finished("a", "Deployment/web", "005000-web", 10));
    assert_eq!(names(checkpoints, 1, 1000, 40), [""; 0]);
}

/// As a person creates it, with the versions that the API server adds.
fn stored(fixture: CheckpointFixture) -> Checkpoint {
    let mut checkpoint = fixture.build();
    checkpoint.metadata.resource_version = Some("1".into());
    checkpoint.metadata.creation_timestamp = Some(Time(at(0)));
    checkpoint
}

fn subject(fixture: CheckpointFixture, now: i64) -> RetentionSubject {
    FinishedCheckpoint::of(&stored(fixture), at(now)).unwrap().subject
}

fn web() -> RetentionSubject {
    RetentionSubject::Pod { name: "web".into(), uid: POD_UID.into() }
}

#[test]
fn manual_checkpoints_that_were_never_attempted_count_together() {
    let manual = |number: i64| {
        let mut checkpoint = Checkpoint::new(
            &format!("c{number}"),
            CheckpointSpec {
                pod: Some(PodReference { name: format!("made-up-{number}"), uid: None }),
                ..Default::default()
            },
        );
        checkpoint.metadata.namespace = Some("a".into());
        checkpoint.metadata.uid = Some(number.to_string());
        checkpoint.metadata.resource_version = Some("1".into());
        checkpoint.metadata.labels = Some([(WORKLOAD.to_owned(), format!("made-up-{number}"))].into());
        let pod = Some(PodStatus { name: format!("made-up-{number}"), ..Default::default() });
        let (phase, completion_time) = (Some(Phase::Failed), Some(MicroTime(at(number))));
        checkpoint.status = Some(CheckpointStatus { phase, pod, completion_time, ..Default::default() });
        FinishedCheckpoint::of(&checkpoint, at(10)).unwrap()
    };
    assert_eq!(names((0..5).map(manual).collect(), 2, 1000, 10), ["c2", "c1", "c0"]);
}

#[test]
fn a_manual_checkpoint_needs_its_pod_only_if_it_may_count_as_a_success() {
    let manual = || checkpoint("web").in_progress();
    assert_eq!(subject(manual().phase(Phase::Succeeded), 10_000), web());
    assert_eq!(subject(checkpoint("web").phase(Phase::Failed), 0), RetentionSubject::Nothing, "never attempted");
    let without_uid = checkpoint("web").spec(|spec| spec.pod.as_mut().unwrap().uid = None);
    assert_eq!(subject(without_uid.phase(Phase::Failed), 0), RetentionSubject::Nothing, "any pod of that name");
    for phase in [Phase::Failed, Phase::Unknown] {
        // The deadline is at 130 s, after 130 s.
        assert_eq!(subject(manual().phase(phase), 259), web(), "{phase:?}");
        assert_eq!(subject(manual().phase(phase), 260), RetentionSubject::Nothing, "{phase:?}");
    }
}

#[test]
fn a_finished_checkpoint_with_an_invalid_spec_is_not_kept_for_ever() {
    let invalid = |name: &str| checkpoint("web").spec(|spec| spec.pod.as_mut().unwrap().name = name.to_owned());
    for name in ["../../other/pods/db-0", "web?x"] {
        let failed = stored(invalid(name).phase(Phase::Failed).label(WORKLOAD, "made-up"));
        let failed = FinishedCheckpoint::of(&failed, at(0)).unwrap();
        assert_eq!((failed.subject, failed.workload.as_str()), (RetentionSubject::Nothing, ""), "{name}");
        assert_eq!(subject(invalid(name).phase(Phase::Succeeded), 0), RetentionSubject::Nothing, "no URL has {name}");
    }
    // It succeeded before the schema had all its rules.
    let both = checkpoint("web").spec(|spec| spec.revision = Some("r".into())).in_progress();
    assert_eq!(subject(both.phase(Phase::Succeeded), 0), web());
}

#[test]
fn a_checkpoint_that_is_being_deleted_is_not_deleted_again() {
    let mut failed = stored(checkpoint("web").phase(Phase::Failed));
    assert!(FinishedCheckpoint::of(&failed, at(0)).is_some());
    failed.metadata.deletion_timestamp = Some(Time(at(0)));
    assert_eq!(FinishedCheckpoint::of(&failed, at(0)), None);
}

/// One round over these Checkpoints, whose pods are gone. Returns the requests, in order.
async fn requests_of_a_round(checkpoints: Vec<Checkpoint>) -> Vec<String> {
    requests_with_slow_deletions(checkpoints, |_| Duration::ZERO).await
}

/// The same, where the deletion at a path takes this long.
async fn requests_with_slow_deletions(checkpoints: Vec<Checkpoint>, takes: fn(&str) -> Duration) -> Vec<String> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (requests, checkpoints) = (Arc::clone(&log), Arc::new(checkpoints));
    let server = tower::service_fn(move |request: Request<Body>| {
        let (requests, checkpoints) = (Arc::clone(&requests), Arc::clone(&checkpoints));
        async move {
            let (method, uri) = (request.method().as_str(), request.uri());
            requests.lock().unwrap().push(format!("{method} {}", uri.path().rsplit_once('/').unwrap().1));
            let (code, object) = if uri.path().ends_with("/checkpoints") {
                let query = uri.query().unwrap_or_default();
                let token = query.split('&').find_map(|pair| pair.strip_prefix("continue="));
                let start = token.map_or(0, |token| token.parse::<usize>().unwrap());
                let end = (start + 100).min(checkpoints.len());
                let token = if end < checkpoints.len() { end.to_string() } else { String::new() };
                let metadata = json!({"resourceVersion": "1", "continue": token});
                (200, json!({"metadata": metadata, "items": checkpoints[start..end]}))
            } else if method == "DELETE" {
                tokio::time::sleep(takes(uri.path())).await;
                (200, json!({"kind": "Status", "status": "Success", "code": 200}))
            } else {
                (404, json!({"kind": "Status", "status": "Failure", "code": 404}))
            };
            let body = Body::from(object.to_string().into_bytes());
            Ok::<_, kube::Error>(Response::builder().status(code).body(body).unwrap())
        }
    });
    let client = Client::new(server, "default");
    let (listings, workloads) = (client.clone(), WorkloadLookup::new(client.clone()));
    let (scopes, revision_labels) = (vec![Scope::All], RevisionLabels::default());
    let retention = Retention { client, listings, workloads, revision_labels, scopes, policy: policy(0, 0) };
    retention.round(&HashSet::new()).await;
    std::mem::take(&mut *log.lock().unwrap())
}

fn count(requests: &[String], start: &str) -> usize {
    requests.iter().filter(|request| request.starts_with(start)).count()
}

#[tokio::test]
async fn checkpoints_that_were_never_attempted_are_deleted_without_a_read() {
    let never_attempted = |number: usize| {
        let name = format!("c{number:04}");
        stored(checkpoint("web").namespace("a").named(&name).phase(Phase::Failed))
    };
    let attempted = stored(checkpoint("web").namespace("b").named("c").in_progress().phase(Phase::Succeeded));
    let checkpoints = (0..NAMESPACE_SHARE + 150).map(never_attempted).chain([attempted]).collect();
    let requests = requests_of_a_round(checkpoints).await;
    assert_eq!(count(&requests, "GET checkpoints"), 12);
    assert_eq!(count(&requests, "DELETE c"), NAMESPACE_SHARE + 151);
    assert_eq!(count(&requests, "GET web"), 1, "the pod of the success");
    assert_eq!(count(&requests[..101], "DELETE c"), 100, "a page is worked off before the next one is read");
}

#[tokio::test]
async fn the_share_of_a_namespace_is_worked_off_before_the_next_one_is_listed() {
    let of = |namespace: &str, number: usize| {
        let name = format!("{namespace}{number:03}");
        stored(checkpoint("web").namespace(namespace).named(&name).in_progress().phase(Phase::Succeeded))
    };
    let checkpoints = (0..150).map(|number| of("a", number)).chain((0..150).map(|number| of("b", number))).collect();
    let requests = requests_of_a_round(checkpoints).await;
    let pages: Vec<usize> =
        (0..requests.len()).filter(|&number| requests[number].starts_with("GET checkpoints")).collect();
    assert_eq!(pages.len(), 3);
    assert_eq!(count(&requests[..pages[2]], "DELETE a"), 150);
    assert_eq!(count(&requests[..pages[2]], "DELETE b"), 0);
    assert_eq!(count(&requests, "DELETE b"), 150);
}

#[tokio::test(start_paused = true)]
async fn deletions_of_one_namespace_that_take_long_delay_others_by_a_minute() {
    let of = |namespace: &str, number: usize, phase| {
        let name = format!("{namespace}{number:03}");
        stored(checkpoint("web").namespace(namespace).named(&name).in_progress().phase(phase))
    };
    for seconds in [9, 3600] {
        for phase in [Phase::Succeeded, Phase::Failed] {
            let a = (0..900).map(|number| of("a", number, phase));
            let checkpoints = a.chain((0..150).map(|number| of("b", number, phase))).collect();
            let takes: fn(&str) -> Duration = match seconds {
                9 => |path| Duration::from_secs(if path.contains("/a/") { 9 } else { 0 }),
                _ => |path| Duration::from_secs(if path.contains("/a/") { 3600 } else { 0 }),
            };
            let start = tokio::time::Instant::now();
            let requests = requests_with_slow_deletions(checkpoints, takes).await;
            assert!(start.elapsed() < NAMESPACE_TIME + Duration::from_secs(15), "{seconds} s: {:?}", start.elapsed());
            assert_eq!(count(&requests, "DELETE b"), 150, "{seconds} s");
            assert!(count(&requests, "DELETE a") > 0, "{seconds} s");
        }
    }
}
