//! How many archives a namespace may have written to a node.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use lab::in_namespace;
use serde_json::json;

use crate::nodes::{Nodes, make_account, start};

#[tokio::test]
async fn a_namespace_cannot_fill_the_disk_of_a_node_by_manual_checkpoints() {
    in_namespace("a_namespace_cannot_fill_the_disk_of_a_node", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 2).await;
        start(&ns, &nodes, &["--kubelet-archive-budget", "3Gi"]).await;
        let limited = |node: usize, name: &str| {
            let mut pod = nodes.pod(node, name);
            let limits = Some([("memory".to_owned(), Quantity("1Gi".to_owned()))].into());
            let resources = ResourceRequirements { limits, ..ResourceRequirements::default() };
            pod.spec.as_mut().unwrap().containers[0].resources = Some(resources);
            pod
        };
        ns.create_object(&limited(0, "web-0")).await;
        ns.record_of("web-0", "Succeeded").await;
        for number in 0..10 {
            ns.apply_checkpoint(&format!("manual-{number}"), &json!({"pod": {"name": "web-0"}})).await.unwrap();
        }
        let waiting = ns.until("three archives are written, and the other Checkpoints wait", async || {
            let records = ns.records().await;
            let count = |state: &str| records.iter().filter(|record| record.state() == state).count();
            let states = (count("Succeeded"), count("Pending(TooSoon)"));
            let waiting = || records.iter().find(|record| record.state() == "Pending(TooSoon)").cloned();
            if states == (3, 8) { waiting().ok_or_else(String::new) } else { Err(format!("{states:?}")) }
        });
        let waiting = waiting.await;
        assert!(waiting.message().contains("`--kubelet-archive-budget`"), "{}", waiting.message());
        assert_eq!(nodes.kubelets[0].requests().len(), 3);
        ns.create_object(&limited(1, "web-1")).await;
        ns.record_of("web-1", "Succeeded").await;
    })
    .await;
}
