//! Checkpoints are kept while their pods exist, whatever their number and age. Afterwards they are deleted, and no
//! request is repeated.

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
async fn a_deleted_deployment_leaves_its_checkpoints_and_causes_no_request() {
    let pods = Size::chosen().of(20, 200);
    in_namespace("a_deleted_deployment_leaves_its_checkpoints", |ns| async move {
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
async fn checkpoints_of_pods_that_are_gone_are_deleted_beyond_the_limit() {
    const LIMIT: usize = 3;
    let pods = Size::chosen().of(10, 200);
    in_namespace("checkpoints_of_pods_that_are_gone", |ns| async move {
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
        assert!(watcher.log().contains("old Checkpoints"));
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.snaphook().requests().len(), pods + 1);
    })
    .await;
}

/// Creates and deletes a pod, and waits until retention has deleted its Checkpoint: one round has passed since.
async fn wait_for_a_round(ns: &Namespace, name: &str) {
    ns.create_object(&pod(name).labelled().build()).await;
    ns.record_of(name, "Succeeded").await;
    ns.delete_pod(name).await;
    ns.until("retention has deleted its Checkpoint", async || ns.records_of(name).await.is_empty()).await;
}

#[tokio::test]
async fn the_checkpoint_of_a_pod_that_exists_is_kept_whatever_its_age() {
    in_namespace("the_checkpoint_of_a_pod_that_exists_is_kept", |ns| async move {
        let args = ["--history-every", "200ms", "--history-ttl", "0s", "--history-limit", "0"];
        ns.start_snapwatcher(SNAPWATCHER, &args).await;
        let of_revision = deployment("web").replicas(2).labelled().annotate(ONCE_PER, "revision").build();
        ns.create_object(&of_revision).await;
        ns.create_object(&pod("alone").labelled().build()).await;
        let alone = ns.record_of("alone", "Succeeded").await;
        ns.create_object(&pod("opted-out").labelled().build()).await;
        let opted_out = ns.record_of("opted-out", "Succeeded").await;
        // The pod leaves the watch of labeled pods and still exists.
        ns.label_pod("opted-out", SNAP, None).await;
        ns.apply_checkpoint("manual", &json!({"pod": {"name": "alone"}})).await.unwrap();
        let manual = ns.record_named("manual", "Succeeded").await;
        let records = ns.all_records(4, "Succeeded", TIMEOUT).await;
        assert!([&alone, &opted_out, &manual].iter().all(|record| records.contains(record)));

        wait_for_a_round(&ns, "passing-1").await;
        wait_for_a_round(&ns, "passing-2").await;
        assert_eq!(ns.records().await, records, "no Checkpoint of an existing pod is deleted");
        assert_eq!(ns.snaphook().requests().len(), 6, "four, and the two of the rounds");

        // The chosen pod of the revision is deleted. The revision still exists.
        let chosen_pod =
            records.iter().find_map(|record| record.text("/pod/name").filter(|pod| pod.starts_with("web")));
        ns.delete_pod(chosen_pod.unwrap()).await;
        wait_for_a_round(&ns, "passing-3").await;
        assert_eq!(ns.records().await, records);

        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        ns.api::<Deployment>().patch("web", &PatchParams::default(), &none).await.unwrap();
        ns.delete_pod("alone").await;
        ns.delete_pod("opted-out").await;
        ns.until("all Checkpoints are deleted after their pods", async || ns.records().await.is_empty()).await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.snaphook().requests().len(), 8, "and no request was repeated");
    })
    .await;
}
