//! Pods that are as large as the API server accepts, with manual Checkpoints: whatever a back-end needs of a pod, what is read of it
//! takes little memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use lab::objects::pod;
use lab::{MemoryLimit, Namespace, in_namespace};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The chart's limit for the container.
const MEMORY_LIMIT: u64 = 256 * 1024 * 1024;
/// What these pods may add to the peak. A tree of one of them alone takes more.
const MOST_MIB: u64 = 64;
const PODS: usize = 8;
/// Several attempts read the same pod at once.
const CHECKPOINTS_OF_POD: usize = 3;
/// 1.4 MB of JSON. etcd stores no more than 1.5 MiB, of which each takes 11 bytes.
const TOLERATIONS: usize = 120_000;

fn large(name: &str) -> Pod {
    let toleration = Toleration { key: Some("a".to_owned()), ..Toleration::default() };
    pod(name).labelled().spec(|spec| spec.tolerations = Some(vec![toleration; TOLERATIONS])).build()
}

/// A large pod that never runs.
fn waiting(name: &str) -> Pod {
    let mut pod = large(name);
    let spec = pod.spec.as_mut().unwrap();
    spec.node_selector = Some([("none".to_owned(), "none".to_owned())].into());
    pod
}

/// The most memory that the process has had.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

async fn takes_little_memory(ns: &Namespace, args: &[&str]) {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, args).await;
    let pid = watcher.pid().await;
    // Without root there is no limit, and the peak alone shows it.
    let limit = MemoryLimit::apply(pid, MEMORY_LIMIT).ok();
    for number in 0..PODS {
        ns.create_object(&waiting(&format!("large-{number}"))).await;
    }
    let before = peak_mib(pid);
    let names =
        (0..PODS).flat_map(|pod| (0..CHECKPOINTS_OF_POD).map(move |number| (pod, format!("now-{pod}-{number}"))));
    for (pod, name) in names.clone() {
        ns.apply_checkpoint(&name, &json!({"pod": {"name": format!("large-{pod}")}})).await.unwrap();
    }
    for (_, name) in names {
        ns.record_named(&name, "Pending(NotReady)").await;
    }
    let more = peak_mib(pid) - before;
    assert!(more < MOST_MIB, "{more} MiB more than {before} MiB");
    assert_eq!(watcher.pid().await, pid);
    watcher.ready().await.unwrap();
    watcher.stop().await.unwrap();
    drop(limit);
}

#[tokio::test]
async fn attempts_of_the_largest_pods_take_little_memory_with_the_back_end_kubelet() {
    in_namespace("large_pods_with_the_back_end_kubelet", |ns| async move {
        takes_little_memory(&ns, &["--backend", "kubelet", "--kubelet-archive-budget", "20Gi"]).await;
    })
    .await;
}

#[tokio::test]
async fn attempts_of_the_largest_pods_take_little_memory_with_a_contract_that_sends_pods() {
    in_namespace("large_pods_with_a_contract_that_sends", |ns| async move {
        takes_little_memory(&ns, &["--snap-back-api-contract", "snapapi-pod-spec"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_too_large_to_be_sent_fails_with_a_message_and_others_are_sent() {
    in_namespace("a_pod_that_is_too_large_to_be_sent", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &["--snap-back-api-contract", "snapapi-pod-spec"]).await;
        ns.ready_pod(&large("large")).await;
        let record = ns.record_of("large", "Failed(Rejected)").await;
        assert!(record.message().contains("`snapapi-pod-spec` sends at most 512 KiB"), "{}", record.message());
        ns.create_object(&pod("web").labelled().build()).await;
        ns.record_of("web", "Succeeded").await;
        assert_eq!(ns.request_count("large"), 0);
    })
    .await;
}
