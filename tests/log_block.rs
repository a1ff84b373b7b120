//! The block in the log, which people and tools have read since the first SnapWatcher.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::objects::{deployment, pod};
use lab::{Namespace, PodStatus, Snapwatcher, in_namespace};
use serde_json::{Value, json};
use snapwatcher_api::keys::CONTAINERS;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap()
}

/// Waits until the log has that many blocks about the pod.
async fn until_logged(ns: &Namespace, watcher: &Snapwatcher, pod: &str, times: usize) {
    ns.until(&format!("the log has {times} blocks of pod `{pod}`"), async || {
        let blocks = watcher.blocks(ns.name(), pod);
        if blocks.len() == times { Ok(()) } else { Err(format!("{blocks:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_block_is_that_of_the_original() {
    in_namespace("the_block_is_that_of_the_original", |ns| async move {
        ns.create_object(&deployment("my-app").labelled().build()).await;
        let name = ns.pods_made("my-app", 1).await.pop_first().unwrap();
        let pod = ns.pod_ready(&name).await;
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.until_requested(&name, 1).await;
        until_logged(&ns, &watcher, &name, 1).await;
        let block = watcher.blocks(ns.name(), &name).remove(0);
        let (prefix, block) = block.split_at(block.find("Now we should").unwrap());
        assert!(prefix.ends_with(" INFO "), "the first line has the prefix: {prefix}");
        let expected = format!(
            "Now we should checkpoint\n  \
               Event:      ADDED\n  \
               Namespace:  {}\n  \
               Deployment: my-app\n  \
               Pod:        {name}\n  \
               Container:  app\n  \
               Node:       {}",
            ns.name(),
            node_of(&pod),
        );
        assert_eq!(block, expected);
    })
    .await;
}

#[tokio::test]
async fn in_json_the_block_is_one_object_with_the_same_fields() {
    in_namespace("in_json_the_block_is_one_object", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--log-format", "json"]).await;
        ns.create_object(&deployment("web").labelled().build()).await;
        let of_deployment = ns.pods_made("web", 1).await.pop_first().unwrap();
        ns.ready_pod(&pod("bare").labelled().build()).await;
        for (name, key, workload) in [(of_deployment.as_str(), "deployment", "web"), ("bare", "workload", "Pod/bare")] {
            ns.record_of(name, "Succeeded").await;
            let line = ns
                .until(&format!("the block of pod `{name}`"), async || {
                    let log = watcher.log();
                    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                    lines.find(|line| line["message"] == "Now we should checkpoint" && line["pod"] == name)
                })
                .await;
            let mut line = line.as_object().unwrap().clone();
            assert!(line.remove("timestamp").is_some());
            line.remove("target");
            let expected = json!({
                "level": "INFO", "message": "Now we should checkpoint", "event": "MODIFIED",
                "namespace": ns.name(), key: workload, "pod": name, "container": "app",
            });
            assert_eq!(line.remove("node").unwrap(), json!(node_of(&ns.api::<Pod>().get(name).await.unwrap())));
            assert_eq!(Value::Object(line), expected);
        }
        assert!(
            watcher.log().lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()))
        );
    })
    .await;
}

#[tokio::test]
async fn without_a_back_end_checkpoints_are_only_logged() {
    for args in [["--backend=log"], ["--snap-back-api-url="]] {
        in_namespace("without_a_back_end_checkpoints_are_only_logged", |ns| async move {
            let watcher = ns.start_snapwatcher(SNAPWATCHER, &args).await;
            let two = pod("two").labelled().containers(["app", "proxy"]).annotate(CONTAINERS, "*").hold().build();
            let two = ns.scheduled(&two).await;
            ns.set_status(&two, &PodStatus::ready(&two)).await;
            until_logged(&ns, &watcher, "two", 2).await;
            let timeline = watcher.pod_timeline(&two.uid().unwrap()).await.unwrap().unwrap();
            assert!(timeline["containers"]["proxy"]["claimed"].is_string(), "{timeline}");

            ns.set_status(&two, &PodStatus::not_ready(&two)).await;
            ns.set_status(&two, &PodStatus::ready(&two)).await;
            ns.create_object(&pod("later").labelled().build()).await;
            until_logged(&ns, &watcher, "later", 1).await;
            until_logged(&ns, &watcher, "two", 2).await;

            watcher.restart().await.unwrap();
            // Without a back-end, claims are kept in memory only.
            until_logged(&ns, &watcher, "two", 4).await;
            until_logged(&ns, &watcher, "later", 2).await;
            assert!(watcher.blocks(ns.name(), "later")[1].contains("  Event:      ADDED\n"));
            assert_eq!(ns.records().await, []);
            assert!(ns.snaphook().requests().is_empty());
        })
        .await;
    }
}
