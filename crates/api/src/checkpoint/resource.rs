//! The `Checkpoint` custom resource. `snapwatcher crd` prints the schema that is made from these types.
//!
//! A doc comment on a type or field below is its description in the schema, which `kubectl explain ckpt` shows. In the API a
//! spec is a flat object of optional fields with CEL rules, see <https://kubernetes.io/docs/reference/using-api/cel/>.

#![expect(unreachable_pub, reason = "the derived schema repeats each struct inside a private scope")]
#![expect(clippy::duplicated_attributes, reason = "each printed column has a type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::pod::PodFacts;
use crate::pod::name::{CONTAINER_NAME_PATTERN, LABEL_VALUE_PATTERN, OBJECT_NAME_PATTERN};

use super::conditions::{COMPLETE, SAVED};
use super::phase::Phase;

/// Visible ASCII characters, as all references of images have.
const IMAGE_PATTERN: &str = "^[!-~]+$";
/// A version, or a group and a version.
const API_VERSION_PATTERN: &str =
    "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?(/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// The API server evaluates each rule at every write of a Checkpoint, so one rule says what makes a target.
const ONE_TARGET: &str = "has(self.pod) ? !has(self.workload) && !has(self.revision) \
                          : has(self.workload) && has(self.revision) && has(self.container) && !has(self.image)";

/// What to checkpoint. It can't be changed: delete the Checkpoint and create another one instead.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[kube(
    group = "snap.weaversoft.io",
    version = "v1alpha1",
    kind = "Checkpoint",
    plural = "checkpoints",
    shortname = "ckpt",
    namespaced,
    doc = "Checkpoint is a request for one checkpoint of one container, and the record of its result. SnapWatcher creates a \
           Checkpoint for each labeled pod, or for each revision of its workload. Create one yourself to checkpoint a \
           labeled pod now.",
    status = "CheckpointStatus",
    printcolumn(name = "POD", type_ = "string", json_path = ".status.pod.name"),
    printcolumn(name = "CONTAINER", type_ = "string", json_path = ".status.container"),
    printcolumn(name = "WORKLOAD", type_ = "string", json_path = ".status.workload"),
    printcolumn(name = "NODE", type_ = "string", json_path = ".status.pod.node"),
    printcolumn(name = "PHASE", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "REASON", type_ = "string", json_path = ".status.conditions[?(@.type==\"Complete\")].reason"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable: delete this Checkpoint and create another"))]
#[x_kube(validation = Rule::new(ONE_TARGET).message("give either pod, or workload with revision and container and without image"))]
pub struct CheckpointSpec {
    /// The pod to checkpoint. Set either `pod` or `workload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodReference>,
    /// The workload of which one pod is checkpointed. It needs `revision` and `container`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadReference>,
    /// The revision of the workload: the value of the label `pod-template-hash` or `controller-revision-hash` on its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = LABEL_VALUE_PATTERN))]
    pub revision: Option<String>,
    /// The name of the container to checkpoint. Without it, the pod's annotations choose the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = CONTAINER_NAME_PATTERN))]
    pub container: Option<String>,
    /// The image of the container, as the pod's spec names it. A container that has another image is not checkpointed. Without
    /// it, any image is checkpointed. A longer name is replaced by its beginning and a digest. It can't be set with `workload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = IMAGE_PATTERN))]
    pub image: Option<String>,
}

/// A pod in the namespace of the Checkpoint.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct PodReference {
    /// The name of the pod.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// The UID of the pod. Without it, the pod that has this name at the attempt is checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub uid: Option<String>,
}

/// A workload in the namespace of the Checkpoint.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReference {
    /// The API version of the workload, for example `apps/v1`.
    #[schemars(length(min = 1, max = 317), regex(pattern = API_VERSION_PATTERN))]
    pub api_version: String,
    /// The kind of the workload, for example `Deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub kind: String,
    /// The name of the workload.
    #[schemars(length(min = 1, max = 253), regex(pattern = LABEL_VALUE_PATTERN))]
    pub name: String,
    /// The UID of the workload.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub uid: String,
}

impl From<&PodFacts> for PodStatus {
    fn from(pod: &PodFacts) -> Self {
        Self {
            name: pod.name.name.to_string(),
            uid: Some(pod.uid.clone()),
            node: pod.node.as_deref().map(str::to_owned),
        }
    }
}

