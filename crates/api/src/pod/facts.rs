//! The few facts of a pod that decide about a checkpoint, about 1 KiB, as plain values.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::checkpoint_name::shortened;
use crate::keys::{ADMISSION, MIRROR, MUTATED, OPTED_IN, RESTORED, SNAP};

use super::name::PodName;
use super::options::CheckpointOptions;
use super::watched::{WatchedCondition, WatchedContainer, WatchedContainerStatus, WatchedPod};

/// Labels that identify the revision of a pod, the first one that is set counts, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/>.
const REVISION_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// The longest name of a pod, a namespace, a node or a controller that is kept, in bytes: the longest that Kubernetes allows. Of
/// a longer text, here and below, the beginning and a digest are kept. The API server validates neither owner references nor
/// annotations nor images, so one pod could otherwise take a megabyte.
const LONGEST_NAME: usize = 253;
/// The longest name of a container, value of a label, kind or UID that is kept.
const LONGEST_LABEL: usize = 63;
/// The longest API version that is kept: a group and a version.
const LONGEST_API_VERSION: usize = LONGEST_NAME + 1 + LONGEST_LABEL;
/// The longest image or image ID that is kept; `spec.image` of a Checkpoint has the same limit in the CRD.
const LONGEST_IMAGE: usize = 512;
/// The longest text that is kept of what is wrong with the annotations.
const LONGEST_PROBLEM: usize = 512;

/// What is known of one pod.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read on its own")]
pub struct PodFacts {
    pub name: PodName,
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// The label [`SNAP`] is exactly "true".
    pub labelled: bool,
    /// The label [`MUTATED`], whatever its value.
    pub mutated: Option<String>,
    /// The annotation [`ADMISSION`].
    pub admission: Option<String>,
    /// A mirror pod: the API server's copy of a static pod. It can't be labeled by admission or checkpointed by its name.
    pub mirror: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// The phase is Running.
    pub running: bool,
    /// The phase is Succeeded or Failed: the containers do not run again.
    pub ended: bool,
    /// Since when the condition Ready is True; `None` while the pod is not Ready.
    pub ready_since: Option<Timestamp>,
    pub node: Option<String>,
    /// The owner reference with `controller: true`.
    pub controller: Option<ControllerReference>,
    /// Hash of the pod template, from the label that the pod's controller sets.
    pub template_hash: Option<String>,
    pub containers: Vec<ContainerFacts>,
    /// The checkpoint options in the annotations, or what is wrong with the annotations.
    pub options: Result<CheckpointOptions, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    pub name: String,
    /// Running, and past its startup probe if it has one.
    pub started: bool,
    /// As the pod's spec names it. The API server accepts no pod without it.
    pub image: String,
    /// As the kubelet reports it.
    pub image_id: Option<String>,
    /// A digest of the container's ID in its runtime. A restarted container has another one.
    pub instance: Option<u64>,
}

/// The controller of an object, as its owner reference names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ControllerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

impl ControllerReference {
    /// Finds the reference with `controller: true`; Kubernetes allows one at most.
    pub fn among(references: &[OwnerReference]) -> Option<Self> {
        let owner = references.iter().find(|owner| owner.controller == Some(true))?;
        Some(Self {
            api_version: shortened(&owner.api_version, LONGEST_API_VERSION),
            kind: shortened(&owner.kind, LONGEST_LABEL),
            name: shortened(&owner.name, LONGEST_NAME),
            uid: shortened(&owner.uid, LONGEST_LABEL),
        })
    }
}

impl PodFacts {
    /// The pod runs from a checkpoint image.
    pub fn restored(&self) -> bool {
        self.mutated.as_deref() == Some(RESTORED)
    }

    pub fn container(&self, name: &str) -> Option<&ContainerFacts> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The revision of the workload: the template hash, else the UID of the direct controller, else the pod's own UID.
    pub fn revision(&self) -> &str {
        let controller = || self.controller.as_ref().map(|controller| controller.uid.as_str());
        self.template_hash.as_deref().or_else(controller).unwrap_or(&self.uid)
    }
}

