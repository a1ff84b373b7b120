//! A labeled workload on a real node: its kubelet writes a CRIU archive of each container to its disk, and the containers
//! keep running.
//!
//! `make e2e` runs these tests one after the other, because they change the node that they share.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use lab::check_command;
use lab::objects::{COUNTING, deployment, pod};
use lab::snaphook::{Behaviour, Kubelets};
use lab::{Namespace, RealNode, in_namespace};
use serde_json::Value;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// How many numbers a program must print after its checkpoint: those of a second.
const ON: u64 = 10;

/// The archives of a container, by the name that a kubelet gives them.
fn archives_of(node: &RealNode, ns: &Namespace, pod: &str, container: &str) -> Vec<String> {
    let start = format!("/var/lib/kubelet/checkpoints/checkpoint-{pod}_{}-{container}-", ns.name());
    node.archives().into_iter().filter(|path| path.starts_with(&start)).collect()
}

/// All numbers that a container has printed.
async fn numbers(ns: &Namespace, pod: &str, container: &str) -> Vec<u64> {
    let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
    let log = ns.api::<Pod>().logs(pod, &params).await.unwrap_or_default();
    log.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Waits until a container has counted further, and asserts that it was never restarted.
async fn counts_on(ns: &Namespace, pod: &str, container: &str) {
    let from = numbers(ns, pod, container).await.last().copied().unwrap_or_default();
    let counted = ns
        .until(&format!("container `{container}` of pod `{pod}` counts on"), async || {
            let seen = numbers(ns, pod, container).await;
            if seen.last() >= Some(&(from + ON)) { Ok(seen) } else { Err(format!("{:?}, from {from}", seen.last())) }
        })
        .await;
    assert!(counted.iter().copied().eq(1..=counted.len() as u64), "{counted:?}");
    let status = ns.api::<Pod>().get(pod).await.unwrap().status.unwrap();
    assert!(status.container_statuses.unwrap().iter().all(|status| status.restart_count == 0));
}

/// Asserts that there is exactly one archive of a container, at the path in its record, with this container in it.
async fn is_archived(ns: &Namespace, node: &RealNode, pod: &str, container: &str) {
    let records = ns.records_of(pod).await;
    let record = records.iter().find(|record| record.container() == container).unwrap();
    let [archive] = archives_of(node, ns, pod, container).try_into().unwrap();
    assert_eq!(record.text("/location/archive"), Some(archive.as_str()));
    assert_eq!(record.text("/location/node"), Some(node.name()));
    let config = node.must_run(["tar", "-xOf", &archive, "config.dump"]).await.unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    // containerd's name of the container: container, pod, namespace, UID, number of starts.
    let name = format!("{container}_{pod}_{}_", ns.name());
    assert!(config["name"].as_str().is_some_and(|found| found.starts_with(&name)), "{config}");
    assert_eq!(config["rootfsImageName"], node.busybox(), "{config}");
    let shown = node.must_run(["checkpointctl", "show", &archive]).await.unwrap();
    assert!(shown.contains(container), "{shown}");
}

/// Creates a Deployment of one container and a pod of two, which all count. Returns the pods and containers to archive.
async fn create_workloads(ns: &Namespace, node: &RealNode) -> Vec<(String, &'static str)> {
    let web = deployment("web").labelled().runs(&node.busybox(), COUNTING).build();
    ns.create_object(&web).await;
    let pair = pod("pair").labelled().containers(["one", "two"]).annotate("snap.weaversoft.io/containers", "*");
    ns.create_object::<Pod>(&pair.runs(&node.busybox(), COUNTING).build()).await;
    let web = ns.pods_made("web", 1).await.into_iter().next().unwrap();
    vec![(web, "app"), ("pair".to_owned(), "one"), ("pair".to_owned(), "two")]
}

async fn are_archived_once_and_count_on(ns: &Namespace, node: &RealNode, expected: &[(String, &'static str)]) {
    for (pod, container) in expected {
        ns.until(&format!("container `{container}` of pod `{pod}` is checkpointed"), async || {
            let records = ns.records_of(pod).await;
            let record = records.iter().find(|record| record.container() == *container);
            match record.map(lab::Record::state) {
                Some(state) if state == "Succeeded" => Ok(()),
                other => Err(format!("{other:?}: {records:?}")),
            }
        })
        .await;
        is_archived(ns, node, pod, container).await;
    }
    for (pod, container) in expected {
        counts_on(ns, pod, container).await;
    }
    assert_eq!(ns.records().await.len(), expected.len());
}

#[tokio::test]
async fn each_container_of_a_labeled_workload_is_archived_once_by_its_kubelet() {
    in_namespace("archived_once_by_its_kubelet", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.make_kubelet_account().await;
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--backend", "kubelet"]).await;
        let expected = create_workloads(&ns, &node).await;
        are_archived_once_and_count_on(&ns, &node, &expected).await;

        // A restart repeats no request, and a pod created after it is checkpointed too.
        watcher.restart().await.unwrap();
        ns.create_object::<Pod>(&pod("later").labelled().runs(&node.busybox(), COUNTING).build()).await;
        ns.record_of("later", "Succeeded").await;
        for (pod, container) in &expected {
            is_archived(&ns, &node, pod, container).await;
        }
        assert!(ns.snaphook().requests().is_empty());
        asked_about_the_second_account(&ns);
        continues_from_its_archive(&ns, &node, &expected[0]).await;
        let arguments = ns.check_arguments(&["--backend", "kubelet", "-o", "json"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let checked = check_command::run(SNAPWATCHER.as_ref(), &ns.access().kubeconfig(), &arguments).await.unwrap();
        let findings = checked.findings().unwrap();
        let of_node = findings.iter().find(|finding| finding.what.contains(node.name())).unwrap();
        assert_eq!(of_node.state, "ok", "{of_node:?}");
    })
    .await;
}

/// Makes an image of the archive and restores it: the program counts further from where it was. The pod's label says that it
/// runs from a checkpoint, so it is not checkpointed again.
async fn continues_from_its_archive(ns: &Namespace, node: &RealNode, (pod_name, container): &(String, &str)) {
    let [archive] = archives_of(node, ns, pod_name, container).try_into().unwrap();
    let image = node.push_archive(&format!("{}:1", ns.name()), &archive, container).await.unwrap();
    let restored = pod("restored").labelled().label("snap.weaversoft.io/mutated", "true").image(&image).build();
    ns.create_object::<Pod>(&restored).await;
    ns.pod_ready("restored").await;
    let from = numbers(ns, "restored", container).await.last().copied().unwrap_or_default();
    ns.until("the restored program counts further", async || {
        let seen = numbers(ns, "restored", container).await;
        // A restarted program would begin at 1.
        if seen.last() >= Some(&(from + ON)) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert!(ns.records_of("restored").await.is_empty());
}

/// The kubelet asked the API server whether the second account may create checkpoints, and about no other right.
fn asked_about_the_second_account(ns: &Namespace) {
    let log = std::fs::read_to_string(ns.access().audit_log()).unwrap();
    let reviews = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asked: Vec<Value> = reviews
        .filter(|entry| entry["objectRef"]["resource"] == "subjectaccessreviews")
        .filter(|entry| entry["user"]["username"].as_str().is_some_and(|user| user.starts_with("system:node:")))
        .filter(|entry| entry["requestObject"]["spec"]["user"] == ns.kubelet_account().as_str())
        .map(|entry| entry["requestObject"]["spec"]["resourceAttributes"].clone())
        .collect();
    assert!(!asked.is_empty(), "no review of {}", ns.kubelet_account());
    for attributes in asked {
        let about = ["verb", "resource", "subresource"].map(|name| attributes[name].as_str().unwrap_or_default());
        assert_eq!(about, ["create", "nodes", "checkpoint"], "{attributes}");
    }
}

#[tokio::test]
async fn each_container_of_a_labeled_workload_is_archived_once_by_snaphook() {
    in_namespace("archived_once_by_snaphook", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.snaphook().answer_with(Behaviour::Kubelet(Kubelets::of(ns.access()).await.unwrap()));
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let expected = create_workloads(&ns, &node).await;
        are_archived_once_and_count_on(&ns, &node, &expected).await;
        assert_eq!(ns.snaphook().requests().len(), expected.len());
        assert!(ns.snaphook().violations().is_empty());
    })
    .await;
}
