//! How long it takes from Ready to the archive on disk; the figures are in docs/benchmarks.md.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::objects::{COUNTING, pod};
use lab::terminal::print_result;
use lab::{RealNode, in_namespace};
use serde_json::Value;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const PODS: usize = 20;

fn stage(timeline: &Value, name: &str) -> Timestamp {
    timeline["stages"][name].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_time_from_ready_to_an_archive_is_measured_over_twenty_pods() {
    in_namespace("from_ready_to_an_archive", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.make_kubelet_account().await;
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--backend", "kubelet", "--once-per", "pod"]).await;
        let mut took = Vec::new();
        for number in 0..PODS {
            let name = format!("web-{number}");
            let made = pod(&name).labelled().runs(&node.busybox(), COUNTING).build();
            let uid = ns.create_object::<Pod>(&made).await.uid().unwrap();
            ns.record_of(&name, "Succeeded").await;
            let timeline = watcher.pod_timeline(&uid).await.unwrap().unwrap();
            took.push(stage(&timeline, "finished").duration_since(stage(&timeline, "ready")).as_millis());
            ns.delete_pod(&name).await;
        }
        took.sort_unstable();
        let (median, most) = (took[PODS / 2], took[PODS - 1]);
        print_result(&format!(
            "e2e_latency: from Ready to the archive on disk, {PODS} pods: p50 {median} ms, max {most} ms"
        ));
        assert_eq!(node.archives().iter().filter(|path| path.contains(ns.name())).count(), PODS);
    })
    .await;
}
