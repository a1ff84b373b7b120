//! Pods that exist before SnapWatcher starts: each is checkpointed once, and a restart sends and claims nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lab::objects::deployment;
use lab::proxy::{Proxy, Verb, When};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{CheckpointCounts, Namespace, Snapwatcher, SnapwatcherOptions, in_namespace, try_until};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const TIMEOUT: Duration = Duration::from_secs(300);

/// Waits until a claim has found the Checkpoint of this many pods, so that no claim is left to make.
async fn all_covered(watcher: &Snapwatcher, pods: usize) {
    let covered = async || {
        let count = watcher.metric("snapwatcher_checkpoint_claims_total{result=\"existing\"}").await.unwrap();
        let count = count.unwrap_or_default();
        if count >= f64::from(u32::try_from(pods).unwrap()) { Ok(()) } else { Err(format!("{count} claims")) }
    };
    try_until("all pods are covered by a record", TIMEOUT, covered).await.unwrap();
}

async fn roll_out(ns: &Namespace, pods: usize) -> Vec<String> {
    ns.create_object(&deployment("web").replicas(i32::try_from(pods).unwrap()).labelled().build()).await;
    let made = async || {
        let names = ns.pods_of("web").await;
        if names.len() == pods { Ok(names) } else { Err(format!("{} pods", names.len())) }
    };
    try_until("all pods are made", TIMEOUT, made).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn existing_pods_are_checkpointed_once_each_and_a_restart_claims_nothing() {
    let pods = Size::chosen().of(60, 2_000);
    in_namespace("existing_pods_are_checkpointed_once_each", |ns| async move {
        let names = roll_out(&ns, pods).await;
        let proxy = Proxy::start(ns.access()).await;
        let args = ["--max-concurrent", "64", "--max-concurrent-per-node", "64"].map(str::to_owned).to_vec();
        let kubeconfig = proxy.kubeconfig();
        let options =
            SnapwatcherOptions { binary: SNAPWATCHER.into(), kubeconfig, args, ..SnapwatcherOptions::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        ns.all_records(pods, "Succeeded", TIMEOUT).await;
        let claims = When::call(Verb::Create, "checkpoints");
        assert_eq!((ns.snaphook().requests().len(), proxy.count(&claims)), (pods, pods));

        watcher.restart().await.unwrap();
        all_covered(&watcher, pods).await;
        ns.later_pod_is_requested("later").await;
        let repeated = ns.snaphook().requests().len() - pods - 1;
        let claimed = proxy.count(&claims) - pods - 1;
        print_result(&format!(
            "{}; after a restart {repeated} requests, {claimed} POSTs",
            CheckpointCounts::of(&ns, &names).await
        ));
        assert_eq!((repeated, claimed), (0, 0), "apart from the later pod");
    })
    .await;
}
