//! Once per revision: one request for many replicas, and another pod if the first one fails, up to a limit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use lab::objects::{deployment, pod};
use lab::proxy::{Proxy, Verb, When};
use lab::snaphook::Behaviour;
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{Namespace, Record, Snapwatcher, SnapwatcherOptions, in_namespace};
use serde_json::json;
use snapwatcher_api::keys::{ONCE_PER, REVISION_LABEL};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const TIMEOUT: Duration = Duration::from_secs(30);

/// The pods of the requests to SnapHook, in the order of the requests.
fn requested_pods(ns: &Namespace) -> Vec<String> {
    ns.snaphook().requests().into_iter().map(|request| request.subject.pod).collect()
}

fn keys(ns: &Namespace) -> Vec<String> {
    ns.snaphook().requests().iter().filter_map(|request| request.idempotency_key().map(str::to_owned)).collect()
}

/// Creates a Deployment and waits until all its pods are Ready: any of them may be chosen for the revision.
async fn roll_out(ns: &Namespace, replicas: usize) -> BTreeSet<String> {
    let wanted = deployment("web").replicas(i32::try_from(replicas).unwrap()).labelled();
    ns.create_object(&wanted.annotate(ONCE_PER, "revision").build()).await;
    let pods = ns.pods_made("web", replicas).await;
    for pod in &pods {
        ns.pod_ready(pod).await;
    }
    pods
}

/// Waits until the timeline of each of these pods names this Checkpoint, so that no claim is left to make.
async fn all_covered(ns: &Namespace, watcher: &Snapwatcher, pods: &BTreeSet<String>, record: &str) {
    ns.until("all pods are covered by the Checkpoint", async || {
        let timelines = watcher.pod_timelines().await.unwrap();
        let covered = timelines["pods"].as_array().unwrap().iter().filter(|timeline| {
            timeline["pod"]["name"].as_str().is_some_and(|pod| pods.contains(pod))
                && timeline.to_string().contains(record)
        });
        let count = covered.count();
        if count == pods.len() { Ok(()) } else { Err(format!("{count} of {}: {timelines}", pods.len())) }
    })
    .await;
}

/// Two revisions of many replicas, each of which must be checkpointed once.
async fn two_revisions(ns: &Namespace, watcher: &Snapwatcher, web: Deployment, replicas: usize) {
    ns.create_object(&web).await;
    let first = ns.pods_made("web", replicas).await;
    for pod in &first {
        ns.pod_ready(pod).await;
    }
    let [record] = ns.all_records(1, "Succeeded", TIMEOUT).await.try_into().unwrap();
    all_covered(ns, watcher, &first, &record.name).await;
    assert_eq!(requested_pods(ns).len(), 1);

    let change = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    ns.api::<Deployment>().patch("web", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    let second = ns
        .until("the second revision has replaced the first", async || {
            let pods = ns.pods_of("web").await;
            (pods.len() == replicas && pods.is_disjoint(&first)).then_some(pods)
        })
        .await;
    for pod in &second {
        ns.pod_ready(pod).await;
    }
    let records = ns.all_records(2, "Succeeded", TIMEOUT).await;
    let newer = records.iter().find(|other| other.name != record.name).unwrap();
    all_covered(ns, watcher, &second, &newer.name).await;
    let requested = requested_pods(ns);
    assert!(requested.len() == 2 && first.contains(&requested[0]) && !first.contains(&requested[1]), "{requested:?}");
    print_result(&format!("{replicas} replicas, 2 revisions: {} requests", requested.len()));
}

#[tokio::test]
async fn many_replicas_of_a_revision_are_checkpointed_once_by_annotation() {
    let replicas = Size::chosen().of(10, 50);
    in_namespace("many_replicas_by_annotation", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let web = deployment("web").replicas(i32::try_from(replicas).unwrap()).labelled();
        two_revisions(&ns, &watcher, web.annotate(ONCE_PER, "revision").build(), replicas).await;
    })
    .await;
}

#[tokio::test]
async fn many_replicas_of_a_revision_are_checkpointed_once_by_flag() {
    let replicas = Size::chosen().of(10, 50);
    in_namespace("many_replicas_by_flag", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--once-per", "revision"]).await;
        let web = deployment("web").replicas(i32::try_from(replicas).unwrap()).labelled();
        two_revisions(&ns, &watcher, web.build(), replicas).await;
    })
    .await;
}

