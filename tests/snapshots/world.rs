//! What the tests of Snapshots need: a SnapWatcher that saves and makes no attempts, archives that the tests make up, a stand-in
//! for a registry, and the part of an agent.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use lab::registry::FakeRegistry;
use lab::{Namespace, Record, Snapwatcher};
use serde_json::{Value, json};
use snapwatcher_api::outcome::Redacted;
use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_registry::{
    CheckpointFacts, CheckpointImage, Digest, Layer, LayerForm, Registry, RegistrySettings, Repository,
};

pub(crate) const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

pub(crate) const ARCHIVE: &str = "/var/lib/kubelet/checkpoints/checkpoint-web.tar";
/// The Secret with the keys.
pub(crate) const KEYS: &str = "snapshot-keys";
/// What the stand-in for an agent pushes.
const LAYER: &[u8] = b"an encrypted archive";
/// The length of the archive that it is of.
pub(crate) const BYTES: u64 = 100;

pub(crate) struct World {
    pub(crate) ns: Namespace,
    pub(crate) registry: FakeRegistry,
    pub(crate) watcher: Arc<Snapwatcher>,
}

impl World {
    /// With these flags besides those of saving. The SnapWatcher makes no attempts.
    pub(crate) async fn start(ns: Namespace, args: &[&str]) -> Self {
        let registry = FakeRegistry::start().await.unwrap();
        let flags = flags(&registry);
        Self::with_flags(ns, registry, flags.iter().map(String::as_str).chain(args.iter().copied()).collect()).await
    }

    /// Without a registry.
    pub(crate) async fn without_registry(ns: Namespace) -> Self {
        let registry = FakeRegistry::start().await.unwrap();
        let flags = flags(&registry);
        let flags = flags.iter().map(String::as_str).filter(|flag| !flag.starts_with("--registry")).collect();
        Self::with_flags(ns, registry, flags).await
    }

    async fn with_flags(ns: Namespace, registry: FakeRegistry, flags: Vec<&str>) -> Self {
        let keys: Secret = serde_json::from_value(json!({"metadata": {"name": KEYS}, "type": "Opaque"})).unwrap();
        ns.create_object(&keys).await;
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &flags).await;
        Self { ns, registry, watcher }
    }

    pub(crate) fn snapshots(&self) -> Api<Snapshot> {
        Api::namespaced(self.ns.client(), self.ns.name())
    }

    pub(crate) async fn all_snapshots(&self) -> Vec<Snapshot> {
        self.snapshots().list(&kube::api::ListParams::default()).await.unwrap().items
    }

    /// Waits until the status of the only Checkpoint of that pod says which Snapshot it has, and returns it.
    pub(crate) async fn saved(&self, pod: &str) -> (Record, Value) {
        let awaited = format!("the Checkpoint of pod `{pod}` names a Snapshot");
        self.ns
            .until(&awaited, async || match self.ns.records_of(pod).await.as_slice() {
                [record] if record.status["snapshot"].is_object() => {
                    Ok((record.clone(), record.status["snapshot"].clone()))
                }
                others => Err(format!("{others:?}")),
            })
            .await
    }

    /// Creates a pod, waits for its Checkpoint and makes up its archive. Returns the Snapshot.
    pub(crate) async fn snapshot_of(&self, pod: &Pod) -> Snapshot {
        let name = pod.name_any();
        self.archived_pod(pod).await;
        let (_, reference) = self.saved(&name).await;
        self.snapshots().get(reference["name"].as_str().unwrap()).await.unwrap()
    }

    /// Creates a pod, waits for its Checkpoint and makes up its archive.
    pub(crate) async fn archived_pod(&self, pod: &Pod) {
        let pod = self.ns.ready_pod(pod).await;
        let record = self.claimed(&pod.name_any()).await;
        self.archive(&record.name, &pod).await;
    }

    /// Waits for the Checkpoint of a pod.
    pub(crate) async fn claimed(&self, pod: &str) -> Record {
        let awaited = format!("pod `{pod}` is claimed");
        let first = async || self.ns.records_of(pod).await.into_iter().next().ok_or("no Checkpoint");
        self.ns.until(&awaited, first).await
    }

    /// Makes up the archive of a Checkpoint, as its back-end would have reported it.
    pub(crate) async fn archive(&self, checkpoint: &str, pod: &Pod) {
        self.archive_at(checkpoint, pod, ARCHIVE).await;
    }

    /// The same with another path.
    pub(crate) async fn archive_at(&self, checkpoint: &str, pod: &Pod, path: &str) {
        let spec = pod.spec.as_ref().unwrap();
        let node = spec.node_name.clone().unwrap();
        let now = "2026-11-01T12:00:00Z";
        let condition = json!({"type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
            "lastTransitionTime": now});
        let revision = pod.labels().get("pod-template-hash").cloned().unwrap_or_else(|| pod.uid().unwrap());
        let status = json!({"status": {
            "phase": "Succeeded", "attempt": 1, "failures": 0, "pod": {"name": pod.name_any(), "uid": pod.uid(), "node": node},
            "container": "app", "revision": revision, "image": spec.containers[0].image, "imageID": "sha256:1",
            "location": {"archive": path, "node": node}, "conditions": [condition],
        }});
        let params = PatchParams::default();
        self.ns.checkpoints().patch_status(checkpoint, &params, &Patch::Merge(status)).await.unwrap();
    }

    /// Writes the entry of a node, as its agent does.
    pub(crate) async fn report(&self, snapshot: &Snapshot, node: &str, entry: &Value) {
        let mut entry = entry.clone();
        entry["name"] = json!(node);
        let patch =
            json!({"apiVersion": "snap.weaversoft.io/v1alpha1", "kind": "Snapshot", "status": {"nodes": [entry]}});
        let params = PatchParams::apply(&format!("snapwatcher-agent/{node}")).force();
        self.snapshots().patch_status(&snapshot.name_any(), &params, &Patch::Apply(patch)).await.unwrap();
    }

    /// Pushes a manifest that says this of a Snapshot, under its tag. Returns its digest.
    pub(crate) async fn push(&self, tag: &str, facts: &CheckpointFacts) -> Digest {
        let repository = repository(&self.registry);
        let digest = repository.push_blob(LAYER).await.unwrap();
        let layer = Layer { digest, bytes: u64::try_from(LAYER.len()).unwrap(), form: LayerForm::Encrypted };
        let image = CheckpointImage::new(&layer, facts).unwrap();
        repository.push(&tag.parse().unwrap(), &image).await.unwrap();
        image.digest().clone()
    }

    /// Pushes what belongs to a Snapshot, and reports it as the agent of the origin's node does. Returns the digest.
    pub(crate) async fn save(&self, snapshot: &Snapshot) -> Digest {
        let digest = self.push(&snapshot.uid().unwrap(), &facts_of(snapshot)).await;
        self.report(snapshot, &snapshot.spec.origin.node, &pushed(&digest)).await;
        digest
    }

    /// Waits until a Snapshot has this phase, and returns it.
    pub(crate) async fn in_phase(&self, name: &str, phase: &str) -> Snapshot {
        self.ns
            .until(&format!("Snapshot `{name}` is {phase}"), async || {
                let found = self.snapshots().get(name).await.map_err(|error| error.to_string())?;
                if found.phase().as_str() == phase { Ok(found) } else { Err(format!("{:?}", found.status)) }
            })
            .await
    }

    pub(crate) async fn gone(&self, name: &str) {
        let gone = async || self.snapshots().get_opt(name).await.unwrap().is_none();
        self.ns.until(&format!("Snapshot `{name}` is deleted"), gone).await;
    }

    /// The digests of the manifests that were deleted in the registry.
    pub(crate) fn deleted_manifests(&self) -> usize {
        self.registry.requests_of(lab::registry::Step::DeleteManifest).len()
    }

    pub(crate) async fn keys(&self) -> Secret {
        self.ns.api::<Secret>().get(KEYS).await.unwrap()
    }
}

