//! A labeled workload on a real node is saved by the agent of the chart: its kubelet writes a CRIU archive, the agent pushes it to a
//! registry and removes it, and what the registry holds is byte for byte what CRIU wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use lab::objects::{COUNTING, deployment};
use lab::terminal::print_result;
use lab::{ChartInstallation, Namespace, RealCluster, in_namespace_of, install_crypto_provider};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use snapwatcher_api::outcome::Redacted;
use snapwatcher_api::snapshot::{NodeCopyState, Snapshot};
use snapwatcher_registry::{Digest, Protocol, Registry, RegistrySettings, Repository};

const UPGRADE: &str = "upgrade snapwatcher ./charts/snapwatcher -n snap --reuse-values";

/// The digests of the files of an archive, by name.
fn files(archive: &[u8]) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let (name, mut content) = (entry.path().unwrap().display().to_string(), Vec::new());
        entry.read_to_end(&mut content).unwrap();
        (name, format!("{:x}", Sha256::digest(&content)))
    });
    entries.filter(|(name, _)| !name.ends_with('/')).collect()
}

fn repository(cluster: &RealCluster) -> Repository {
    install_crypto_provider();
    let name = format!("{}/snapshots", cluster.node().registry_address()).parse().unwrap();
    let settings = RegistrySettings { protocol: Protocol::Http, ..RegistrySettings::new(name, Redacted::own) };
    Registry::new(&settings).unwrap().base()
}

/// Creates a labeled Deployment, and waits for its checkpoint. Returns the path and the content of its archive.
async fn checkpointed(cluster: &RealCluster, ns: &Namespace, name: &str) -> (String, Vec<u8>) {
    let web = deployment(name).labelled().runs(&cluster.node().busybox(), COUNTING).build();
    ns.create_object(&web).await;
    let made = ns.pods_made(name, 1).await.pop_first().unwrap();
    let record = ns.record_of(&made, "Succeeded").await;
    let path = record.text("/location/archive").unwrap().to_owned();
    let archive = std::fs::read(cluster.node().path(&path)).unwrap();
    (path, archive)
}

/// Waits until the Snapshot of a Deployment is saved.
async fn saved(ns: &Namespace, workload: &str) -> Snapshot {
    ns.until(&format!("the Snapshot of `{workload}` is saved"), async || {
        let all = ns.api::<Snapshot>().list(&kube::api::ListParams::default()).await.unwrap().items;
        match all.into_iter().find(|snapshot| snapshot.spec.workload.name == workload) {
            Some(snapshot) if snapshot.phase().as_str() == "Saved" => Ok(snapshot),
            other => Err(format!("{:?}", other.map(|snapshot| snapshot.status))),
        }
    })
    .await
}

/// The blob of a Snapshot in the registry.
async fn blob(cluster: &RealCluster, snapshot: &Snapshot) -> Vec<u8> {
    let repository = repository(cluster);
    let image = snapshot.status.as_ref().unwrap().image.clone().unwrap();
    let digest: Digest = image.rsplit_once('@').unwrap().1.parse().unwrap();
    let manifest = repository.manifest(&digest.into()).await.unwrap();
    let mut stream = repository.blob(&manifest.layers[0].digest, manifest.layers[0].bytes);
    let mut content = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        content.extend_from_slice(&piece);
    }
    content
}

/// Decrypts by the key of the namespace, which only the leader's Secret has.
async fn decrypted(cluster: &RealCluster, ns: &Namespace, blob: &[u8]) -> Vec<u8> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), "snap");
    let keys = secrets.get("snapwatcher-snapshot-keys").await.unwrap().data.unwrap();
    let identity: age::x25519::Identity = String::from_utf8(keys[ns.name()].0.clone()).unwrap().trim().parse().unwrap();
    let decryptor = age::Decryptor::new_buffered(blob).unwrap();
    let mut compressed = Vec::new();
    let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).unwrap();
    reader.read_to_end(&mut compressed).unwrap();
    compressed
}