impl From<WatchedPod> for PodFacts {
    fn from(pod: WatchedPod) -> Self {
        let WatchedPod { metadata, spec, status } = pod;
        let labels = metadata.labels.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let created = metadata.creation_timestamp.map(|created| created.0);
        let containers = containers(&spec.containers, &status.container_statuses);
        let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
        let options = CheckpointOptions::parse(&annotations, &names)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            .map_err(|problem| shortened(&problem, LONGEST_PROBLEM));
        Self {
            name: PodName {
                namespace: limited(metadata.namespace, LONGEST_NAME).unwrap_or_default(),
                name: limited(metadata.name, LONGEST_NAME).unwrap_or_default(),
            },
            uid: limited(metadata.uid, LONGEST_LABEL).unwrap_or_default(),
            created,
            labelled: labels.get(SNAP).is_some_and(|value| value == OPTED_IN),
            mutated: labels.get(MUTATED).map(|value| shortened(value, LONGEST_LABEL)),
            admission: annotations.get(ADMISSION).map(|value| shortened(value, LONGEST_LABEL)),
            mirror: annotations.contains_key(MIRROR),
            terminating: metadata.deletion_timestamp.is_some(),
            running: status.phase.as_deref() == Some("Running"),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready_since: ready_since(&status.conditions, created),
            node: limited(spec.node_name, LONGEST_NAME),
            controller: ControllerReference::among(metadata.owner_references.as_deref().unwrap_or_default()),
            template_hash: template_hash(&labels),
            containers,
            options,
        }
    }
}

/// The text itself if it is not too long.
fn limited(text: Option<String>, longest: usize) -> Option<String> {
    text.map(|text| if text.len() > longest { shortened(&text, longest) } else { text })
}

