//! A pod that is updated in place, as CloneSets of OpenKruise do it: its UID stays, its image and its revision change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodReadinessGate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lab::objects::pod;
use lab::{Namespace, PodStatus, Record, SnapwatcherOptions, in_namespace};
use serde_json::json;
use snapwatcher_api::keys::ONCE_PER;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const TIMEOUT: Duration = Duration::from_secs(15);

const OLD_IMAGE: &str = "registry.example.com/web:1.18";
const NEW_IMAGE: &str = "registry.example.com/web:1.19";

/// A pod as OpenKruise's CloneSet makes it. The kind of its owner is not installed.
fn of_clone_set(name: &str, once_per: &str) -> Pod {
    let labels = [
        ("pod-template-hash", "6d4f"),
        ("controller-revision-hash", "sample-6d4f"),
        ("apps.kruise.io/cloneset-instance-id", "7xk2p"),
        ("lifecycle.apps.kruise.io/state", "Normal"),
    ];
    let owner = OwnerReference {
        api_version: "apps.kruise.io/v1alpha1".to_owned(),
        kind: "CloneSet".to_owned(),
        name: "sample".to_owned(),
        uid: "11111111-2222-3333-4444-555555555555".to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let gate = PodReadinessGate { condition_type: "InPlaceUpdateReady".to_owned() };
    let built = pod(name).labelled().hold().annotate(ONCE_PER, once_per).containers(["web"]).image(OLD_IMAGE);
    let mut built = built.spec(|spec| spec.readiness_gates = Some(vec![gate])).build();
    built.metadata.owner_references = Some(vec![owner]);
    built.labels_mut().extend(labels.map(|(key, value)| (key.to_owned(), value.to_owned())));
    built
}

/// Creates pods of one owner, and waits until they are Ready.
async fn start(ns: &Namespace, names: &[&str], once_per: &str) {
    for name in names {
        let created = ns.scheduled(&of_clone_set(name, once_per)).await;
        ns.set_status(&created, &PodStatus::ready(&created)).await;
    }
}

/// Changes image and revision of a pod, which is not Ready meanwhile.
async fn update_in_place(ns: &Namespace, name: &str, image: &str, hash: &str) {
    let pods = ns.api::<Pod>();
    let before = pods.get(name).await.unwrap();
    ns.set_status(&before, &PodStatus::not_ready(&before)).await;
    let labels = json!({"pod-template-hash": hash, "controller-revision-hash": format!("sample-{hash}")});
    let change = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}});
    let after = pods.patch(name, &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
    assert_eq!(after.uid(), before.uid());
    ns.set_status(&after, &PodStatus::ready(&after)).await;
}

fn values(records: &[Record], value: impl Fn(&Record) -> Option<&str>) -> Vec<String> {
    let mut values: Vec<String> = records.iter().map(|record| value(record).unwrap_or_default().to_owned()).collect();
    values.sort();
    values
}

async fn records_of(ns: &Namespace, names: &[&str]) -> Vec<Record> {
    let records = ns.records().await.into_iter();
    records.filter(|record| names.iter().any(|name| record.is_about(name))).collect()
}

