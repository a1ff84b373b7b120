//! What an agent removes from its node, and what it leaves.

use std::fs;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::DeleteParams;
use lab::in_namespace;
use lab::objects::{deployment, pod};

use crate::agent_node::{AgentNode, ArchiveOf, memory, node_of};
use crate::world::World;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_deleted_snapshot_takes_its_copy_and_its_archive_with_it() {
    in_namespace("a_deleted_snapshot_takes", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        let agent = node.start_with_registry(&world, &node_of(&web), &[]).await;
        let snapshot = node.checkpointed(&world, &web, &ArchiveOf::pod(&web, memory(1, MIB)).bytes()).await;
        world.in_phase(&snapshot.name_any(), "Saved").await;
        assert_eq!(node.copies().len(), 1);
        // Deleted while the agent is down, as well as while it runs.
        agent.kill().await.unwrap();
        world.snapshots().delete(&snapshot.name_any(), &DeleteParams::default()).await.unwrap();
        agent.start_again().await.unwrap();
        ns.until("the copy is deleted", async || node.copies().is_empty()).await;

        let other = ns.ready_pod(&crate::agent_node::on_node(pod("other"), &web)).await;
        let mut archive = ArchiveOf::pod(&other, memory(2, MIB));
        "payments".clone_into(&mut archive.namespace);
        let rejected = node.checkpointed(&world, &other, &archive.bytes()).await;
        world.in_phase(&rejected.name_any(), "Rejected").await;
        assert_eq!(node.archives().len(), 1);
        world.snapshots().delete(&rejected.name_any(), &DeleteParams::default()).await.unwrap();
        ns.until("its archive is deleted", async || node.archives().is_empty()).await;
    })
    .await;
}

#[tokio::test]
async fn the_archives_of_other_pods_of_a_saved_revision_are_removed() {
    in_namespace("the_archives_of_other_pods", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let first = ns.ready_pod(&pod("first").build()).await;
        let home = node_of(&first);
        let web = deployment("web").replicas(2).labelled();
        let web = web.spec(|spec| spec.node_name = Some(home.clone())).build();
        ns.create_object(&web).await;
        let names: Vec<String> = ns.pods_made("web", 2).await.into_iter().collect();
        let _agent = node.start_with_registry(&world, &home, &[]).await;
        for name in &names {
            let pod = ns.pod_ready(name).await;
            node.checkpointed(&world, &pod, &ArchiveOf::pod(&pod, memory(3, MIB)).bytes()).await;
        }
        ns.until("both archives are gone", async || node.archives().is_empty()).await;
        assert_eq!((world.all_snapshots().await.len(), node.copies().len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_archive_that_no_checkpoint_names_is_counted_and_removed_only_if_set() {
    in_namespace("an_archive_that_no_checkpoint_names", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let unknown = node.write("checkpoint-unknown.tar", b"12345");
        let other = node.write("notes.txt", b"not of a kubelet");
        let aged = fs::metadata(&unknown).unwrap().modified().unwrap() - Duration::from_secs(25 * 3600);
        fs::File::options().write(true).open(&unknown).unwrap().set_modified(aged).unwrap();
        let new = node.write("checkpoint-new.tar", b"1234567");
        let agent = node.start_with_registry(&world, "n1", &[]).await;
        ns.until("they are counted", async || {
            let found = agent.metric("snapwatcher_agent_unknown_archive_bytes").await.unwrap();
            if found == Some(12.0) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert!(unknown.exists());
        assert!(agent.stop().await.unwrap().success());
        let agent = node.start_with_registry(&world, "n1", &["--remove-unknown-archives"]).await;
        ns.until("the old one is removed", async || {
            let found = agent.metric("snapwatcher_agent_unknown_archives").await.unwrap();
            if !unknown.exists() && found == Some(1.0) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert!(new.exists() && other.exists());
    })
    .await;
}
