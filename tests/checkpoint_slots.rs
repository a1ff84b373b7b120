//! How many requests are under way at once, and what happens to pods while they wait for a slot.

use kube::api::DeleteParams;
use lab::objects::pod;
use lab::snaphook::{Behaviour, Gate};
use lab::{Namespace, PodStatus, in_namespace};
use snapwatcher_api::keys::SNAP;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The default of `--max-concurrent`.
const SLOTS: usize = 8;

/// Takes all slots by requests that get their response when the gate opens.
async fn take_all_slots(ns: &Namespace) -> Gate {
    let gate = Gate::default();
    ns.snaphook().answer_with(Behaviour::Wait(gate.clone()));
    for number in 0..SLOTS {
        ns.create_object(&pod(&format!("filler-{number}")).labelled().build()).await;
    }
    ns.until("all slots are taken", async || ns.snaphook().requests().len() == SLOTS).await;
    gate
}

#[tokio::test]
async fn at_most_eight_requests_are_under_way_at_once() {
    const PODS: usize = 20;
    in_namespace("at_most_eight_requests_are_under_way_at_once", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let gate = take_all_slots(&ns).await;
        for number in SLOTS..PODS {
            ns.create_object(&pod(&format!("filler-{number}")).labelled().build()).await;
        }
        ns.until("all pods are claimed", async || ns.records().await.len() == PODS).await;
        assert_eq!(ns.snaphook().requests().len(), SLOTS);
        assert_eq!(watcher.metric("snapwatcher_checkpoint_in_flight").await.unwrap(), Some(8.0));
        let under_way = ns.records().await.into_iter().filter(|record| record.state() == "InProgress").count();
        assert_eq!(under_way, SLOTS, "no attempt is written before it has a slot");
        gate.open();
        for number in 0..PODS {
            ns.record_of(&format!("filler-{number}"), "Succeeded").await;
        }
        assert_eq!(ns.snaphook().requests().len(), PODS);
        ns.until("nothing is under way", async || {
            watcher.metric("snapwatcher_checkpoint_in_flight").await.unwrap() == Some(0.0)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_becomes_unready_while_queued_is_checkpointed_when_ready_again() {
    in_namespace("a_pod_that_becomes_unready_while_queued", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let gate = take_all_slots(&ns).await;
        let wavering = ns.scheduled(&pod("wavering").labelled().hold().build()).await;
        ns.set_status(&wavering, &PodStatus::ready(&wavering)).await;
        ns.record_of("wavering", "Pending").await;
        ns.set_status(&wavering, &PodStatus::not_ready(&wavering)).await;
        gate.open();

        let record = ns.record_of("wavering", "Pending(NotReady)").await;
        assert!(record.message().ends_with("/wavering` to be Ready"), "{}", record.message());
        assert_eq!((ns.request_count("wavering"), record.attempt()), (0, 0));
        ns.set_status(&wavering, &PodStatus::ready(&wavering)).await;
        let record = ns.record_of("wavering", "Succeeded").await;
        assert_eq!((ns.request_count("wavering"), record.attempt()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_or_opts_out_while_queued_is_not_checkpointed() {
    in_namespace("a_pod_that_is_deleted_or_opts_out_while_queued", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let gate = take_all_slots(&ns).await;
        for name in ["gone", "replaced", "opted-out", "forgotten"] {
            ns.create_object(&pod(name).labelled().build()).await;
            ns.record_of(name, "Pending").await;
        }
        ns.delete_pod("gone").await;
        ns.delete_pod("replaced").await;
        ns.create_object(&pod("replaced").labelled().hold().build()).await;
        ns.label_pod("opted-out", SNAP, None).await;
        let forgotten = ns.record_of("forgotten", "Pending").await;
        ns.delete_pod("forgotten").await;
        ns.checkpoints().delete(&forgotten.name, &DeleteParams::default()).await.unwrap();
        gate.open();

        for (name, state) in
            [("gone", "Failed(PodGone)"), ("replaced", "Failed(PodGone)"), ("opted-out", "Failed(NotLabelled)")]
        {
            let record = ns.record_of(name, state).await;
            assert_eq!(record.attempt(), 0, "{name}");
            assert!(!record.message().is_empty(), "{name}");
        }
        ns.later_pod_is_requested("later").await;
        for name in ["gone", "replaced", "opted-out", "forgotten"] {
            assert_eq!(ns.request_count(name), 0, "{name}");
        }
        assert_eq!(ns.records_of("forgotten").await, []);
    })
    .await;
}
