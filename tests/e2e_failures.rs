//! Faults of a real node, and how they are reported: reason, message and Event are those of docs/troubleshooting.md.
//!
//! `make e2e` runs these tests one after the other, because they change the node that they share.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use lab::node::{KubeletSettings, Serving, with_modified_node};
use lab::objects::{COUNTING, pod};
use lab::{Namespace, RealNode, Record, in_namespace};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Retries come soon, and a Checkpoint fails with its second failed attempt.
const SOON: [&str; 6] = ["--backend", "kubelet", "--longest-wait", "500ms", "--max-attempts", "2"];

/// Holds a TCP connection of the container with itself, which CRIU refuses to dump by default. CRIU cuts a `sleep` short, so
/// the script depends on the length of none.
const CONNECTED: &str = "nc -l -p 7000 -e busybox tail -f /dev/null & \
                         until busybox grep -q :1B58 /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done; \
                         nc 127.0.0.1 7000 < /dev/zero > /dev/null & while true; do sleep 100000; done";

/// Holds some 800 MB, so that a checkpoint takes long enough to be interrupted.
const LARGE: &str = "busybox head -c 800000000 /dev/zero | busybox tail -c 800000000 | sleep 100000";

/// Starts SnapWatcher, with the second account, and creates a labeled pod that counts.
async fn with_pod(ns: &Namespace, node: &RealNode) {
    ns.make_kubelet_account().await;
    ns.start_snapwatcher(SNAPWATCHER, &SOON).await;
    create(ns, node).await;
}

async fn create(ns: &Namespace, node: &RealNode) {
    ns.create_object::<Pod>(&pod("web").labelled().runs(&node.busybox(), COUNTING).build()).await;
}

/// Waits for a record in this state whose message contains these words, and for its Event.
async fn is_reported(ns: &Namespace, state: &str, words: &[&str]) -> Record {
    let record = ns.record_of("web", state).await;
    for word in words {
        assert!(record.message().contains(word), "`{word}` in: {}", record.message());
    }
    let reason = state.split(['(', ')']).nth(1).unwrap();
    assert_eq!(ns.event_of("web", reason).await.kind, "Warning");
    record
}

#[tokio::test]
async fn a_node_without_criu_is_reported_and_waited_for() {
    in_namespace("a_node_without_criu", |ns| async move {
        let node = RealNode::attach().unwrap();
        with_modified_node(node.hide_criu(), node.show_criu(), async {
            with_pod(&ns, &node).await;
            let record = is_reported(&ns, "Pending(NodeNotPrepared)", &["criu", node.name()]).await;
            assert_eq!(record.failures(), 0);
        })
        .await;
        ns.record_of("web", "Succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_that_criu_refuses_fails_and_the_container_keeps_running() {
    in_namespace("a_checkpoint_that_criu_refuses", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.make_kubelet_account().await;
        ns.start_snapwatcher(SNAPWATCHER, &SOON).await;
        // The delay gives the script time to connect, because CRIU refuses only an established connection.
        let connected = pod("web").labelled().annotate("snap.weaversoft.io/delay", "3s");
        ns.create_object::<Pod>(&connected.runs(&node.busybox(), CONNECTED).build()).await;
        let record = is_reported(&ns, "Failed(CheckpointFailed)", &["criu", node.name()]).await;
        assert_eq!(record.failures(), 2);
        let status = ns.pod_ready("web").await.status.unwrap();
        assert!(status.container_statuses.unwrap().iter().all(|status| status.restart_count == 0));
    })
    .await;
}

#[tokio::test]
async fn a_feature_gate_that_is_off_is_reported_and_waited_for() {
    in_namespace("a_feature_gate_that_is_off", |ns| async move {
        let node = RealNode::attach().unwrap();
        let off = KubeletSettings { checkpoint: false, ..KubeletSettings::default() };
        with_modified_node(node.restart_kubelet(off), node.restart_kubelet(KubeletSettings::default()), async {
            with_pod(&ns, &node).await;
            is_reported(&ns, "Pending(CheckpointApiDisabled)", &["ContainerCheckpoint", node.name()]).await;
        })
        .await;
        ns.record_of("web", "Succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn a_kubelet_with_a_self_signed_certificate_gets_no_token() {
    in_namespace("a_kubelet_with_a_self_signed_certificate", |ns| async move {
        let node = RealNode::attach().unwrap();
        let self_signed = KubeletSettings { serving: Serving::SelfSigned, ..KubeletSettings::default() };
        with_modified_node(
            node.restart_kubelet(self_signed),
            node.restart_kubelet(KubeletSettings::default()),
            async {
                with_pod(&ns, &node).await;
                let hints = ["serverTLSBootstrap", "--kubelet-ca-file", "--kubelet-insecure-skip-verify", node.name()];
                is_reported(&ns, "Failed(KubeletUntrusted)", &hints).await;
            },
        )
        .await;
        let [record] = ns.records_of("web").await.try_into().unwrap();
        ns.checkpoints().delete(&record.name, &DeleteParams::default()).await.unwrap();
        ns.record_of("web", "Succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_right_is_named_and_waited_for() {
    in_namespace("a_revoked_right_is_named", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.make_kubelet_account().await;
        ns.revoke_checkpoints().await;
        ns.start_snapwatcher(SNAPWATCHER, &SOON).await;
        create(&ns, &node).await;
        is_reported(&ns, "Pending(Unauthorized)", &["nodes/checkpoint", &ns.kubelet_account()]).await;
        ns.grant_checkpoints().await;
        ns.record_of("web", "Succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn a_kubelet_that_is_stopped_during_a_checkpoint_makes_it_unknown() {
    in_namespace("a_kubelet_that_is_stopped_during_a_checkpoint", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.make_kubelet_account().await;
        // The delay is the time that the container needs to fill its memory.
        let large = pod("web").labelled().annotate("snap.weaversoft.io/delay", "4s").runs(&node.busybox(), LARGE);
        ns.start_snapwatcher(SNAPWATCHER, &SOON).await;
        ns.create_object::<Pod>(&large.build()).await;
        with_modified_node(
            async {
                // Once CRIU runs, the kubelet has received the request.
                ns.until("the checkpoint is being taken", async || node.must_run(["pgrep", "criu"]).await).await;
                node.stop_kubelet().await
            },
            node.start_kubelet(),
            async {
                is_reported(&ns, "Unknown(NoResponse)", &[node.name()]).await;
            },
        )
        .await;
        let [record] = ns.records_of("web").await.try_into().unwrap();
        assert_eq!((record.state().as_str(), record.attempt()), ("Unknown(NoResponse)", 1));
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_kubelet_is_waited_for() {
    in_namespace("an_unreachable_kubelet_is_waited_for", |ns| async move {
        let node = RealNode::attach().unwrap();
        ns.make_kubelet_account().await;
        create(&ns, &node).await;
        ns.pod_ready("web").await;
        with_modified_node(node.stop_kubelet(), node.start_kubelet(), async {
            ns.start_snapwatcher(SNAPWATCHER, &SOON).await;
            is_reported(&ns, "Pending(Unreachable)", &[node.name()]).await;
        })
        .await;
        ns.record_of("web", "Succeeded").await;
    })
    .await;
}