/// The flags of a SnapWatcher that saves and makes no attempts.
pub(crate) fn flags(registry: &FakeRegistry) -> Vec<String> {
    vec![
        "--save".to_owned(),
        "--suspend".to_owned(),
        format!("--snapshot-keys-secret={KEYS}"),
        format!("--registry-repository={}/snapshots", registry.address()),
    ]
}

/// What an agent writes into the manifest of a Snapshot.
pub(crate) fn facts_of(snapshot: &Snapshot) -> CheckpointFacts {
    CheckpointFacts {
        snapshot: snapshot.uid().unwrap(),
        namespace: snapshot.namespace().unwrap(),
        container: snapshot.spec.container.clone(),
        image_id: snapshot.spec.image_id.clone(),
        bytes: BYTES,
        created: "2026-11-01T12:00:00Z".parse().unwrap(),
        ..CheckpointFacts::default()
    }
}

/// The entry of a node that has pushed a manifest.
pub(crate) fn pushed(digest: &Digest) -> Value {
    json!({"state": "Held", "manifestDigest": digest.as_str(), "bytes": BYTES, "storedBytes": LAYER.len()})
}

pub(crate) fn repository(registry: &FakeRegistry) -> Repository {
    lab::install_crypto_provider();
    let name = format!("{}/snapshots", registry.address()).parse().unwrap();
    Registry::new(&RegistrySettings::new(name, Redacted::own)).unwrap().base()
}

/// The condition of that type, as status and reason.
pub(crate) fn condition(snapshot: &Snapshot, type_: &str) -> (String, String) {
    let conditions = &snapshot.status.as_ref().unwrap().conditions;
    let found = conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status.clone(), found.reason.clone())
}

/// Creates a Snapshot as a person does.
pub(crate) async fn create(api: &Api<Snapshot>, snapshot: &Snapshot) -> Snapshot {
    api.create(&PostParams::default(), snapshot).await.unwrap()
}
