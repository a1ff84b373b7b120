//! A node for an agent: a folder for the archives of its kubelet, the agent's own folder, and the process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use lab::objects::Builder;
use lab::{Snapwatcher, SnapwatcherOptions};
use serde_json::json;
use snapwatcher_api::snapshot::Snapshot;
use tempfile::TempDir;

use crate::world::{SNAPWATCHER, World};

/// The archive of a container, as its runtime would have written it.
#[derive(Clone)]
pub(crate) struct ArchiveOf {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) image: String,
    /// What is in the memory of the container.
    pub(crate) pages: Vec<u8>,
}

pub(crate) struct AgentNode {
    folder: TempDir,
}

impl ArchiveOf {
    pub(crate) fn pod(pod: &Pod, pages: Vec<u8>) -> Self {
        Self {
            namespace: pod.namespace().unwrap(),
            pod: pod.name_any(),
            uid: pod.uid().unwrap(),
            image: pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap(),
            pages,
        }
    }

    /// The files, by name.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let Self { namespace, pod, uid, image, pages } = self;
        let config = json!({"name": format!("app_{pod}_{namespace}_{uid}_0"), "rootfsImageName": image,
            "rootfsImageRef": image, "runtime": "io.containerd.runc.v2"});
        let spec = json!({"process": {"args": ["serve"]}, "annotations": {
            "io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.image-name": image,
            "io.kubernetes.cri.sandbox-name": pod, "io.kubernetes.cri.sandbox-namespace": namespace,
            "io.kubernetes.cri.sandbox-uid": uid}});
        let files = [
            ("checkpoint/inventory.img", b"inventory".to_vec()),
            ("checkpoint/pages-1.img", pages.clone()),
            ("config.dump", config.to_string().into_bytes()),
            ("spec.dump", spec.to_string().into_bytes()),
        ];
        files.map(|(name, content)| (name.to_owned(), content)).into_iter().collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o700);
        header.set_size(0);
        tar.append_data(&mut header, "checkpoint/", std::io::empty()).unwrap();
        for (name, content) in self.files() {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o600);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }
}

impl AgentNode {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("snapwatcher-node-").tempdir().unwrap();
        let checkpoints = folder.path().join("checkpoints");
        fs::create_dir(&checkpoints).unwrap();
        fs::set_permissions(&checkpoints, fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder }
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.folder.path().join("checkpoints")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Writes a file into the kubelet's folder, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.checkpoints().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The archives that lie on the node.
    pub(crate) fn archives(&self) -> Vec<String> {
        names(&self.checkpoints())
    }

    /// The unpacked copies.
    pub(crate) fn copies(&self) -> Vec<String> {
        names(&self.state().join("store"))
    }

    /// The flags of the agent of that node.
    pub(crate) fn flags(&self, world: &World, node: &str) -> Vec<String> {
        vec![
            "agent".to_owned(),
            format!("--node-name={node}"),
            format!("--namespaces={}", world.ns.name()),
            format!("--checkpoints-folder={}", self.checkpoints().display()),
            format!("--state-folder={}", self.state().display()),
            // The disk of the machine may be fuller than that of a node should be.
            "--free-disk-percent=1".to_owned(),
            "--upkeep-every=1s".to_owned(),
            "--inventory-every=1s".to_owned(),
            "--first-retry=100ms".to_owned(),
            "--longest-retry=1s".to_owned(),
        ]
    }

    /// Starts the agent with these flags besides.
    pub(crate) async fn start(&self, world: &World, node: &str, besides: &[&str]) -> Snapwatcher {
        let mut args = self.flags(world, node);
        args.extend(besides.iter().map(|flag| (*flag).to_owned()));
        let (binary, kubeconfig) = (SNAPWATCHER.into(), world.ns.access().kubeconfig());
        let options = SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() };
        let agent = Snapwatcher::start(options).await.unwrap();
        agent.ready().await.unwrap();
        agent
    }

    /// Starts the agent with the registry of the world.
    pub(crate) async fn start_with_registry(&self, world: &World, node: &str, besides: &[&str]) -> Snapwatcher {
        let registry = format!("--registry-repository={}/snapshots", world.registry.address());
        let flags: Vec<&str> = [registry.as_str()].into_iter().chain(besides.iter().copied()).collect();
        self.start(world, node, &flags).await
    }

    /// Writes the archive of a pod's checkpoint and reports it, as the kubelet and the controller would. Returns the Snapshot.
    pub(crate) async fn checkpointed(&self, world: &World, pod: &Pod, archive: &[u8]) -> Snapshot {
        let name = pod.name_any();
        let path = self.write(&format!("checkpoint-{name}.tar"), archive);
        let record = world.claimed(&name).await;
        world.archive_at(&record.name, pod, path.to_str().unwrap()).await;
        let (_, reference) = world.saved(&name).await;
        world.snapshots().get(reference["name"].as_str().unwrap()).await.unwrap()
    }
}

/// The node of a pod.
pub(crate) fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().unwrap().node_name.clone().unwrap()
}

/// A labeled pod on the node of another one.
pub(crate) fn on_node(pod: Builder<Pod>, other: &Pod) -> Pod {
    let node = node_of(other);
    pod.labelled().spec(|spec| spec.node_name = Some(node)).build()
}

/// Memory that can't be compressed much, the same for each seed.
pub(crate) fn memory(seed: u64, bytes: usize) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| chance.u8(..)).take(bytes).collect()
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