/// A Ready condition without a transition time, which is optional, counts from the pod's creation.
fn ready_since(conditions: &[WatchedCondition], created: Option<Timestamp>) -> Option<Timestamp> {
    let ready = conditions.iter().find(|condition| condition.r#type == "Ready" && condition.status == "True")?;
    ready.last_transition_time.or(created)
}

fn template_hash(labels: &BTreeMap<String, String>) -> Option<String> {
    let hash = REVISION_LABELS.iter().find_map(|key| labels.get(*key))?;
    Some(shortened(hash, LONGEST_LABEL))
}

fn containers(specs: &[WatchedContainer], statuses: &[WatchedContainerStatus]) -> Vec<ContainerFacts> {
    let statuses: HashMap<&str, &WatchedContainerStatus> =
        statuses.iter().map(|status| (status.name.as_str(), status)).collect();
    let facts = |spec: &WatchedContainer| {
        let status = statuses.get(spec.name.as_str()).copied();
        let running =
            |status: &WatchedContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
        ContainerFacts {
            name: shortened(&spec.name, LONGEST_LABEL),
            started: status.is_some_and(|status| status.started == Some(true) && running(status)),
            image: shortened(spec.image.as_deref().unwrap_or_default(), LONGEST_IMAGE),
            image_id: status.and_then(|status| limited(status.image_id.clone(), LONGEST_IMAGE)),
            instance: status.and_then(|status| status.container_id.as_deref()).map(digest),
        }
    };
    specs.iter().map(facts).collect()
}

/// The same text has the same digest within one process.
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::keys::{CONTAINERS, DELAY, ONCE_PER};

    fn facts(pod: Value) -> PodFacts {
        serde_json::from_value::<WatchedPod>(pod).unwrap().into()
    }

    /// A pod as the API server sends it. It is written out, so that a wrong field name in `WatchedPod` fails a test.
    fn ready_pod() -> Value {
        json!({
            "metadata": {
                "namespace": "default", "name": "web-1", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"snap.weaversoft.io/snap": "true", "pod-template-hash": "abc"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "x"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r1", "controller": true},
                ],
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "busybox"}], "unknown": {"a": 1}},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}],
                "containerStatuses": [{"name": "app", "started": true, "state": {"running": {}}, "image": "docker.io/library/busybox:latest", "imageID": "sha256:1"}],
            },
        })
    }

    #[test]
    fn the_facts_of_a_ready_pod_are_read() {
        let pod = facts(ready_pod());
        assert_eq!(pod.name.to_string(), "default/web-1");
        assert!(pod.labelled && pod.running && !pod.terminating && !pod.mirror && !pod.restored());
        assert_eq!(pod.ready_since, Some("2026-01-01T00:00:09Z".parse().unwrap()));
        assert_eq!(pod.controller.as_ref().map(|owner| owner.kind.as_str()), Some("ReplicaSet"));
        assert_eq!(pod.revision(), "abc");
        assert!(pod.container("app").unwrap().started);
        let app = pod.container("app").unwrap();
        assert_eq!((app.image.as_str(), app.image_id.as_deref()), ("busybox", Some("sha256:1")));
    }

    #[test]
    fn what_is_kept_of_a_pod_is_small() {
        let long = "x".repeat(1 << 20);
        let pod = facts(json!({
            "metadata": {
                "namespace": &long, "name": &long, "uid": &long,
                "labels": {MUTATED: &long, "pod-template-hash": &long},
                "annotations": {ADMISSION: &long, ONCE_PER: &long, DELAY: &long, CONTAINERS: &long},
                "ownerReferences": [{"apiVersion": &long, "kind": &long, "name": &long, "uid": &long, "controller": true}],
            },
            "spec": {"nodeName": &long, "containers": [{"name": &long, "image": &long}]},
            "status": {"phase": &long, "containerStatuses": [{"name": &long, "image": &long, "imageID": &long}]},
        }));
        let size = format!("{pod:?}").len();
        assert!(size < 6000, "{size} bytes: {pod:?}");
        let kept = pod.container(&shortened(&long, LONGEST_LABEL)).unwrap();
        assert_eq!((kept.image.len(), kept.image_id.as_ref().unwrap().len()), (LONGEST_IMAGE, LONGEST_IMAGE));
        let owner = pod.controller.unwrap();
        assert_eq!((owner.api_version.len(), owner.kind.len(), owner.name.len(), owner.uid.len()), (317, 63, 253, 63));
    }

    #[test]
    fn long_images_that_differ_at_the_end_stay_different() {
        let image = |tag: &str| {
            let mut pod = ready_pod();
            pod["spec"]["containers"][0]["image"] = json!(format!("{}:{tag}", "r".repeat(600)));
            facts(pod).container("app").unwrap().image.clone()
        };
        assert_ne!(image("1"), image("2"));
    }

    #[test]
    fn a_pod_with_nothing_but_a_name_can_be_read() {
        let pod = facts(json!({"metadata": {"name": "bare", "namespace": "default", "uid": "u"}}));
        assert!(!pod.labelled && pod.ready_since.is_none() && pod.containers.is_empty());
        assert_eq!(pod.revision(), "u");
    }

    #[test]
    fn only_the_exact_value_opts_in() {
        for (value, labelled) in [("true", true), ("True", false), ("false", false), ("", false)] {
            let mut pod = ready_pod();
            pod["metadata"]["labels"][SNAP] = json!(value);
            assert_eq!(facts(pod).labelled, labelled, "{value:?}");
        }
    }

    #[test]
    fn a_container_counts_as_started_only_when_it_says_so_and_runs() {
        for (case, status, started) in [
            ("started is left out", json!({"name": "app", "state": {"running": {}}}), false),
            ("not started", json!({"name": "app", "started": false, "state": {"running": {}}}), false),
            ("waiting", json!({"name": "app", "started": true, "state": {"waiting": {}}}), false),
            ("another container", json!({"name": "b", "started": true, "state": {"running": {}}}), false),
            ("started and running", json!({"name": "app", "started": true, "state": {"running": {}}}), true),
        ] {
            let mut pod = ready_pod();
            pod["status"]["containerStatuses"] = json!([status]);
            assert_eq!(facts(pod).container("app").unwrap().started, started, "{case}");
        }
    }

    #[test]
    fn the_revision_falls_back_from_hash_to_controller_to_pod() {
        let mut pod = ready_pod();
        pod["metadata"]["labels"] = json!({"controller-revision-hash": "db-5"});
        assert_eq!(facts(pod.clone()).revision(), "db-5");
        pod["metadata"]["labels"] = json!({});
        assert_eq!(facts(pod.clone()).revision(), "r1");
        pod["metadata"]["ownerReferences"] = json!([]);
        assert_eq!(facts(pod).revision(), "u1");
    }
}
