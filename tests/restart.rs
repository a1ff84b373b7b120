//! A restart repeats and loses no request, and timelines are rebuilt from the Checkpoints.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::objects::{deployment, pod};
use lab::snaphook::{Behaviour, Gate};
use lab::{Namespace, Snapwatcher, in_namespace};
use serde_json::Value;
use snapwatcher_api::keys::CONTAINERS;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Waits until the timeline of this pod is finished, and returns it.
async fn finished_timeline(ns: &Namespace, watcher: &Snapwatcher, pod: &Pod) -> Value {
    ns.until("the pod's timeline is finished", async || {
        let timeline = watcher.pod_timeline(&pod.uid().unwrap()).await.unwrap().unwrap_or_default();
        // A restarted process sees the Checkpoint and the pod in any order.
        let is_done = timeline["stages"]["finished"].is_string() && timeline["stages"]["seen"].is_string();
        if is_done { Ok(timeline) } else { Err(timeline.to_string()) }
    })
    .await
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_timeline_shows_all_stages_and_is_rebuilt_from_the_checkpoint() {
    in_namespace("a_timeline_shows_all_stages", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let wanted = pod("web").labelled().containers(["app", "proxy"]).annotate(CONTAINERS, "*").build();
        let web = ns.ready_pod(&wanted).await;
        let timeline = finished_timeline(&ns, &watcher, &web).await;
        let stages = ["admitted", "seen", "ready", "claimed", "requested", "finished"];
        let times = stages.map(|stage| time(&timeline["stages"][stage]));
        assert!(times.is_sorted(), "{timeline}");
        assert_eq!(timeline["admission"]["by_other_replica"], false, "{timeline}");
        assert_eq!(timeline["waiting_for"], Value::Null, "{timeline}");
        let records = ns
            .until("both records have succeeded", async || {
                let records = ns.records_of("web").await;
                let is_done = records.iter().all(|record| record.state() == "Succeeded");
                if is_done { Ok(records) } else { Err(format!("{records:?}")) }
            })
            .await;
        for record in &records {
            let container = &timeline["containers"][record.container()];
            assert_eq!(container["checkpoint"], record.name.as_str());
            assert_eq!(container["outcome"], "Succeeded");
        }

        watcher.restart().await.unwrap();
        let rebuilt = finished_timeline(&ns, &watcher, &web).await;
        assert_eq!(rebuilt["admission"]["by_other_replica"], true, "another process admitted it: {rebuilt}");
        assert_eq!(records.len(), 2);
        for record in &records {
            let container = &rebuilt["containers"][record.container()];
            assert_eq!(container["checkpoint"], record.name.as_str());
            assert_eq!(container["outcome"], "Succeeded");
            for (stage, field) in [("requested", "/startTime"), ("finished", "/completionTime")] {
                let recorded: Timestamp = record.text(field).unwrap().parse().unwrap();
                assert_eq!(container[stage], format!("{recorded:.3}"), "{stage}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_request_is_repeated_after_a_restart() {
    in_namespace("no_request_is_repeated_after_a_restart", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.snaphook().answer_pod_with("rejected", Behaviour::status(400));
        ns.snaphook().answer_pod_with("unclear", Behaviour::Garbage);
        ns.create_object(&pod("rejected").labelled().build()).await;
        ns.create_object(&pod("unclear").labelled().build()).await;
        ns.create_object(&deployment("web").replicas(5).labelled().build()).await;
        for pod in ns.pods_made("web", 5).await {
            ns.record_of(&pod, "Succeeded").await;
        }
        ns.record_of("rejected", "Failed(Rejected)").await;
        ns.record_of("unclear", "Unknown(InvalidResponse)").await;
        let records = ns.records().await;

        watcher.restart().await.unwrap();
        watcher.kill().await.unwrap();
        watcher.start_again().await.unwrap();
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.snaphook().requests().len(), 8, "seven pods and the later one");
        let left: Vec<_> = ns.records().await.into_iter().filter(|record| !record.is_about("later")).collect();
        assert_eq!(left, records);
    })
    .await;
}

#[tokio::test]
async fn a_stop_waits_for_attempts_and_queued_pods_are_checkpointed_after_it() {
    in_namespace("a_stop_waits_for_attempts", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_with(Behaviour::Wait(gate.clone()));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let started: Vec<String> = (0..8).map(|number| format!("started-{number}")).collect();
        for name in &started {
            ns.create_object(&pod(name).labelled().build()).await;
        }
        ns.until("all slots are taken", async || ns.snaphook().requests().len() == 8).await;
        ns.create_object(&pod("waiting").labelled().build()).await;
        ns.record_of("waiting", "Pending").await;

        let answered = async {
            ns.until("the process is stopping", async || watcher.log().contains("SIGTERM: stopping")).await;
            gate.open();
        };
        let (ended, ()) = tokio::join!(watcher.stop(), answered);
        assert!(ended.unwrap().success());
        for name in &started {
            ns.record_of(name, "Succeeded").await;
        }

        watcher.start_again().await.unwrap();
        ns.record_of("waiting", "Succeeded").await;
        for name in started.iter().map(String::as_str).chain(["waiting"]) {
            assert_eq!(ns.request_count(name), 1, "{name}");
        }
    })
    .await;
}
