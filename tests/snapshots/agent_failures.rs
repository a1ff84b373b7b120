//! What an agent does when the archive, the registry or the disk is not as it should be.

use std::fs;

use kube::ResourceExt as _;
use lab::in_namespace;
use lab::objects::pod;
use lab::registry::{Fault, Step};
use serde_json::json;
use snapwatcher_api::snapshot::{ACCEPTED, NodeCopyState};

use crate::agent_node::{AgentNode, ArchiveOf, memory, node_of};
use crate::world::{World, condition};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn an_archive_that_is_not_that_of_its_snapshot_is_rejected_and_stays_for_a_look() {
    in_namespace("an_archive_that_is_not", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        let _agent = node.start_with_registry(&world, &node_of(&web), &[]).await;
        let of_another = ArchiveOf { namespace: "payments".to_owned(), ..ArchiveOf::pod(&web, memory(1, MIB)) };
        let snapshot = node.checkpointed(&world, &web, &of_another.bytes()).await;
        let rejected = world.in_phase(&snapshot.name_any(), "Rejected").await;
        assert_eq!(condition(&rejected, ACCEPTED), ("False".to_owned(), "ArchiveOfAnother".to_owned()));
        let message = rejected.status.unwrap().message.unwrap();
        assert!(message.contains("`payments`"), "{message}");
        assert_eq!((node.archives().len(), node.copies().len()), (1, 0));
        assert!(world.registry.requests_of(Step::PutManifest).is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_archive_or_not_safe_to_open_is_rejected() {
    in_namespace("what_is_no_archive", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let first = ns.ready_pod(&pod("first").labelled().build()).await;
        let _agent = node.start_with_registry(&world, &node_of(&first), &[]).await;
        let outside = node.state().parent().unwrap().join("outside.tar");
        fs::write(&outside, ArchiveOf::pod(&first, memory(1, 100)).bytes()).unwrap();
        for (number, (reason, prepare)) in [
            ("ArchiveInvalid", "text"),
            ("ArchiveInvalid", "cut"),
            ("ArchiveMissing", "none"),
            ("ArchiveUnsafe", "link"),
            ("ArchiveUnsafe", "writable"),
            ("ArchiveOutsideTheFolder", "elsewhere"),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("web-{number}");
            let web = ns.ready_pod(&crate::agent_node::on_node(pod(&name), &first)).await;
            let archive = ArchiveOf::pod(&web, memory(2, 1000)).bytes();
            let path = node.write(&format!("checkpoint-{name}.tar"), &archive);
            match prepare {
                "text" => fs::write(&path, "no archive").unwrap(),
                "cut" => fs::write(&path, &archive[..archive.len() / 2]).unwrap(),
                "none" => fs::remove_file(&path).unwrap(),
                "link" => {
                    fs::remove_file(&path).unwrap();
                    std::os::unix::fs::symlink(&outside, &path).unwrap();
                }
                "writable" => {
                    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
                    fs::set_permissions(&path, mode).unwrap();
                }
                _ => {}
            }
            let path = if prepare == "elsewhere" { outside.clone() } else { path };
            let record = world.claimed(&name).await;
            world.archive_at(&record.name, &web, path.to_str().unwrap()).await;
            let (_, reference) = world.saved(&name).await;
            let rejected = world.in_phase(reference["name"].as_str().unwrap(), "Rejected").await;
            assert_eq!(condition(&rejected, ACCEPTED).1, reason, "{prepare}: {:?}", rejected.status);
        }
        assert!(outside.exists());
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_fails_in_each_way_delays_and_loses_nothing() {
    in_namespace("a_registry_that_fails", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        let refused = Fault::status(401, "UNAUTHORIZED");
        for (step, fault) in [
            (Step::BeginUpload, Fault::status(500, "UNKNOWN")),
            (Step::BeginUpload, Fault::busy(429, "1")),
            (Step::BeginUpload, refused),
            (Step::Patch, Fault::CutAfter(100_000)),
            (Step::Patch, Fault::StoreHalf),
            (Step::Patch, Fault::LoseAnswer),
            (Step::FinishUpload, Fault::LoseAnswer),
            (Step::PutManifest, Fault::status(503, "UNAVAILABLE")),
            (Step::GetManifest, Fault::OtherBytes),
        ] {
            world.registry.fail(step, fault);
        }
        let agent = node.start_with_registry(&world, &node_of(&web), &[]).await;
        let archive = ArchiveOf::pod(&web, memory(3, 20 * MIB));
        let snapshot = node.checkpointed(&world, &web, &archive.bytes()).await;
        world.in_phase(&snapshot.name_any(), "Saved").await;
        assert_eq!((node.archives().len(), node.copies().len()), (0, 1));
        assert_eq!(world.registry.unmet_faults(), 0);
        let text = agent.log();
        assert!(text.contains("is not saved yet, retrying"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn the_archive_stays_while_the_registry_is_not_reachable() {
    in_namespace("the_archive_stays", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        // The registry answers, and denies each push.
        for _ in 0..1000 {
            world.registry.fail(Step::BeginUpload, Fault::status(403, "DENIED"));
        }
        let _agent = node.start_with_registry(&world, &node_of(&web), &[]).await;
        let snapshot = node.checkpointed(&world, &web, &ArchiveOf::pod(&web, memory(4, MIB)).bytes()).await;
        let name = snapshot.name_any();
        ns.until("the agent says why it waits", async || {
            let found = world.snapshots().get(&name).await.unwrap();
            let entry = found.node(&node_of(&web)).cloned();
            match entry {
                Some(entry) if entry.state == NodeCopyState::Waiting && entry.reason.is_some() => Ok(()),
                other => Err(json!(other)),
            }
        })
        .await;
        assert_eq!((node.archives().len(), node.copies().len()), (1, 0));
    })
    .await;
}
