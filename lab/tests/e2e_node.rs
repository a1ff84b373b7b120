//! The real node: a program runs, is checkpointed and restored from its archive.
//!
//! `make e2e` runs these tests one after the other, because they change the node that they share.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, LogParams, ResourceExt};
use lab::node::{KubeletAnswer, KubeletApi, KubeletSettings, Serving, with_modified_node};
use lab::objects::{COUNTING, pod};
use lab::snaphook::{Behaviour, Kubelets};
use lab::{Namespace, RealNode, in_namespace};
use serde_json::{Value, json};

/// The numbers in a pod's log since its container started, read through the API server.
async fn numbers(pods: &Api<Pod>, name: &str) -> Result<Vec<u64>, kube::Error> {
    let status = pods.get(name).await?.status.unwrap_or_default();
    let state = status.container_statuses.unwrap_or_default().into_iter().next().and_then(|status| status.state);
    let started = state.and_then(|state| state.running).and_then(|running| running.started_at);
    let since_time = started.map(|time| time.0);
    let log = pods.logs(name, &LogParams { since_time, ..LogParams::default() }).await?;
    Ok(log.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// Waits until a pod has counted to `least` and returns all its numbers.
async fn counted(ns: &Namespace, name: &str, least: u64) -> Vec<u64> {
    let pods = ns.api::<Pod>();
    ns.until(&format!("pod `{name}` has counted to {least}"), async || {
        let seen = numbers(&pods, name).await.map_err(|error| error.to_string())?;
        if seen.last().is_some_and(|last| *last >= least) { Ok(seen) } else { Err(format!("{:?}", seen.last())) }
    })
    .await
}

/// Starts a pod that counts in its only container `app`.
async fn counter(ns: &Namespace, node: &RealNode, name: &str) {
    ns.create_object::<Pod>(&pod(name).runs(&node.busybox(), COUNTING).build()).await;
    ns.pod_ready(name).await;
}

/// Requests a checkpoint of container `app` and returns the kubelet's answer. Retries if runc could not freeze the
/// container in a fifth of a second, which happens on a busy machine.
async fn checkpointed(ns: &Namespace, node: &RealNode, name: &str) -> KubeletAnswer {
    let kubelets = KubeletApi::of(ns.access()).await.unwrap();
    ns.until("the container could be frozen", async || {
        let answer = kubelets.checkpoint(node.name(), ns.name(), name, "app").await.unwrap();
        if answer.body.contains("unable to freeze") { Err(answer.body) } else { Ok(answer) }
    })
    .await
}

#[tokio::test]
async fn a_program_is_restored_from_its_archive() {
    in_namespace("continues", |ns| async move {
        let node = RealNode::attach().unwrap();
        counter(&ns, &node, "counter").await;
        let before = *counted(&ns, "counter", 30).await.last().unwrap();

        let answer = checkpointed(&ns, &node, "counter").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let archive = answer.archive().unwrap();
        assert!(node.archives().contains(&archive) && node.path(&archive).metadata().unwrap().len() > 10_000);
        let shown = node.must_run(["checkpointctl", "show", &archive]).await.unwrap();
        assert!(shown.contains("app") && shown.contains(&node.busybox()), "{shown}");

        // The checkpoint only froze the pod for a moment.
        let after = counted(&ns, "counter", before + 10).await;
        assert!(after.windows(2).all(|pair| pair[1] == pair[0] + 1), "{after:?}");

        let image = node.push_archive("goes-on:1", &archive, "app").await.unwrap();
        ns.create_object::<Pod>(&pod("restored").image(&image).build()).await;
        ns.pod_ready("restored").await;
        let restored = counted(&ns, "restored", before + 10).await;
        // A restored program continues counting after the checkpoint. A restarted one would begin at 1.
        assert!(restored[0] > before, "{restored:?} after {before}");
        assert!(restored.windows(2).all(|pair| pair[1] == pair[0] + 1), "{restored:?}");
    })
    .await;
}

#[tokio::test]
async fn snaphook_takes_a_real_checkpoint_and_quotes_a_kubelets_error() {
    in_namespace("snaphook_in_earnest", |ns| async move {
        let node = RealNode::attach().unwrap();
        counter(&ns, &node, "counter").await;
        ns.snaphook().answer_with(Behaviour::Kubelet(Kubelets::of(ns.access()).await.unwrap()));
        let url = format!("{}/kubelet/checkpoint", ns.snaphook().url());
        let ask = async |container: &str| -> Value {
            let body = json!({
                "pod_name": "counter", "namespace": ns.name(), "node_name": node.name(), "container_name": container,
                "kube_api_address": "https://kubernetes.default.svc",
            });
            let answer = reqwest::Client::new().post(&url).json(&body).send().await.unwrap();
            answer.json().await.unwrap()
        };
        let taken = ask("app").await;
        assert_eq!(taken["success"], true, "{taken}");
        let archive = taken["checkpoint_path"].as_str().unwrap().to_owned();
        assert!(node.archives().contains(&archive), "{archive}");
        let refused = ask("ghost").await;
        assert_eq!(refused["success"], false);
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("404") && message.contains("container ghost does not exist"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn a_node_without_criu_reports_it_and_takes_checkpoints_with_criu() {
    in_namespace("without_criu", |ns| async move {
        let node = RealNode::attach().unwrap();
        counter(&ns, &node, "counter").await;
        with_modified_node(node.hide_criu(), node.show_criu(), async {
            let answer = checkpointed(&ns, &node, "counter").await;
            assert_eq!(answer.status, 500);
            assert!(answer.body.contains("criu"), "{}", answer.body);
        })
        .await;
        assert_eq!(checkpointed(&ns, &node, "counter").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_kubelet_is_restarted_with_other_settings_and_back() {
    in_namespace("other_settings", |ns| async move {
        let node = RealNode::attach().unwrap();
        counter(&ns, &node, "counter").await;
        let kubelets = KubeletApi::of(ns.access()).await.unwrap();

        let gate_off = KubeletSettings { checkpoint: false, ..KubeletSettings::default() };
        let self_signed = KubeletSettings { serving: Serving::SelfSigned, ..KubeletSettings::default() };
        with_modified_node(node.restart_kubelet(gate_off), node.restart_kubelet(KubeletSettings::default()), async {
            let off = checkpointed(&ns, &node, "counter").await;
            assert_eq!((off.status, off.body.trim()), (404, "404 page not found"));

            node.restart_kubelet(self_signed).await.unwrap();
            let message = lab::terminal::error_chain(&kubelets.healthz(node.name()).await.unwrap_err());
            assert!(message.contains("certificate"), "{message}");
        })
        .await;
        ns.until("the kubelet is trusted again", async || kubelets.healthz(node.name()).await).await;
        // A kubelet that has just started does not know the pod for a moment.
        ns.until("the pod is known again", async || checkpointed(&ns, &node, "counter").await.status != 404).await;
        assert_eq!(checkpointed(&ns, &node, "counter").await.status, 200);
        assert_eq!(restarts(&ns.client(), ns.name(), "counter").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_stopped_or_frozen_kubelet_does_not_answer_until_it_runs_again() {
    in_namespace("stopped", |ns| async move {
        let node = RealNode::attach().unwrap();
        let kubelets = KubeletApi::of(ns.access()).await.unwrap();
        with_modified_node(node.stop_kubelet(), node.start_kubelet(), async {
            let message = lab::terminal::error_chain(&kubelets.healthz(node.name()).await.unwrap_err());
            assert!(message.contains("refused"), "{message}");
        })
        .await;

        with_modified_node(node.pause_kubelet(), node.resume_kubelet(), async {
            let asked = tokio::time::timeout(std::time::Duration::from_secs(1), kubelets.healthz(node.name())).await;
            assert!(asked.is_err(), "a frozen kubelet answered: {:?}", asked.unwrap());
        })
        .await;
        ns.until("the kubelet answers again", async || kubelets.healthz(node.name()).await).await;
    })
    .await;
}

async fn restarts(client: &Client, namespace: &str, name: &str) -> i32 {
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(name).await.unwrap();
    assert_eq!(pod.name_any(), name);
    pod.status.unwrap().container_statuses.unwrap().iter().map(|status| status.restart_count).sum()
}
