//! Pods that the webhook should have labeled and did not: they are checkpointed as usual, counted and reported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, ResourceExt};
use lab::objects::pod;
use lab::webhooks::{MUTATED, SNAP};
use lab::{Namespace, Snapwatcher, in_namespace};
use snapwatcher_daemon::clock::now;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// How many log lines report a missed mutation of this pod.
fn lines_about(watcher: &Snapwatcher, ns: &Namespace, pod: &str) -> usize {
    let mark = format!("Pod `{}/{pod}` was created without the mutated label", ns.name());
    watcher.log().lines().filter(|line| line.contains(&mark)).count()
}

/// Waits until an object created now has a later creation time, in whole seconds, than the webhook configuration.
async fn after_the_configuration(ns: &Namespace) {
    let configurations = Api::<MutatingWebhookConfiguration>::all(ns.client());
    let created = configurations.get(ns.name()).await.unwrap().creation_timestamp().unwrap().0;
    ns.until("the second of the configuration is over", async || now().as_second() > created.as_second()).await;
}

#[tokio::test]
async fn a_pod_created_while_the_webhook_was_down_is_checkpointed_and_reported() {
    in_namespace("a_pod_created_while_the_webhook_was_down", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        after_the_configuration(&ns).await;
        watcher.stop().await.unwrap();
        let missed = ns.create_object(&pod("missed").labelled().build()).await;
        assert!(!missed.labels().contains_key(MUTATED), "the webhook fails open");
        watcher.start_again().await.unwrap();

        ns.record_of("missed", "Succeeded").await;
        ns.admission_works().await;
        ns.later_pod_is_requested("admitted").await;
        let count = || watcher.metric("snapwatcher_watch_missed_mutations_total");
        assert_eq!(count().await.unwrap(), Some(1.0));
        assert_eq!((lines_about(&watcher, &ns, "missed"), lines_about(&watcher, &ns, "admitted")), (1, 0));
        let reported = ns.event_of("missed", "NotMutated").await;
        assert_eq!((reported.kind.as_str(), Some(reported.uid)), ("Warning", missed.uid()));

        watcher.restart().await.unwrap();
        ns.admission_works().await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(count().await.unwrap(), Some(0.0), "it is reported once, at its claim");
        assert_eq!(lines_about(&watcher, &ns, "missed"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_label_added_later_looks_like_a_missed_mutation_and_the_message_says_so() {
    in_namespace("a_label_added_later_looks_like_a_missed_mutation", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        after_the_configuration(&ns).await;
        ns.ready_pod(&pod("convert").build()).await;
        ns.label_pod("convert", SNAP, Some("true")).await;
        ns.record_of("convert", "Succeeded").await;
        ns.until("the missed mutation is logged", async || lines_about(&watcher, &ns, "convert") == 1).await;
        assert!(watcher.log().contains("or the snap label was added later"));
    })
    .await;
}

#[tokio::test]
async fn a_pod_older_than_the_configuration_is_no_missed_mutation() {
    in_namespace("a_pod_older_than_the_configuration", |ns| async move {
        let old = ns.ready_pod(&pod("old").labelled().build()).await;
        assert!(!old.labels().contains_key(MUTATED));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.record_of("old", "Succeeded").await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(watcher.metric("snapwatcher_watch_missed_mutations_total").await.unwrap(), Some(0.0));
        assert_eq!(lines_about(&watcher, &ns, "old"), 0);
    })
    .await;
}
