//! Pods that admission should have labelled and did not: checkpointed all the same, counted and told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, ResourceExt};
use lab::objects::pod;
use lab::webhooks::{MUTATED, SNAP};
use lab::{Namespace, Snapwatcher, in_namespace};
use snapwatcher_daemon::clock::now;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The log lines that tell of a slip of this pod.
fn lines_about(watcher: &Snapwatcher, ns: &Namespace, pod: &str) -> usize {
    let mark = format!("Pod {}/{pod} was not labelled at its admission", ns.name());
    watcher.log().lines().filter(|line| line.contains(&mark)).count()
}

/// Waits until objects created now have another creation time, in whole seconds, than our configuration.
async fn after_the_configuration(ns: &Namespace) {
    let configurations = Api::<MutatingWebhookConfiguration>::all(ns.client());
    let created = configurations.get(ns.name()).await.unwrap().creation_timestamp().unwrap().0;
    ns.until("the second of the configuration is over", async || now().as_second() > created.as_second()).await;
}

#[tokio::test]
async fn a_pod_created_while_the_webhook_was_down_is_checkpointed_and_told_as_a_slip() {
    in_namespace("a_pod_created_while_the_webhook_was_down", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        after_the_configuration(&ns).await;
        watcher.stop().await.unwrap();
        let slipped = ns.create_object(&pod("slipped").labelled().build()).await;
        assert!(!slipped.labels().contains_key(MUTATED), "the webhook fails open");
        watcher.start_again().await.unwrap();

        ns.record_of("slipped", "Succeeded").await;
        ns.admission_works().await;
        ns.later_pod_is_requested("admitted").await;
        let slips = || watcher.metric("snapwatcher_watch_missed_mutations_total");
        assert_eq!(slips().await.unwrap(), Some(1.0));
        assert_eq!((lines_about(&watcher, &ns, "slipped"), lines_about(&watcher, &ns, "admitted")), (1, 0));
        let reported = ns.event_of("slipped", "NotMutated").await;
        assert_eq!((reported.kind.as_str(), Some(reported.uid)), ("Warning", slipped.uid()));

        watcher.restart().await.unwrap();
        ns.admission_works().await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(slips().await.unwrap(), Some(0.0), "it is reported once, at its claim");
        assert_eq!(lines_about(&watcher, &ns, "slipped"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_label_put_on_later_looks_like_a_slip_and_the_words_say_so() {
    in_namespace("a_label_put_on_later_looks_like_a_slip", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        after_the_configuration(&ns).await;
        ns.ready_pod(&pod("convert").build()).await;
        ns.label_pod("convert", SNAP, Some("true")).await;
        ns.record_of("convert", "Succeeded").await;
        ns.until("the missed mutation is logged", async || lines_about(&watcher, &ns, "convert") == 1).await;
        assert!(watcher.log().contains("or the label snap.weaversoft.io/snap was put on later"));
    })
    .await;
}

#[tokio::test]
async fn a_pod_older_than_the_configuration_has_not_slipped() {
    in_namespace("a_pod_older_than_the_configuration_has_not_slipped", |ns| async move {
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