// Atomic: SnapWatcher alone writes the status and always all of it. So the API server does not record the owner of each field.
/// The progress and the result of the checkpoint.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct CheckpointStatus {
    /// See [`Phase`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The generation of the Checkpoint that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The pod that the last attempt was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodStatus>,
    /// The container that the last attempt was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The kind and the name of the pod's workload, for example `Deployment/web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The revision of the workload that the pod belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The image of the container, as the pod's spec names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The ID of the container's image, as the kubelet reports it.
    #[serde(rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The UIDs of the revision's pods whose attempts failed. Another pod of the revision is used instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tried_pods: Vec<String>,
    /// The number of the last attempt. It only grows.
    #[serde(default)]
    pub attempt: i64,
    /// The number of attempts that the back-end made and that failed.
    #[serde(default)]
    pub failures: i64,
    /// The process that made the last attempt: `<instance>/<boot ID>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When the last attempt started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// When the last attempt ends at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<MicroTime>,
    /// The next attempt does not start before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<MicroTime>,
    /// When the phase became Succeeded, Failed or Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<MicroTime>,
    /// Where the checkpoint is, if the back-end reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationStatus>,
    /// The Snapshot that has the revision's checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotReference>,
    /// The result of the last attempt in words, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The conditions `Complete` and `Failed`, as those of a Job. The reason of `Complete` says why a Checkpoint is Pending,
    /// Failed or Unknown. The reason of `Saved` says why no Snapshot is made of an archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub conditions: Vec<Condition>,
}

/// The Snapshot of a Checkpoint.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotReference {
    /// The name of the Snapshot.
    pub name: String,
    /// The UID of the Snapshot.
    pub uid: String,
    /// Whether the Snapshot was made of another Checkpoint of the same revision, so that the archive of this one is not needed.
    #[serde(default)]
    pub is_of_another_checkpoint: bool,
}

/// A pod as it was read.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct PodStatus {
    /// The name of the pod.
    pub name: String,
    /// The UID of the pod. It is missing if the spec names no UID and there was no such pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The node of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Where a checkpoint is.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LocationStatus {
    /// The path of the checkpoint archive on `node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The node that holds the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The image that holds the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The bytes that the archive counts towards the archives that its namespace may have written to `node` in a day. The archive
    /// itself can be smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_bytes: Option<i64>,
}

impl Checkpoint {
    /// The phase; a Checkpoint without a status is Pending.
    pub fn phase(&self) -> Phase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending)
    }

    /// Whether it is final that no Snapshot is made of the archive: the condition `Saved` is False.
    pub fn is_not_saved(&self) -> bool {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.type_ == SAVED && condition.status == "False")
    }

    /// The CamelCase reason of the condition `Complete`.
    pub fn reason(&self) -> Option<&str> {
        let conditions = &self.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == COMPLETE).map(|condition| condition.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;
    use crate::schema::undescribed;

    #[test]
    fn the_definition_has_what_users_rely_on() {
        let crd = serde_json::to_value(Checkpoint::crd()).unwrap();
        assert_eq!(crd["metadata"]["name"], "checkpoints.snap.weaversoft.io");
        assert_eq!(crd["spec"]["names"]["shortNames"][0], "ckpt");
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        assert!(version["subresources"]["status"].is_object());
        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].clone())
            .collect();
        assert_eq!(columns, ["POD", "CONTAINER", "WORKLOAD", "NODE", "PHASE", "REASON", "AGE"]);
        let schema = &version["schema"]["openAPIV3Schema"];
        assert_eq!(schema["required"], json!(["spec"]));
        let rules = schema["properties"]["spec"]["x-kubernetes-validations"].as_array().unwrap();
        assert_eq!(rules.len(), 2, "each rule costs the API server time at every write: {rules:?}");
        assert_eq!((&rules[0]["rule"], &rules[1]["rule"]), (&json!("self == oldSelf"), &json!(ONE_TARGET)));
    }

    #[test]
    fn spec_and_status_have_one_owner_each() {
        let crd = serde_json::to_value(Checkpoint::crd()).unwrap();
        let properties = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            assert_eq!(properties[part]["x-kubernetes-map-type"], "atomic", "{part}");
        }
        for list in ["conditions", "triedPods"] {
            assert_eq!(properties["status"]["properties"][list]["x-kubernetes-list-type"], "atomic", "{list}");
        }
    }

    #[test]
    fn every_field_and_the_resource_itself_are_described() {
        let crd = serde_json::to_value(Checkpoint::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let description = schema["description"].as_str().unwrap();
        assert!(description.starts_with("Checkpoint is a request for one checkpoint"), "{description}");
        assert_eq!(undescribed("", schema), [""; 0]);
    }
}
