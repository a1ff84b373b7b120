//! Who is believed about a Snapshot.

use kube::ResourceExt as _;
use lab::in_namespace;
use lab::objects::pod;
use serde_json::json;
use snapwatcher_api::snapshot::{ACCEPTED, SAVED, Snapshot};
use snapwatcher_registry::{CheckpointFacts, Digest};

use crate::world::{BYTES, World, condition, create, facts_of, pushed};

#[tokio::test]
async fn a_snapshot_is_saved_when_its_node_has_pushed_it_and_the_registry_holds_it() {
    in_namespace("a_snapshot_is_saved_when_its_node_has_pushed_it", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let snapshot = world.snapshot_of(&pod("web").labelled().build()).await;
        let waiting = json!({"state": "Waiting", "reason": "DiskPressure", "message": "no room"});
        world.report(&snapshot, &snapshot.spec.origin.node, &waiting).await;
        let name = snapshot.name_any();
        ns.until("the reason of the node is shown", async || {
            let found = world.snapshots().get(&name).await.unwrap();
            (condition(&found, SAVED).1 == "DiskPressure").then_some(()).ok_or(format!("{:?}", found.status))
        })
        .await;
        let digest = world.save(&snapshot).await;
        let saved = world.in_phase(&name, "Saved").await;
        let status = saved.status.as_ref().unwrap();
        assert_eq!(status.image, Some(format!("{}/snapshots@{digest}", world.registry.address())));
        assert_eq!((status.bytes, status.copies), (Some(i64::try_from(BYTES).unwrap()), Some(1)));
        assert_eq!((condition(&saved, ACCEPTED).0, condition(&saved, SAVED).0), ("True".into(), "True".into()));
        assert_eq!(status.nodes.len(), 1, "the leader leaves the entries of nodes as they are");

        // Another manifest that the node reports later changes nothing, and neither does a refusal.
        world.report(&snapshot, &snapshot.spec.origin.node, &json!({"state": "Refused", "reason": "Broken"})).await;
        world.report(&snapshot, "other-node", &json!({"state": "Held"})).await;
        let later = ns
            .until("the copies are counted", async || {
                let found = world.snapshots().get(&name).await.unwrap();
                let nodes = found.status.as_ref().unwrap().nodes.len();
                if nodes == 2 && found.status.as_ref().unwrap().copies == Some(1) { Ok(found) } else { Err(nodes) }
            })
            .await;
        assert_eq!((later.phase().as_str(), later.status.unwrap().image), ("Saved", saved.status.unwrap().image));
    })
    .await;
}

#[tokio::test]
async fn a_report_of_another_node_is_not_believed() {
    in_namespace("a_report_of_another_node_is_not_believed", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let snapshot = world.snapshot_of(&pod("web").labelled().build()).await;
        let digest = world.push(&snapshot.uid().unwrap(), &facts_of(&snapshot)).await;
        world.report(&snapshot, "stolen-node", &pushed(&digest)).await;
        world.report(&snapshot, "other-node", &json!({"state": "Refused", "reason": "Broken"})).await;
        let name = snapshot.name_any();
        let seen = ns
            .until("the leader has seen both", async || {
                let found = world.snapshots().get(&name).await.unwrap();
                if found.status.as_ref().unwrap().copies == Some(1) {
                    Ok(found)
                } else {
                    Err(format!("{:?}", found.status))
                }
            })
            .await;
        assert_eq!((seen.phase().as_str(), condition(&seen, ACCEPTED).0.as_str()), ("Pending", "Unknown"));
        world.save(&snapshot).await;
        world.in_phase(&name, "Saved").await;
    })
    .await;
}

/// Changes what a manifest says.
type Change = fn(&mut CheckpointFacts);

#[tokio::test]
async fn a_manifest_of_something_else_is_rejected() {
    in_namespace("a_manifest_of_something_else_is_rejected", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let changes: [(&str, Change); 3] = [
            ("snapshot", |facts| facts.snapshot = "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11".to_owned()),
            ("namespace", |facts| facts.namespace = "victim".to_owned()),
            ("image", |facts| facts.image_id = "sha256:2".to_owned()),
        ];
        for (name, change) in changes {
            let snapshot = world.snapshot_of(&pod(name).labelled().build()).await;
            let mut facts = facts_of(&snapshot);
            change(&mut facts);
            let digest = world.push(&snapshot.uid().unwrap(), &facts).await;
            world.report(&snapshot, &snapshot.spec.origin.node, &pushed(&digest)).await;
            let rejected = world.in_phase(&snapshot.name_any(), "Rejected").await;
            assert_eq!(condition(&rejected, ACCEPTED), ("False".into(), "ManifestDiffers".into()), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_manifest_that_does_not_exist_is_waited_for() {
    in_namespace("a_manifest_that_does_not_exist_is_waited_for", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let snapshot = world.snapshot_of(&pod("web").labelled().build()).await;
        world.report(&snapshot, &snapshot.spec.origin.node, &pushed(&Digest::of(b"not pushed"))).await;
        ns.until("the leader has looked for it", async || {
            !world.registry.requests_of(lab::registry::Step::GetManifest).is_empty()
        })
        .await;
        world.save(&snapshot).await;
        world.in_phase(&snapshot.name_any(), "Saved").await;
    })
    .await;
}

#[tokio::test]
async fn an_archive_that_its_node_refuses_is_rejected_with_its_reason() {
    in_namespace("an_archive_that_its_node_refuses", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let snapshot = world.snapshot_of(&pod("web").labelled().build()).await;
        let refused = json!({"state": "Refused", "reason": "WrongPod", "message": "another\npod"});
        world.report(&snapshot, &snapshot.spec.origin.node, &refused).await;
        let rejected = world.in_phase(&snapshot.name_any(), "Rejected").await;
        assert_eq!(condition(&rejected, ACCEPTED), ("False".into(), "WrongPod".into()));
        assert_eq!(rejected.status.unwrap().message.as_deref(), Some("another pod"));
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_a_person_creates_is_rejected() {
    in_namespace("a_snapshot_that_a_person_creates", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let genuine = world.snapshot_of(&pod("web").labelled().build()).await;
        let mut forged = Snapshot::new("forged", genuine.spec.clone());
        forged.spec.revision = "another".to_owned();
        let forged = create(&world.snapshots(), &forged).await;
        let digest = world.push(&forged.uid().unwrap(), &facts_of(&forged)).await;
        world.report(&forged, &forged.spec.origin.node, &pushed(&digest)).await;
        let rejected = world.in_phase("forged", "Rejected").await;
        assert_eq!(condition(&rejected, ACCEPTED), ("False".into(), "NotOfACheckpoint".into()));
        world.save(&genuine).await;
        world.in_phase(&genuine.name_any(), "Saved").await;
    })
    .await;
}