#[tokio::test]
async fn a_candidate_deleted_during_its_attempt_is_followed_by_another_pod() {
    in_namespace("a_candidate_deleted_during_its_attempt", |ns| async move {
        roll_out(&ns, 3).await;
        ns.snaphook().answer_next_with(1, &Behaviour::Hang);
        ns.start_snapwatcher(SNAPWATCHER, &["--response-timeout", "3s"]).await;
        ns.until("SnapHook has received a request for the first candidate", async || requested_pods(&ns).len() == 1)
            .await;
        let first = requested_pods(&ns).remove(0);
        ns.delete_pod(&first).await;
        let [record] = ns.all_records(1, "Succeeded", TIMEOUT).await.try_into().unwrap();
        let requested = requested_pods(&ns);
        assert!(requested.len() == 2 && requested[1] != first, "{requested:?}");
        assert_eq!(record.text("/pod/name"), Some(requested[1].as_str()));
        assert_eq!(keys(&ns), [format!("{}-0", record.uid), format!("{}-1-0", record.uid)]);
    })
    .await;
}

#[tokio::test]
async fn a_candidate_that_is_gone_before_its_request_does_not_count() {
    in_namespace("a_candidate_that_is_gone_before_its_request", |ns| async move {
        let pods = roll_out(&ns, 2).await;
        let proxy = Proxy::start(ns.access()).await;
        let options =
            SnapwatcherOptions { binary: SNAPWATCHER.into(), kubeconfig: proxy.kubeconfig(), ..Default::default() };
        // The live read before the request.
        let read = proxy.hold_request(When::call(Verb::Get, "pods"));
        ns.launch_snapwatcher(options).await;
        read.received().await;
        for pod in &pods {
            ns.delete_pod(pod).await;
        }
        read.deliver();
        let [record] = ns.all_records(1, "Succeeded", TIMEOUT).await.try_into().unwrap();
        assert_eq!(record.attempt(), 1);
        let requested = requested_pods(&ns);
        assert!(requested.len() == 1 && !pods.contains(&requested[0]), "{requested:?}");
    })
    .await;
}

#[tokio::test]
async fn a_rejected_candidate_is_followed_by_another_pod() {
    in_namespace("a_rejected_candidate_is_followed_by_another", |ns| async move {
        roll_out(&ns, 3).await;
        ns.snaphook().answer_next_with(1, &Behaviour::status(400));
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let [record] = ns.all_records(1, "Succeeded", TIMEOUT).await.try_into().unwrap();
        let requested = requested_pods(&ns);
        assert!(requested.len() == 2 && requested[0] != requested[1], "{requested:?}");
        assert_eq!((record.attempt(), record.failures()), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn at_most_three_pods_of_a_revision_are_attempted() {
    in_namespace("at_most_three_pods_of_a_revision", |ns| async move {
        roll_out(&ns, 5).await;
        ns.snaphook().answer_with(Behaviour::status(400));
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let [record]: [Record; 1] = ns.all_records(1, "Failed(Rejected)", TIMEOUT).await.try_into().unwrap();
        ns.snaphook().answer_with(Behaviour::Succeed);
        ns.later_pod_is_requested("later").await;
        let mut requested = requested_pods(&ns);
        requested.retain(|pod| pod != "later");
        assert_eq!(requested.iter().collect::<BTreeSet<_>>().len(), 3, "{requested:?}");
        assert_eq!(requested.len(), 3);
        let uid = &record.uid;
        assert_eq!(keys(&ns)[..3], [format!("{uid}-0"), format!("{uid}-1-0"), format!("{uid}-2-0")]);
    })
    .await;
}

#[tokio::test]
async fn a_rolled_pod_of_a_controller_without_a_hash_label_is_checkpointed_again() {
    in_namespace("a_rolled_pod_of_a_controller_without_a_hash_label", |ns| async move {
        let arguments = ["--once-per", "revision", "--revision-labels", "strimzi.io/revision"];
        ns.start_snapwatcher(SNAPWATCHER, &arguments).await;
        let owner = json!({
            "apiVersion": "core.strimzi.io/v1beta2", "kind": "StrimziPodSet", "name": "kafka", "controller": true,
            "uid": "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11",
        });
        let of = |name: &str, key: &str, revision: &str| {
            let mut wanted = pod(name).labelled().annotate(key, revision).build();
            wanted.metadata.owner_references = Some(vec![serde_json::from_value(owner.clone()).unwrap()]);
            wanted
        };
        for (round, (revision, requests)) in [("6a6a679b", 1), ("6a6a679b", 1), ("0c1d2e3f", 2)].into_iter().enumerate()
        {
            ns.ready_pod(&of("kafka-0", "strimzi.io/revision", revision)).await;
            ns.until_requested("kafka-0", requests).await;
            ns.later_pod_is_requested(&format!("later-{round}")).await;
            assert_eq!(ns.request_count("kafka-0"), requests, "{revision}");
            ns.delete_pod("kafka-0").await;
        }
        // The pod names another key.
        let mut wanted = of("other-0", "example.com/rev", "1");
        wanted.annotations_mut().insert(REVISION_LABEL.to_owned(), "example.com/rev".to_owned());
        ns.ready_pod(&wanted).await;
        ns.until_requested("other-0", 1).await;
    })
    .await;
}
