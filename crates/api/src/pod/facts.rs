//! The few facts of a pod that the watch keeps, about 1 KiB, and the slim type it decodes them from.
//!
//! A whole `Pod` of k8s-openapi is some hundred fields; a cluster with 10,000 labelled pods would be held in memory
//! for the dozen that decide. Unknown fields are skipped while decoding.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};

use super::{ADMISSION, CheckpointOptions, MIRROR, MUTATED, OPTED_IN, PodName, RESTORED, SNAP};

/// Labels that tell the revision of a pod, in order of weight, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/>.
const REVISION_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// A pod as the API server tells it, with just the fields that are read.
#[derive(Debug, Clone, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = Pod)]
pub struct WatchedPod {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: WatchedSpec,
    #[serde(default)]
    pub status: WatchedStatus,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedSpec {
    pub containers: Vec<Named>,
    pub node_name: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedStatus {
    pub phase: Option<String>,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    pub last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    pub started: Option<bool>,
    pub image: Option<String>,
    #[serde(rename = "imageID")]
    pub image_id: Option<String>,
    pub state: Option<ContainerState>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerState {
    pub running: Option<Running>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub started_at: Option<Timestamp>,
}

/// What is known of one pod; plain values, no longer a Kubernetes object.
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
    /// A static pod's copy; it can't be labelled by admission nor checkpointed by its name.
    pub mirror: bool,
    /// It has a deletion time.
    pub terminating: bool,
    /// Phase is Running.
    pub running: bool,
    /// Condition Ready is True since then; `None`: not Ready.
    pub ready_since: Option<Timestamp>,
    pub node: Option<String>,
    /// The owner reference with `controller: true`.
    pub controller: Option<Controller>,
    /// Hash of the pod's template as its controller labelled it.
    pub template_hash: Option<String>,
    pub containers: Vec<ContainerFacts>,
    /// What the annotations ask for, or why they can't be understood (sentences).
    pub wishes: Result<CheckpointOptions, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    pub name: String,
    /// `started` is true and the state is running: its start-up probe, if any, has passed.
    pub started: bool,
    pub image: Option<String>,
    pub image_id: Option<String>,
}

/// The object that manages another, by its owner reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Controller {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

impl Controller {
    /// The reference with `controller: true`, of which there is at most one.
    pub fn among(references: &[OwnerReference]) -> Option<Self> {
        let owner = references.iter().find(|owner| owner.controller == Some(true))?;
        Some(Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
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

    /// The revision of its workload: the template's hash, else the UID of the direct controller, else its own.
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
        let names: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
        let wishes = CheckpointOptions::parse(&annotations, &names)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        Self {
            name: PodName {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
            },
            uid: metadata.uid.unwrap_or_default(),
            created,
            labelled: labels.get(SNAP).is_some_and(|value| value == OPTED_IN),
            mutated: labels.get(MUTATED).cloned(),
            admission: annotations.get(ADMISSION).cloned(),
            mirror: annotations.contains_key(MIRROR),
            terminating: metadata.deletion_timestamp.is_some(),
            running: status.phase.as_deref() == Some("Running"),
            ready_since: ready_since(&status.conditions, created),
            node: spec.node_name.clone(),
            controller: Controller::among(metadata.owner_references.as_deref().unwrap_or_default()),
            template_hash: template_hash(&labels),
            containers: containers(&spec.containers, &status.container_statuses),
            wishes,
        }
    }
}

/// A Ready condition without a time (the field is optional) counts from the pod's creation.
fn ready_since(conditions: &[Condition], created: Option<Timestamp>) -> Option<Timestamp> {
    let ready = conditions.iter().find(|condition| condition.r#type == "Ready" && condition.status == "True")?;
    ready.last_transition_time.or(created)
}

fn template_hash(labels: &BTreeMap<String, String>) -> Option<String> {
    REVISION_LABELS.iter().find_map(|key| labels.get(*key)).cloned()
}

fn containers(specs: &[Named], statuses: &[ContainerStatus]) -> Vec<ContainerFacts> {
    let facts = |spec: &Named| {
        let status = statuses.iter().find(|status| status.name == spec.name);
        let running = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
        ContainerFacts {
            name: spec.name.clone(),
            started: status.is_some_and(|status| status.started == Some(true) && running(status)),
            image: status.and_then(|status| status.image.clone()),
            image_id: status.and_then(|status| status.image_id.clone()),
        }
    };
    specs.iter().map(facts).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(pod: Value) -> PodFacts {
        serde_json::from_value::<WatchedPod>(pod).unwrap().into()
    }

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
                "containerStatuses": [{"name": "app", "started": true, "state": {"running": {}}, "image": "busybox:1", "imageID": "sha256:1"}],
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
        assert_eq!(pod.container("app").unwrap().image_id.as_deref(), Some("sha256:1"));
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
