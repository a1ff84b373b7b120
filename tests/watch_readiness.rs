//! When a pod is checkpointed: it depends on the state of the pod, not on the kind of event, and happens once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use lab::objects::pod;
use lab::{PodStatus, in_namespace};
use snapwatcher_api::keys::DELAY;
use snapwatcher_daemon::clock::now;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

#[tokio::test]
async fn a_pod_ready_before_the_start_is_checkpointed_once_over_restarts() {
    in_namespace("a_pod_ready_before_the_start_is_checkpointed_once", |ns| async move {
        ns.ready_pod(&pod("early").labelled().build()).await;
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.record_of("early", "Succeeded").await;
        let [block] = watcher.blocks(ns.name(), "early").try_into().unwrap();
        assert!(block.contains("\n  Event:      ADDED\n"), "{block}");

        watcher.restart().await.unwrap();
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("early"), 1);
        assert_eq!(watcher.blocks(ns.name(), "early").len(), 1);
        assert_eq!(ns.records_of("early").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_becomes_ready_twice_is_checkpointed_once() {
    in_namespace("a_pod_that_becomes_ready_twice", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let wavering = ns.scheduled(&pod("wavering").labelled().hold().build()).await;
        ns.set_status(&wavering, &PodStatus::not_ready(&wavering)).await;
        ns.until("the pod is not eligible as NotReady", async || {
            let timeline = watcher.pod_timeline(&wavering.uid().unwrap()).await.unwrap();
            timeline.is_some_and(|timeline| timeline["waiting_for"] == "NotReady")
        })
        .await;
        assert_eq!(ns.records_of("wavering").await, []);

        ns.set_status(&wavering, &PodStatus::ready(&wavering)).await;
        ns.record_of("wavering", "Succeeded").await;
        let [block] = watcher.blocks(ns.name(), "wavering").try_into().unwrap();
        assert!(block.contains("\n  Event:      MODIFIED\n"), "{block}");

        ns.set_status(&wavering, &PodStatus::not_ready(&wavering)).await;
        ns.set_status(&wavering, &PodStatus::ready(&wavering)).await;
        ns.later_pod_is_requested("later").await;
        assert_eq!((ns.request_count("wavering"), ns.records_of("wavering").await.len()), (1, 1));
        assert_eq!(watcher.blocks(ns.name(), "wavering").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_pod_waits_until_its_chosen_container_has_started() {
    in_namespace("a_pod_waits_until_its_chosen_container_has_started", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let slow = ns.scheduled(&pod("slow").labelled().hold().build()).await;
        for status in [PodStatus::ready(&slow).without_started(), PodStatus::ready(&slow).not_started()] {
            ns.set_status(&slow, &status).await;
            ns.until("the pod waits for its container to start", async || {
                let timeline = watcher.pod_timeline(&slow.uid().unwrap()).await.unwrap();
                timeline.is_some_and(|timeline| timeline["waiting_for"] == "NotStarted: container `app`")
            })
            .await;
        }
        // A container that is not chosen does not matter.
        let wanted = pod("beside").labelled().containers(["app", "beside"]).hold().build();
        let beside = ns.scheduled(&wanted).await;
        ns.set_status(&beside, &PodStatus::ready(&beside).waiting("beside")).await;
        ns.until_requested("beside", 1).await;
        assert_eq!(ns.records_of("slow").await, []);

        ns.set_status(&slow, &PodStatus::ready(&slow)).await;
        ns.until_requested("slow", 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_delay_counts_from_the_last_time_the_pod_became_ready() {
    in_namespace("a_delay_counts_from_the_last_time_the_pod_became_ready", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let delayed = |name: &str, delay: &str| pod(name).labelled().annotate(DELAY, delay).hold().build();
        let [patient, broken, over] = [("patient", "2s"), ("broken", "1h"), ("over", "1h")];
        let patient = ns.scheduled(&delayed(patient.0, patient.1)).await;
        let broken = ns.scheduled(&delayed(broken.0, broken.1)).await;
        let over = ns.scheduled(&delayed(over.0, over.1)).await;

        let an_hour_ago = now() - SignedDuration::from_hours(1);
        ns.set_status(&over, &PodStatus::ready(&over).since(an_hour_ago)).await;
        ns.until_requested("over", 1).await;

        let since = Timestamp::from_second(now().as_second()).unwrap();
        ns.set_status(&patient, &PodStatus::ready(&patient).since(since)).await;
        ns.set_status(&broken, &PodStatus::ready(&broken).since(since)).await;
        ns.until_requested("patient", 1).await;
        let requested = ns.snaphook().requests_for(ns.name(), "patient")[0].at;
        assert!(requested >= since + Duration::from_secs(2), "Ready since {since}, requested at {requested}");
        assert_eq!(ns.records_of("broken").await, [], "Ready for too short a time");
        assert_eq!(watcher.blocks(ns.name(), "broken").len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_pod_deleted_before_its_claim_gets_no_checkpoint() {
    in_namespace("a_pod_deleted_before_its_claim_gets_no_checkpoint", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let wanted = pod("brief").labelled().annotate(DELAY, "2s").hold().build();
        let brief = ns.scheduled(&wanted).await;
        let patient = ns.scheduled(&pod("patient").labelled().annotate(DELAY, "2s").hold().build()).await;
        ns.set_status(&brief, &PodStatus::ready(&brief)).await;
        ns.set_status(&patient, &PodStatus::ready(&patient)).await;
        ns.delete_pod("brief").await;
        ns.until_requested("patient", 1).await;
        ns.later_pod_is_requested("later").await;
        assert_eq!((ns.request_count("brief"), ns.records_of("brief").await), (0, vec![]));
    })
    .await;
}