/// The copy in the node store has the files that CRIU wrote.
fn is_in_the_node_store(cluster: &RealCluster, snapshot: &Snapshot, expected: &BTreeMap<String, String>) {
    let entry = snapshot.node(cluster.node().name()).unwrap();
    assert_eq!(entry.state, NodeCopyState::Held);
    let digest = entry.archive_digest.as_ref().unwrap().strip_prefix("sha256:").unwrap();
    let copy = cluster.node().path(Path::new("/var/lib/snapwatcher/store").join(digest));
    for (name, hash) in expected {
        let content = std::fs::read(copy.join(name)).unwrap();
        assert_eq!(format!("{:x}", Sha256::digest(content)), *hash, "{name}");
    }
}

/// Other programs read a Snapshot that is not encrypted.
async fn other_programs_read_it(cluster: &RealCluster, snapshot: &Snapshot, archive: &[u8]) {
    let tag = format!("docker://{}/snapshots:{}", cluster.node().registry_address(), snapshot.uid().unwrap());
    let inspected = Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &tag]).output().unwrap();
    let manifest: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(manifest["annotations"]["org.criu.checkpoint.container.name"], "app", "{inspected:?}");
    // Without --raw, skopeo compares the configuration with the manifest.
    let inspected = Command::new("skopeo").args(["inspect", "--tls-verify=false", &tag]).output().unwrap();
    assert!(inspected.status.success(), "{inspected:?}");
    let stored = zstd::decode_all(blob(cluster, snapshot).await.as_slice()).unwrap();
    assert!(stored == archive, "the layer is another archive");
    let copy = "/tmp/saved.tar";
    std::fs::write(cluster.node().path(copy), &stored).unwrap();
    let shown = cluster.node().must_run(["checkpointctl", "inspect", copy]).await.unwrap();
    assert!(shown.contains("app") && shown.contains("containerd"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_of_the_chart_saves_what_criu_wrote_and_removes_it_from_the_node() {
    let cluster = &RealCluster::start().await;
    in_namespace_of(cluster.access(), "the_agent_of_the_chart", |ns| async move {
        let installation = ChartInstallation::on(cluster.access()).await;
        let registry = cluster.node().registry_address();
        // No node has an agent before the label, so that the archive can be read.
        installation.helm(&format!(
            "{UPGRADE} --set save.enabled=true --set save.registry.repository={registry}/snapshots --set \
             save.registry.plainHTTP=true --set save.freeDiskPercent=1 --set agent.nodeSelector.example\\.com/agent=yes"
        ));
        cluster.replicas(1).await;
        ns.admission_works().await;
        let (path, archive) = checkpointed(cluster, &ns, "web").await;
        cluster.kubectl(&format!("label node {} example.com/agent=yes", cluster.node().name()));
        let snapshot = saved(&ns, "web").await;
        assert!(!cluster.node().archives().contains(&path), "the archive is on the node");
        let stored = blob(cluster, &snapshot).await;
        let unpacked = zstd::decode_all(decrypted(cluster, &ns, &stored).await.as_slice()).unwrap();
        assert!(unpacked == archive, "the registry holds another archive");
        is_in_the_node_store(cluster, &snapshot, &files(&archive));
        let (raw, stored) = (archive.len(), stored.len());
        print_result(&format!("e2e_save: {raw} bytes of CRIU are {stored} bytes in the registry"));

        installation.helm(&format!("{UPGRADE} --set save.encryption=none"));
        cluster.replicas(1).await;
        cluster.kubectl(&format!("label node {} example.com/agent-", cluster.node().name()));
        cluster.kubectl("wait -n snap --for=delete pod -l app.kubernetes.io/component=agent --timeout=60s");
        let (_, archive) = checkpointed(cluster, &ns, "plain").await;
        cluster.kubectl(&format!("label node {} example.com/agent=yes", cluster.node().name()));
        let plain = saved(&ns, "plain").await;
        other_programs_read_it(cluster, &plain, &archive).await;

        // A deleted Snapshot takes its copy with it.
        cluster.kubectl(&format!("delete snapshot -n {} {}", ns.name(), plain.name_any()));
        let store = cluster.node().path("/var/lib/snapwatcher/store");
        ns.until("its copy is deleted", async || std::fs::read_dir(&store).unwrap().count() == 1).await;
        assert_eq!(cluster.refused(), Vec::<Value>::new());
        installation.helm("uninstall snapwatcher -n snap --wait");
    })
    .await;
}
