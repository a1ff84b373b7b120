//! How many archives a namespace may have written to a node, and how often one container is checkpointed.

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::DeleteParams;
use lab::{Namespace, Record, in_namespace};
use serde_json::json;

use crate::nodes::{Nodes, make_account, start};

/// A pod whose archive counts 1 GiB.
fn limited(nodes: &Nodes, node: usize, name: &str) -> Pod {
    let mut pod = nodes.pod(node, name);
    let half = || Quantity("512Mi".to_owned());
    let limits = Some([("memory".to_owned(), half()), ("ephemeral-storage".to_owned(), half())].into());
    let resources = ResourceRequirements { limits, ..ResourceRequirements::default() };
    pod.spec.as_mut().unwrap().containers[0].resources = Some(resources);
    pod
}

/// Waits until so many Checkpoints have succeeded and so many are beyond the limit, and returns one of these.
async fn one_that_waits(ns: &Namespace, succeeded: usize, waiting: usize) -> Record {
    ns.until("some archives are written, and the other Checkpoints wait", async || {
        let records = ns.records().await;
        let count = |state: &str| records.iter().filter(|record| record.state() == state).count();
        let states = (count("Succeeded"), count("Pending(TooSoon)"));
        let first = || records.iter().find(|record| record.state() == "Pending(TooSoon)").cloned();
        if states == (succeeded, waiting) { first().ok_or_else(String::new) } else { Err(format!("{states:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_namespace_cannot_fill_the_disk_of_a_node_by_manual_checkpoints() {
    in_namespace("a_namespace_cannot_fill_the_disk_of_a_node", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 2).await;
        let watcher = start(&ns, &nodes, &["--kubelet-archive-budget", "3Gi"]).await;
        ns.create_object(&limited(&nodes, 0, "web-0")).await;
        let first = ns.record_of("web-0", "Succeeded").await;
        assert_eq!(first.status["location"]["countedBytes"], 1_u64 << 30);
        for number in 0..10 {
            ns.apply_checkpoint(&format!("manual-{number}"), &json!({"pod": {"name": "web-0"}})).await.unwrap();
        }
        let waiting = one_that_waits(&ns, 3, 8).await;
        assert!(waiting.message().contains("`--kubelet-archive-budget`"), "{}", waiting.message());

        // Neither a restart nor the deletion of Checkpoints gives it more.
        watcher.restart().await.unwrap();
        ns.apply_checkpoint("after-the-restart", &json!({"pod": {"name": "web-0"}})).await.unwrap();
        ns.record_named("after-the-restart", "Pending(TooSoon)").await;
        for record in ns.records().await {
            ns.checkpoints().delete(&record.name, &DeleteParams::default()).await.unwrap();
        }
        ns.apply_checkpoint("after-the-deletion", &json!({"pod": {"name": "web-0"}})).await.unwrap();
        ns.record_named("after-the-deletion", "Pending(TooSoon)").await;
        assert_eq!(nodes.kubelets[0].requests().len(), 3);
        ns.create_object(&limited(&nodes, 1, "web-1")).await;
        ns.record_of("web-1", "Succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn an_automatic_checkpoint_that_is_deleted_is_not_taken_again_within_the_interval() {
    in_namespace("an_automatic_checkpoint_that_is_deleted", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 1).await;
        let watcher = start(&ns, &nodes, &["--kubelet-archive-budget", "20Gi"]).await;
        ns.create_object(&limited(&nodes, 0, "web-0")).await;
        let first = ns.record_of("web-0", "Succeeded").await;
        watcher.restart().await.unwrap();
        ns.checkpoints().delete(&first.name, &DeleteParams::default()).await.unwrap();
        let again = ns.record_of("web-0", "Pending(TooSoon)").await;
        assert!(again.message().contains("create a manual Checkpoint"), "{}", again.message());
        assert_eq!(nodes.kubelets[0].requests().len(), 1);
        ns.apply_checkpoint("now", &json!({"pod": {"name": "web-0"}})).await.unwrap();
        ns.record_named("now", "Succeeded").await;
        assert_eq!(nodes.kubelets[0].requests().len(), 2);
    })
    .await;
}
