//! A control plane, a registry, and an agent for each measurement.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use lab::registry::FakeRegistry;
use lab::{Cluster, Options, Snapwatcher, SnapwatcherOptions, crd};
use serde_json::json;
use snapwatcher_api::snapshot::{NodeCopyState, Snapshot, SnapshotSpec};
use tempfile::TempDir;
use tokio::time::sleep;

use super::archive::{self, CONTAINER, IMAGE, NAMESPACE, POD, POD_UID};
use super::results::Saved;
use crate::process_usage::ProcessUsage;

const NODE: &str = "n1";
/// A public key, for the measurement alone.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

const POLL: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(600);

pub(super) struct Testbed {
    cluster: Cluster,
    snapwatcher: PathBuf,
    folder: TempDir,
}

impl Testbed {
    pub(super) async fn start(snapwatcher: &Path) -> Result<Self, Box<dyn Error>> {
        let cluster = Cluster::start(Options::from_environment()?).await?;
        crd::install(cluster.access(), snapwatcher).await?;
        let folder = tempfile::Builder::new().prefix("snapwatcher-bench-").tempdir()?;
        fs::create_dir(folder.path().join("checkpoints"))?;
        Ok(Self { cluster, snapwatcher: snapwatcher.to_owned(), folder })
    }

    pub(super) fn write_archive(&self, bytes: u64) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.folder.path().join("checkpoints/checkpoint-web.tar");
        archive::write(&path, bytes)?;
        Ok(path)
    }

    /// Starts an agent, lets it save the archive, and ends it. Only the work on the archive is measured.
    pub(super) async fn save(&self, path: &Path) -> Result<Saved, Box<dyn Error>> {
        let registry = FakeRegistry::start().await?;
        let state = self.folder.path().join("state");
        let args = vec![
            "agent".to_owned(),
            format!("--node-name={NODE}"),
            format!("--checkpoints-folder={}", self.folder.path().join("checkpoints").display()),
            format!("--state-folder={}", state.display()),
            format!("--registry-repository={}/snapshots", registry.address()),
            "--free-disk-percent=1".to_owned(),
        ];
        let (binary, kubeconfig) = (self.snapwatcher.clone(), self.cluster.kubeconfig());
        let options = SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() };
        let agent = Snapwatcher::start(options).await?;
        agent.ready().await?;
        let usage = ProcessUsage { pid: agent.pid().await };
        let before = usage.cpu_time_of_all_threads()?;
        let started = Instant::now();
        let snapshots: Api<Snapshot> = Api::namespaced(self.cluster.client().await?, NAMESPACE);
        let snapshot = create(&snapshots, path).await?;
        let reported = reported(&snapshots, &snapshot).await?;
        let saved = Saved {
            bytes: u64::try_from(reported.0)?,
            stored_bytes: u64::try_from(reported.1)?,
            time: started.elapsed(),
            cpu: usage.cpu_time_of_all_threads()?.saturating_sub(before),
            peak_mib: usage.memory()?.peak,
        };
        agent.stop().await?;
        snapshots.delete(&snapshot, &DeleteParams::default()).await?;
        fs::remove_dir_all(state)?;
        Ok(saved)
    }
}

/// Creates a Snapshot as a leader does. Returns its name.
async fn create(snapshots: &Api<Snapshot>, path: &Path) -> Result<String, Box<dyn Error>> {
    let spec: SnapshotSpec = serde_json::from_value(json!({
        "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "w"},
        "controller": {"kind": "ReplicaSet", "name": "web-1", "uid": "r"},
        "revision": "1", "container": CONTAINER, "image": IMAGE, "imageID": "unknown", "recipient": RECIPIENT,
        "origin": {"checkpoint": {"name": "web", "uid": "c"}, "pod": {"name": POD, "uid": POD_UID}, "node": NODE,
            "archive": path},
    }))?;
    let name = snapshots.create(&PostParams::default(), &Snapshot::new("web", spec)).await?.name_any();
    let condition = json!({"type": "Accepted", "status": "Unknown", "reason": "Waiting", "message": "",
        "lastTransitionTime": "2026-11-01T12:00:00Z"});
    let status = json!({"status": {"conditions": [condition]}});
    snapshots.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(name)
}

/// Waits until the agent has pushed it. Returns its bytes and those in the registry.
async fn reported(snapshots: &Api<Snapshot>, name: &str) -> Result<(i64, i64), Box<dyn Error>> {
    let started = Instant::now();
    loop {
        let found = snapshots.get(name).await?;
        match found.node(NODE) {
            Some(entry) if entry.state == NodeCopyState::Held => {
                let missing = || format!("the entry is incomplete: {entry:?}");
                return Ok((entry.bytes.ok_or_else(missing)?, entry.stored_bytes.ok_or_else(missing)?));
            }
            Some(entry) if entry.reason.is_some() => return Err(format!("the agent reports {entry:?}").into()),
            _ if started.elapsed() > LIMIT => return Err("the agent does not report".into()),
            _ => sleep(POLL).await,
        }
    }
}
