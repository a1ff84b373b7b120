//! Which Snapshots are created.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use kube::api::DeleteParams;
use lab::objects::{deployment, pod};
use lab::{SnapwatcherOptions, in_namespace};
use serde_json::json;
use snapwatcher_api::keys::SAVE;
use snapwatcher_api::snapshot::{ACCEPTED, SAVED};

use crate::world::{ARCHIVE, SNAPWATCHER, World, condition, flags};

#[tokio::test]
async fn a_revision_is_saved_once_and_its_other_checkpoints_name_the_snapshot() {
    in_namespace("a_revision_is_saved_once", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        ns.create_object(&deployment("web").replicas(2).labelled().build()).await;
        let pods: Vec<String> = ns.pods_made("web", 2).await.into_iter().collect();
        for name in &pods {
            let pod = ns.pod_ready(name).await;
            let record = ns.until("the pod is claimed", async || ns.records_of(name).await.pop().ok_or("none")).await;
            world.archive(&record.name, &pod).await;
            world.saved(name).await;
        }
        let [snapshot] = world.all_snapshots().await.try_into().unwrap();
        let (spec, origin) = (&snapshot.spec, &snapshot.spec.origin);
        assert_eq!((spec.workload.kind.as_str(), spec.workload.name.as_str()), ("Deployment", "web"));
        assert_eq!((spec.controller.kind.as_str(), spec.container.as_str()), ("ReplicaSet", "app"));
        assert_eq!((spec.revision_label.as_deref(), origin.archive.as_str()), (Some("pod-template-hash"), ARCHIVE));
        assert_eq!(origin.pod.name, pods[0]);
        assert!(snapshot.name_any().starts_with("web-app-"), "{}", snapshot.name_any());
        assert_eq!(condition(&snapshot, ACCEPTED), ("Unknown".to_owned(), "Waiting".to_owned()));
        assert_eq!(condition(&snapshot, SAVED).0, "False");
        for (name, is_of_another) in pods.iter().zip([false, true]) {
            let (_, reference) = world.saved(name).await;
            let expected =
                json!({"name": snapshot.name_any(), "uid": snapshot.uid(), "isOfAnotherCheckpoint": is_of_another});
            assert_eq!(reference, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_is_not_made_of_the_same_checkpoint_again() {
    in_namespace("a_snapshot_that_is_deleted", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let snapshot = world.snapshot_of(&pod("web").labelled().build()).await;
        world.snapshots().delete(&snapshot.name_any(), &DeleteParams::default()).await.unwrap();
        world.gone(&snapshot.name_any()).await;
        // Also not by a later leader, which looks at all Checkpoints.
        world.watcher.restart().await.unwrap();
        let other = world.snapshot_of(&pod("other").labelled().build()).await;
        let [left] = world.all_snapshots().await.try_into().unwrap();
        assert_eq!(left.uid(), other.uid());
    })
    .await;
}

#[tokio::test]
async fn two_leaders_create_each_snapshot_once_and_one_key() {
    const PODS: usize = 12;
    in_namespace("two_leaders_create_each_snapshot_once", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let mut args = flags(&world.registry);
        args.extend(["--instance=second".to_owned(), "--webhook=false".to_owned()]);
        let second = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        let second = ns.launch_snapwatcher(second).await;
        second.ready().await.unwrap();
        for number in 0..PODS {
            world.archived_pod(&pod(&format!("web-{number}")).labelled().build()).await;
        }
        let mut named = BTreeSet::new();
        for number in 0..PODS {
            let (record, reference) = world.saved(&format!("web-{number}")).await;
            assert_eq!(reference["isOfAnotherCheckpoint"], false, "{record:?}");
            named.insert(reference["uid"].as_str().unwrap().to_owned());
        }
        let snapshots = world.all_snapshots().await;
        let found: BTreeSet<String> = snapshots.iter().map(|snapshot| snapshot.uid().unwrap()).collect();
        assert_eq!((found.len(), &found), (PODS, &named));
        let recipients: BTreeSet<_> = snapshots.iter().map(|snapshot| snapshot.spec.recipient.clone()).collect();
        assert_eq!(recipients.len(), 1, "{recipients:?}");
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_opts_out_or_is_gone_is_not_saved_and_the_checkpoint_says_why() {
    in_namespace("a_pod_that_opts_out_or_is_gone", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        world.archived_pod(&pod("private").labelled().annotate(SAVE, "false").build()).await;
        let gone = ns.ready_pod(&pod("gone").labelled().build()).await;
        let record = ns.until("the pod is claimed", async || ns.records_of("gone").await.pop().ok_or("none")).await;
        ns.delete_pod("gone").await;
        world.archive(&record.name, &gone).await;
        for (name, reason) in [("private", "OptedOut"), ("gone", "PodGone")] {
            ns.until(&format!("the Checkpoint of `{name}` says {reason}"), async || {
                match ns.records_of(name).await.as_slice() {
                    [record] if record.condition("Saved").is_some_and(|saved| saved["reason"] == reason) => Ok(()),
                    others => Err(format!("{others:?}")),
                }
            })
            .await;
        }
        assert!(world.all_snapshots().await.is_empty());
        assert_eq!(
            world.watcher.metric("snapwatcher_snapshot_not_saved_total{reason=\"PodGone\"}").await.unwrap(),
            Some(1.0)
        );
    })
    .await;
}
