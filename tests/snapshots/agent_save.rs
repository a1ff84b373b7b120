//! An archive goes from the folder of the kubelet into the registry and the node store, and from there comes back byte for byte.

use std::fs;
use std::io::Read as _;

use kube::ResourceExt as _;
use lab::in_namespace;
use lab::objects::pod;
use lab::registry::Step;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use snapwatcher_api::snapshot::{NodeCopyState, Snapshot};

use crate::agent_node::{AgentNode, ArchiveOf, memory, node_of, on_node};
use crate::world::{World, repository};

const MIB: usize = 1 << 20;

/// The blob of a Snapshot in the registry, by the manifest that its status names.
async fn stored(world: &World, snapshot: &Snapshot) -> (String, Vec<u8>) {
    let image = snapshot.status.as_ref().unwrap().image.clone().unwrap();
    let digest: snapwatcher_registry::Digest = image.rsplit_once('@').unwrap().1.parse().unwrap();
    let manifest = repository(&world.registry).manifest(&digest.into()).await.unwrap();
    let layer = manifest.layers.first().unwrap();
    (layer.media_type.clone(), world.registry.blob(layer.digest.as_str()).unwrap())
}

/// Decrypts a blob by the key of the namespace.
async fn decrypted(world: &World, blob: &[u8]) -> Vec<u8> {
    let keys = world.keys().await.data.unwrap();
    let key = String::from_utf8(keys[world.ns.name()].0.clone()).unwrap();
    let identity: age::x25519::Identity = key.trim().parse().unwrap();
    let mut compressed = Vec::new();
    let decryptor = age::Decryptor::new_buffered(blob).unwrap();
    let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).unwrap();
    reader.read_to_end(&mut compressed).unwrap();
    compressed
}

#[tokio::test]
async fn an_archive_is_saved_encrypted_and_then_removed_from_its_node() {
    in_namespace("an_archive_is_saved", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        let agent = node.start_with_registry(&world, &node_of(&web), &[]).await;
        let archive = ArchiveOf::pod(&web, memory(1, 20 * MIB));
        let snapshot = node.checkpointed(&world, &web, &archive.bytes()).await;
        let saved = world.in_phase(&snapshot.name_any(), "Saved").await;

        let digest = format!("sha256:{:x}", Sha256::digest(archive.bytes()));
        let entry = saved.node(&node_of(&web)).unwrap();
        assert_eq!((entry.state, entry.archive_digest.as_deref()), (NodeCopyState::Held, Some(digest.as_str())));
        let (form, blob) = stored(&world, &saved).await;
        assert_eq!(form, "application/vnd.snapweaver.checkpoint.v1.tar+zstd+age");
        assert!(!blob.windows(9).any(|window| window == b"inventory"), "it is not encrypted");
        assert!(zstd::decode_all(decrypted(&world, &blob).await.as_slice()).unwrap() == archive.bytes());
        assert_eq!(node.archives(), [""; 0]);

        let [copy] = node.copies().try_into().unwrap();
        assert_eq!(copy, digest["sha256:".len()..]);
        for (name, content) in archive.files() {
            assert!(fs::read(node.state().join("store").join(&copy).join(&name)).unwrap() == content, "{name}");
        }
        assert_eq!(agent.metric("snapwatcher_agent_saved_total").await.unwrap(), Some(1.0));
        // Its end is requested, and nothing was read twice.
        assert!(agent.stop().await.unwrap().success());
        assert_eq!(world.registry.requests_of(Step::FinishUpload).len(), 2, "the archive and the configuration");
    })
    .await;
}

#[tokio::test]
async fn without_encryption_the_archive_is_an_image_that_runtimes_restore() {
    in_namespace("without_encryption", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &["--snapshot-encryption=none"]).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        let _agent = node.start_with_registry(&world, &node_of(&web), &[]).await;
        let archive = ArchiveOf::pod(&web, memory(2, MIB));
        let snapshot = node.checkpointed(&world, &web, &archive.bytes()).await;
        let saved = world.in_phase(&snapshot.name_any(), "Saved").await;
        let (form, blob) = stored(&world, &saved).await;
        assert_eq!(form, "application/vnd.oci.image.layer.v1.tar+zstd");
        assert!(zstd::decode_all(blob.as_slice()).unwrap() == archive.bytes());
        assert_eq!(saved.spec.recipient, None);
    })
    .await;
}

#[tokio::test]
async fn without_a_registry_the_copy_stays_on_the_node() {
    in_namespace("without_a_registry", |ns| async move {
        let (world, node) = (World::without_registry(ns.clone()).await, AgentNode::new());
        let web = ns.ready_pod(&pod("web").labelled().build()).await;
        let _agent = node.start(&world, &node_of(&web), &[]).await;
        let snapshot = node.checkpointed(&world, &web, &ArchiveOf::pod(&web, memory(3, MIB)).bytes()).await;
        let local = world.in_phase(&snapshot.name_any(), "Local").await;
        assert_eq!((node.archives().len(), node.copies().len()), (0, 1));
        assert_eq!(local.status.unwrap().copies, Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_full_keeps_no_copy_and_saves_all_the_same() {
    in_namespace("a_store_that_is_full", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let one = ns.ready_pod(&pod("one").labelled().build()).await;
        let two = ns.ready_pod(&on_node(pod("two"), &one)).await;
        let _agent = node.start_with_registry(&world, &node_of(&one), &["--store-bytes=1500Ki"]).await;
        let small = node.checkpointed(&world, &one, &ArchiveOf::pod(&one, memory(4, MIB)).bytes()).await;
        world.in_phase(&small.name_any(), "Saved").await;
        assert_eq!(node.copies().len(), 1);
        let large = node.checkpointed(&world, &two, &ArchiveOf::pod(&two, memory(5, 2 * MIB)).bytes()).await;
        let saved = world.in_phase(&large.name_any(), "Saved").await;
        assert_eq!(saved.node(&node_of(&one)).unwrap().state, NodeCopyState::NotHeld);
        assert_eq!(node.copies().len(), 1, "a copy that fits nowhere costs no other its place");
    })
    .await;
}

#[tokio::test]
async fn an_older_copy_makes_room_for_a_newer_one() {
    in_namespace("an_older_copy_makes_room", |ns| async move {
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let one = ns.ready_pod(&pod("one").labelled().build()).await;
        let two = ns.ready_pod(&on_node(pod("two"), &one)).await;
        let _agent = node.start_with_registry(&world, &node_of(&one), &["--store-bytes=1500Ki"]).await;
        let older = node.checkpointed(&world, &one, &ArchiveOf::pod(&one, memory(6, MIB)).bytes()).await;
        world.in_phase(&older.name_any(), "Saved").await;
        let newer = node.checkpointed(&world, &two, &ArchiveOf::pod(&two, memory(7, MIB)).bytes()).await;
        world.in_phase(&newer.name_any(), "Saved").await;
        ns.until("the older one is not held any more", async || {
            let older = world.snapshots().get(&older.name_any()).await.unwrap();
            let status = older.status.as_ref().unwrap();
            let state = older.node(&node_of(&one)).map(|entry| entry.state);
            if (state, status.copies) == (Some(NodeCopyState::NotHeld), Some(0)) { Ok(()) } else { Err(json!(status)) }
        })
        .await;
        assert_eq!(node.copies().len(), 1);
    })
    .await;
}