#[tokio::test]
async fn a_pod_updated_in_place_gets_one_checkpoint_of_its_new_image() {
    in_namespace("a_pod_updated_in_place_new_image", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        start(&ns, &["sample"], "pod").await;
        ns.all_records(1, "Succeeded", TIMEOUT).await;

        update_in_place(&ns, "sample", NEW_IMAGE, "7e5a").await;
        let both = ns.all_records(2, "Succeeded", TIMEOUT).await;
        assert_eq!(values(&both, |record| record.spec["image"].as_str()), [OLD_IMAGE, NEW_IMAGE]);
        assert_eq!(values(&both, |record| record.text("/image")), [OLD_IMAGE, NEW_IMAGE]);
        assert_eq!(watcher.blocks(ns.name(), "sample").len(), 2);

        // Back to an image that was checkpointed.
        update_in_place(&ns, "sample", OLD_IMAGE, "6d4f").await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("sample"), 2);
        assert_eq!(records_of(&ns, &["sample"]).await.len(), 2);
        assert_eq!(ns.snaphook().violations(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_pod_updated_in_place_gets_one_checkpoint_of_its_new_revision() {
    for names in [&["sample-1"][..], &["sample-1", "sample-2"]] {
        in_namespace("a_pod_updated_in_place_new_revision", |ns| async move {
            ns.start_snapwatcher(SNAPWATCHER, &[]).await;
            start(&ns, names, "revision").await;
            ns.all_records(1, "Succeeded", TIMEOUT).await;

            for name in names {
                update_in_place(&ns, name, NEW_IMAGE, "7e5a").await;
            }
            let both = ns.all_records(2, "Succeeded", TIMEOUT).await;
            assert_eq!(values(&both, |record| record.spec["revision"].as_str()), ["6d4f", "7e5a"]);
            assert_eq!(values(&both, |record| record.text("/image")), [OLD_IMAGE, NEW_IMAGE]);

            ns.later_pod_is_requested("later").await;
            assert_eq!(names.iter().map(|name| ns.request_count(name)).sum::<usize>(), 2);
            assert_eq!(records_of(&ns, names).await, both);
        })
        .await;
    }
}

#[tokio::test]
async fn a_new_image_is_checkpointed_only_after_the_kubelet_has_restarted_its_container() {
    in_namespace("a_new_image_after_the_restart", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let created = ns.scheduled(&pod("web").labelled().hold().containers(["web"]).image(OLD_IMAGE).build()).await;
        ns.set_status(&created, &PodStatus::ready(&created).container_id("old")).await;
        ns.all_records(1, "Succeeded", TIMEOUT).await;

        // As `kubectl set image` does it: the old container is Ready until the kubelet stops it.
        let change = json!({"spec": {"containers": [{"name": "web", "image": NEW_IMAGE}]}});
        let after = ns.api::<Pod>().patch("web", &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
        ns.until("the pod waits for its restart", async || {
            let page = watcher.pod_timelines().await.unwrap();
            let waiting = page["pods"].as_array().and_then(|pods| pods.iter().find(|of| of["pod"]["name"] == "web"));
            let cause = waiting.and_then(|of| of["waiting_for"].as_str()).unwrap_or_default().to_owned();
            if cause == "NotStarted: container `web`" { Ok(()) } else { Err(page.to_string()) }
        })
        .await;
        assert_eq!(ns.request_count("web"), 1);
        ns.set_status(&after, &PodStatus::ready(&after).container_id("new")).await;
        let both = ns.all_records(2, "Succeeded", TIMEOUT).await;
        assert_eq!(values(&both, |record| record.spec["image"].as_str()), [OLD_IMAGE, NEW_IMAGE]);
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_of_a_pod_that_has_ended_fails() {
    in_namespace("a_checkpoint_of_a_pod_that_has_ended", |ns| async move {
        let suspended = ns.start_snapwatcher(SNAPWATCHER, &["--suspend"]).await;
        let created = ns.scheduled(&pod("job").labelled().hold().containers(["web"]).image(OLD_IMAGE).build()).await;
        ns.set_status(&created, &PodStatus::ready(&created)).await;
        ns.all_records(1, "Pending", TIMEOUT).await;
        suspended.stop().await.unwrap();
        ns.set_status(&created, &PodStatus::not_ready(&created).phase("Succeeded").terminated("web")).await;
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), ..Default::default() };
        ns.launch_snapwatcher(options).await;
        ns.all_records(1, "Failed(PodGone)", TIMEOUT).await;
        assert_eq!(ns.request_count("job"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_waiting_checkpoint_of_an_image_that_is_gone_fails() {
    in_namespace("a_waiting_checkpoint_of_an_image_that_is_gone", |ns| async move {
        let suspended = ns.start_snapwatcher(SNAPWATCHER, &["--suspend"]).await;
        start(&ns, &["sample"], "pod").await;
        let created = ns.all_records(1, "Pending", TIMEOUT).await;
        update_in_place(&ns, "sample", NEW_IMAGE, "7e5a").await;
        ns.all_records(2, "Pending", TIMEOUT).await;
        suspended.stop().await.unwrap();
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), ..Default::default() };
        ns.launch_snapwatcher(options).await;
        let ended = ns
            .until("both Checkpoints have ended", async || {
                let records = records_of(&ns, &["sample"]).await;
                let have_ended =
                    records.len() == 2 && records.iter().all(|record| record.text("/completionTime").is_some());
                if have_ended { Ok(records) } else { Err(format!("{records:?}")) }
            })
            .await;
        for record in ended {
            let is_old = record.name == created[0].name;
            assert_eq!(record.state(), if is_old { "Failed(ImageChanged)" } else { "Succeeded" }, "{record:?}");
        }
        assert_eq!(ns.request_count("sample"), 1);
    })
    .await;
}
