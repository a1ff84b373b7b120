//! The agent is killed at random while it saves, and the registry fails at random: each archive is at each time on the node or in the
//! registry, nothing is pushed twice whole, and at the end all are saved.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;
use lab::in_namespace;
use lab::objects::pod;
use lab::registry::{Fault, Step};
use lab::storm::{self, Size};
use lab::terminal::print_result;

use crate::agent_node::{AgentNode, ArchiveOf, memory, node_of, on_node};
use crate::world::World;

const MIB: usize = 1 << 20;

/// The longest time between two kills: some come while the archive is read, others while the manifest is pushed.
const LONGEST_LIFE: Duration = Duration::from_millis(1500);

/// One fault by chance.
fn fault(chance: &mut fastrand::Rng) -> (Step, Fault) {
    let faults = [
        (Step::BeginUpload, Fault::status(401, "UNAUTHORIZED")),
        (Step::BeginUpload, Fault::busy(429, "1")),
        (Step::Patch, Fault::status(500, "UNKNOWN")),
        (Step::Patch, Fault::CutAfter(50_000)),
        (Step::Patch, Fault::StoreHalf),
        (Step::FinishUpload, Fault::LoseAnswer),
        (Step::FinishUpload, Fault::Reset),
        (Step::PutManifest, Fault::LoseAnswer),
        (Step::PutManifest, Fault::status(503, "UNAVAILABLE")),
        (Step::GetManifest, Fault::OtherBytes),
    ];
    chance.choice(faults).unwrap()
}

#[tokio::test]
async fn killed_at_random_an_agent_loses_no_archive_and_pushes_none_twice() {
    let seed = storm::seed("an_agent_killed_at_random");
    in_namespace("an_agent_killed_at_random", |ns| async move {
        let (snapshots, kills): (usize, usize) = Size::chosen().of((4, 12), (40, 200));
        let (world, node) = (World::start(ns.clone(), &[]).await, AgentNode::new());
        let first = ns.ready_pod(&pod("web-0").labelled().build()).await;
        let agent = node.start_with_registry(&world, &node_of(&first), &["--store-bytes=12Mi"]).await;
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut archives = BTreeMap::new();
        for number in 0..snapshots {
            let web = if number == 0 {
                first.clone()
            } else {
                ns.ready_pod(&on_node(pod(&format!("web-{number}")), &first)).await
            };
            let archive = ArchiveOf::pod(&web, memory(seed ^ number as u64, (1 + number % 5) * MIB)).bytes();
            let snapshot = node.checkpointed(&world, &web, &archive).await;
            archives.insert(snapshot.name_any(), (format!("checkpoint-web-{number}.tar"), archive.len()));
            for _ in 0..kills / snapshots {
                if chance.bool() {
                    let (step, fault) = fault(&mut chance);
                    world.registry.fail(step, fault);
                }
                // A random time: the kill must hit any step.
                tokio::time::sleep(LONGEST_LIFE.mul_f64(chance.f64())).await;
                agent.kill().await.unwrap();
                is_nowhere_lost(&world, &node, &archives).await;
                agent.start_again().await.unwrap();
            }
        }
        for name in archives.keys() {
            world.in_phase(name, "Saved").await;
        }
        ns.until("all archives are removed", async || node.archives().is_empty()).await;
        verify_registry(&world, &archives);
        let held = node.copies().len();
        let pushed: u64 = world.registry.requests_of(Step::Patch).iter().map(|request| request.bytes).sum();
        let bytes: usize = archives.values().map(|(_, bytes)| bytes).sum();
        print_result(&format!(
            "{kills} kills, {snapshots} archives of {bytes} bytes: {pushed} bytes pushed, {held} copies held"
        ));
    })
    .await;
}

/// Each archive is on the node, or the registry has a manifest of its Snapshot.
async fn is_nowhere_lost(world: &World, node: &AgentNode, archives: &BTreeMap<String, (String, usize)>) {
    let on_node = node.archives();
    for (name, (archive, _)) in archives {
        let snapshot = world.snapshots().get(name).await.unwrap();
        let tag = snapshot.uid().unwrap();
        assert!(on_node.contains(archive) || world.registry.has_tag("snapshots", &tag), "`{archive}` is nowhere");
    }
}

/// One manifest for each Snapshot, and no blob without a manifest.
fn verify_registry(world: &World, archives: &BTreeMap<String, (String, usize)>) {
    assert_eq!(world.registry.manifests("snapshots"), archives.len());
    assert_eq!(world.registry.orphaned_blobs(), [""; 0]);
}
