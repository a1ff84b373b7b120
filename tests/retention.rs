//! Records stay while their pods live, whatever their number and age; afterwards they go, and nothing is asked again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::objects::{deployment, pod};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{CheckpointCounts, Namespace, in_namespace, try_until};
use serde_json::json;
use snapwatcher_api::keys::{ONCE_PER, SNAP};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const TIMEOUT: Duration = Duration::from_secs(120);

async fn roll_out(ns: &Namespace, replicas: usize) -> Vec<String> {
    ns.create_object(&deployment("web").replicas(i32::try_from(replicas).unwrap()).labelled().build()).await;
    let pods = ns.pods_made("web", replicas).await;
    ns.all_records(replicas, "Succeeded", TIMEOUT).await;
    pods.into_iter().collect()
}

/// Deletes the Deployment and waits until its pods are gone.
async fn delete(ns: &Namespace) {
    let deployments: Api<Deployment> = ns.api();
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    let gone = async || ns.pods_of("web").await.is_empty();
    try_until("the pods of the Deployment are deleted", TIMEOUT, gone).await.unwrap();
}

#[tokio::test]
async fn a_deleted_deployment_leaves_its_records_and_asks_for_nothing() {
    let pods = Size::chosen().of(20, 200);
    in_namespace("a_deleted_deployment_leaves_its_records", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let names = roll_out(&ns, pods).await;
        let before = ns.records().await;
        delete(&ns).await;
        ns.later_pod_is_requested("later").await;
        ns.record_of("later", "Succeeded").await;
        assert_eq!(ns.snaphook().requests().len(), pods + 1, "once each, and the later pod");
        let mut after = ns.records().await;
        after.retain(|record| !record.is_about("later"));
        assert_eq!(after, before);
        print_result(&format!("{}, 0 further requests", CheckpointCounts::of(&ns, &names).await));
    })
    .await;
}

#[tokio::test]
async fn records_of_pods_that_are_gone_go_beyond_the_limit_and_the_newest_stay() {
    const LIMIT: usize = 3;
    let pods = Size::chosen().of(10, 200);
    in_namespace("records_of_pods_that_are_gone", |ns| async move {
        let args = ["--history-every", "300ms", "--history-limit", &LIMIT.to_string()];
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &args).await;
        roll_out(&ns, pods).await;
        let mut newest = ns.records().await;
        newest.sort_by_key(|record| record.text("/completionTime").map(str::to_owned));
        let mut newest: Vec<_> = newest.split_off(pods - LIMIT).into_iter().map(|record| record.name).collect();
        newest.sort();
        delete(&ns).await;
        let left = async || {
            let names: Vec<_> = ns.records().await.into_iter().map(|record| record.name).collect();
            if names.len() == LIMIT { Ok(names) } else { Err(format!("{} records", names.len())) }
        };
        assert_eq!(try_until("retention has taken the rest", TIMEOUT, left).await.unwrap(), newest);
        assert!(watcher.log().contains("Checkpoints of pods that are gone"));
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.snaphook().requests().len(), pods + 1);
    })
    .await;
}

/// Creates and deletes a pod, and waits until retention has taken its record: a round has begun and ended since.
async fn a_round_goes_by(ns: &Namespace, name: &str) {
    ns.create_object(&pod(name).labelled().build()).await;
    ns.record_of(name, "Succeeded").await;
    ns.delete_pod(name).await;
    ns.until("retention has taken its record", async || ns.records_of(name).await.is_empty()).await;
}

#[tokio::test]
async fn the_record_of_a_pod_that_lives_stays_whatever_its_age() {
    in_namespace("the_record_of_a_pod_that_lives_stays", |ns| async move {
        let args = ["--history-every", "200ms", "--history-ttl", "0s", "--history-limit", "0"];
        ns.start_snapwatcher(SNAPWATCHER, &args).await;
        let of_revision = deployment("web").replicas(2).labelled().annotate(ONCE_PER, "revision").build();
        ns.create_object(&of_revision).await;
        ns.create_object(&pod("alone").labelled().build()).await;
        let alone = ns.record_of("alone", "Succeeded").await;
        ns.create_object(&pod("opted-out").labelled().build()).await;
        let opted_out = ns.record_of("opted-out", "Succeeded").await;
        // Gone from the watch of labelled pods, and still there.
        ns.label_pod("opted-out", SNAP, None).await;
        ns.apply_checkpoint("by-hand", &json!({"pod": {"name": "alone"}})).await.unwrap();
        let by_hand = ns.record_named("by-hand", "Succeeded").await;
        let records = ns.all_records(4, "Succeeded", TIMEOUT).await;
        assert!([&alone, &opted_out, &by_hand].iter().all(|record| records.contains(record)));

        a_round_goes_by(&ns, "passing-1").await;
        a_round_goes_by(&ns, "passing-2").await;
        assert_eq!(ns.records().await, records, "nothing of what lives is taken");
        assert_eq!(ns.snaphook().requests().len(), 6, "four, and the passing two");

        // The pod that stands for its revision goes; its revision lives on.
        let stands_for =
            records.iter().find_map(|record| record.text("/pod/name").filter(|pod| pod.starts_with("web")));
        ns.delete_pod(stands_for.unwrap()).await;
        a_round_goes_by(&ns, "passing-3").await;
        assert_eq!(ns.records().await, records);

        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        ns.api::<Deployment>().patch("web", &PatchParams::default(), &none).await.unwrap();
        ns.delete_pod("alone").await;
        ns.delete_pod("opted-out").await;
        ns.until("all of them go with their pods", async || ns.records().await.is_empty()).await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.snaphook().requests().len(), 8, "and no request was repeated");
    })
    .await;
}
