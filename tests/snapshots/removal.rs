//! What is deleted.

use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::objects::pod;
use lab::{Cluster, Options, crd, in_namespace, in_namespace_of};
use serde_json::json;
use snapwatcher_api::keys::KEEP;

use crate::world::{SNAPWATCHER, World, facts_of};

#[tokio::test]
async fn a_manual_checkpoint_replaces_the_snapshot_of_its_revision_when_it_is_saved() {
    in_namespace("a_manual_checkpoint_replaces_the_snapshot", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let first = world.snapshot_of(&pod("web").labelled().build()).await;
        world.save(&first).await;
        world.in_phase(&first.name_any(), "Saved").await;
        ns.apply_checkpoint("now", &json!({"pod": {"name": "web"}, "container": "app"})).await.unwrap();
        world.archive("now", &ns.pod_ready("web").await).await;
        let second = ns
            .until("there are two Snapshots", async || {
                let found = world.all_snapshots().await;
                found.into_iter().find(|found| found.uid() != first.uid()).ok_or("one")
            })
            .await;
        assert_eq!(second.spec.replaces, first.uid());
        assert_eq!(world.snapshots().get(&first.name_any()).await.unwrap().phase().as_str(), "Saved");
        world.save(&second).await;
        world.in_phase(&second.name_any(), "Saved").await;
        world.gone(&first.name_any()).await;
        assert_eq!(world.deleted_manifests(), 1);
        let [left] = world.all_snapshots().await.try_into().unwrap();
        assert_eq!(left.uid(), second.uid());
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_is_deleted_only_without_a_pod_of_its_revision_and_without_the_annotation() {
    in_namespace("a_snapshot_is_deleted_only_without_a_pod", |ns| async move {
        let args = ["--snapshots-every=300ms", "--snapshot-history-limit=0"];
        let world = World::start(ns.clone(), &args).await;
        let (mut snapshots, pods) = (Vec::new(), ["kept", "running", "gone"]);
        for name in pods {
            let snapshot = world.snapshot_of(&pod(name).labelled().build()).await;
            world.save(&snapshot).await;
            snapshots.push(world.in_phase(&snapshot.name_any(), "Saved").await.name_any());
        }
        let keep = Patch::Merge(json!({"metadata": {"annotations": {KEEP: "true"}}}));
        world.snapshots().patch(&snapshots[0], &PatchParams::default(), &keep).await.unwrap();
        for name in ["kept", "gone"] {
            ns.delete_pod(name).await;
        }
        world.gone(&snapshots[2]).await;
        // Another round has passed when a later one is deleted.
        let later = world.snapshot_of(&pod("later").labelled().build()).await.name_any();
        ns.delete_pod("later").await;
        world.gone(&later).await;
        for name in &snapshots[..2] {
            assert_eq!(world.snapshots().get(name).await.unwrap().phase().as_str(), "Saved", "{name}");
        }
        assert_eq!(world.deleted_manifests(), 1, "that of the one that was saved");
        ns.delete_pod("running").await;
        world.gone(&snapshots[1]).await;
    })
    .await;
}

#[tokio::test]
async fn the_manifest_of_a_snapshot_that_a_person_deletes_is_deleted_and_others_stay() {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    crd::install(cluster.access(), SNAPWATCHER.as_ref()).await.unwrap();
    in_namespace_of(cluster.access(), "orphaned-manifests", |ns| async move {
        let args = ["--namespaces=", "--orphans-every=600ms", "--orphan-age=0s"];
        let world = World::start(ns.clone(), &args).await;
        let (stays, goes) = (
            world.snapshot_of(&pod("stays").labelled().build()).await,
            world.snapshot_of(&pod("goes").labelled().build()).await,
        );
        for snapshot in [&stays, &goes] {
            world.save(snapshot).await;
            world.in_phase(&snapshot.name_any(), "Saved").await;
        }
        world.push("latest", &facts_of(&goes)).await;
        let foreign = "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11";
        world.push(foreign, &facts_of(&stays)).await;
        world.snapshots().delete(&goes.name_any(), &DeleteParams::default()).await.unwrap();
        ns.until("a manifest is deleted", async || world.deleted_manifests() > 0).await;
        let goes = goes.uid().unwrap();
        let tags = async || {
            let mut tags = crate::world::repository(&world.registry).tags();
            let page = tags.next_page().await.unwrap().unwrap_or_default();
            page.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<_>>()
        };
        ns.until("its tag is gone", async || !tags().await.contains(&goes)).await;
        let left = tags().await;
        assert!(left.contains(&stays.uid().unwrap()), "{left:?}");
    })
    .await;
    cluster.stop().await.unwrap();
}
