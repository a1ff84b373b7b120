//! The `Snapshot` custom resource. `snapwatcher crd` prints the schema that is made from these types.
//!
//! A doc comment on a type or field below is its description in the schema, which `kubectl explain snp` shows.

#![expect(unreachable_pub, reason = "the derived schema repeats each struct inside a private scope")]
#![expect(clippy::duplicated_attributes, reason = "each printed column has a type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::checkpoint::WorkloadReference;
use crate::pod::name::{CONTAINER_NAME_PATTERN, LABEL_VALUE_PATTERN, OBJECT_NAME_PATTERN};

use super::phase::SnapshotPhase;

/// An absolute path without `..`, whose last part is the name of an archive.
const ARCHIVE_PATTERN: &str = "^(/[A-Za-z0-9_-][A-Za-z0-9_.:-]*)+$";
/// A public key of age, see <https://age-encryption.org/v1>.
const RECIPIENT_PATTERN: &str = "^age1[a-z0-9]{58}$";
/// A digest as OCI registries name it.
const DIGEST_PATTERN: &str = "^sha256:[a-f0-9]{64}$";

/// Which checkpoint is saved. It can't be changed.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[kube(
    group = "snap.weaversoft.io",
    version = "v1alpha1",
    kind = "Snapshot",
    plural = "snapshots",
    shortname = "snp",
    namespaced,
    doc = "Snapshot is the saved checkpoint of one container of one revision of a workload. SnapWatcher creates a Snapshot for a \
           Checkpoint that has an archive. Delete a Snapshot, and SnapWatcher deletes its copies on the nodes and in the registry.",
    status = "SnapshotStatus",
    printcolumn(name = "WORKLOAD", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "CONTAINER", type_ = "string", json_path = ".spec.container"),
    printcolumn(name = "REVISION", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "PHASE", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "SIZE", type_ = "integer", json_path = ".status.bytes"),
    printcolumn(name = "STORED", type_ = "integer", json_path = ".status.storedBytes"),
    printcolumn(name = "COPIES", type_ = "integer", json_path = ".status.copies"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable: delete this Snapshot instead"))]
pub struct SnapshotSpec {
    /// The workload of the pod.
    pub workload: WorkloadReference,
    /// The controller of the pod, for example its ReplicaSet.
    pub controller: ControllerReference,
    /// The revision of the workload: the value of the label `pod-template-hash` or `controller-revision-hash` on its pods.
    #[schemars(length(min = 1, max = 253), regex(pattern = LABEL_VALUE_PATTERN))]
    pub revision: String,
    /// The key of the label, or of the annotation, that has the revision on the pods. Without it, no pod of the revision can be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub revision_label: Option<String>,
    /// The name of the container.
    #[schemars(length(min = 1, max = 63), regex(pattern = CONTAINER_NAME_PATTERN))]
    pub container: String,
    /// The image of the container, as the pod's spec named it.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The ID of the container's image, as the kubelet reported it.
    #[serde(rename = "imageID")]
    #[schemars(length(min = 1, max = 512))]
    pub image_id: String,
    /// The Checkpoint that produced the archive, and where the archive was.
    pub origin: SnapshotOrigin,
    /// The public key of age that the copy in the registry is encrypted to. Without it, the copy is not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = RECIPIENT_PATTERN))]
    pub recipient: Option<String>,
    /// The UID of the Snapshot that this one replaces. The copies of that one are deleted when this one is Saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub replaces: Option<String>,
}

/// The controller of a pod, by its owner reference.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct ControllerReference {
    /// The kind of the controller, for example `ReplicaSet`.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub kind: String,
    /// The name of the controller.
    #[schemars(length(min = 1, max = 253), regex(pattern = LABEL_VALUE_PATTERN))]
    pub name: String,
    /// The UID of the controller.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub uid: String,
}

/// Where a Snapshot comes from.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotOrigin {
    /// The Checkpoint.
    pub checkpoint: OriginCheckpoint,
    /// The pod that was checkpointed.
    pub pod: OriginPod,
    /// The node that holds the archive.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME_PATTERN))]
    pub node: String,
    /// The path of the archive on the node, as the kubelet reported it.
    #[schemars(length(min = 1, max = 1024), regex(pattern = ARCHIVE_PATTERN))]
    pub archive: String,
}

/// A Checkpoint in the namespace of the Snapshot.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginCheckpoint {
    /// The name of the Checkpoint.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// The UID of the Checkpoint.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub uid: String,
}

/// A pod in the namespace of the Snapshot.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginPod {
    /// The name of the pod.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// The UID of the pod.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE_PATTERN))]
    pub uid: String,
}

/// Where the Snapshot is, and whether it is used.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// See [`SnapshotPhase`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// The copy in the registry: repository and digest of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub image: Option<String>,
    /// The size of the archive in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The size of the copy in the registry in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<i64>,
    /// How many nodes hold a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<i64>,
    /// What each node reports. A node writes its own entry alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub nodes: Vec<NodeCopy>,
    /// When the Snapshot was last used. Without a use, when it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_time: Option<Time>,
    /// What happened last, in words, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The conditions `Accepted` and `Saved`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub conditions: Vec<Condition>,
}

/// What one node has done with a Snapshot.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeCopy {
    /// The name of the node.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// See [`NodeCopyState`].
    pub state: NodeCopyState,
    /// The digest of the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DIGEST_PATTERN))]
    pub archive_digest: Option<String>,
    /// The digest of the manifest, if the node has pushed the archive to the registry and read the manifest back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DIGEST_PATTERN))]
    pub manifest_digest: Option<String>,
    /// The size of the archive in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The size of what was pushed in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<i64>,
    /// A digest of all that a container must have in common with the one that was checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DIGEST_PATTERN))]
    pub shape: Option<String>,
    /// Why the node does not hold the Snapshot, or has not pushed it, in one CamelCase word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// The same in words, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Waiting: it will try again. Held: it holds an unpacked copy. NotHeld: it has pushed the archive, and holds no copy; without a
/// `manifestDigest`, it had the only copy and has deleted it. Refused: the archive is not what the Snapshot names, or is broken.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NodeCopyState {
    /// The node will try again.
    #[default]
    Waiting,
    /// The node holds an unpacked copy.
    Held,
    /// The node has pushed the archive, and holds no copy; or it had the only copy and has deleted it.
    NotHeld,
    /// The archive is not what the Snapshot names, or is broken.
    Refused,
}

impl Snapshot {
    /// The phase; a Snapshot without a status is Pending.
    pub fn phase(&self) -> SnapshotPhase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
    }

    /// What that node reports.
    pub fn node(&self, name: &str) -> Option<&NodeCopy> {
        self.status.as_ref()?.nodes.iter().find(|node| node.name == name)
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
        let crd = serde_json::to_value(Snapshot::crd()).unwrap();
        assert_eq!(crd["metadata"]["name"], "snapshots.snap.weaversoft.io");
        assert_eq!(crd["spec"]["names"]["shortNames"][0], "snp");
        let version = &crd["spec"]["versions"][0];
        assert!(version["subresources"]["status"].is_object());
        let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
        let columns: Vec<_> = columns.map(|column| column["name"].clone()).collect();
        assert_eq!(columns, ["WORKLOAD", "CONTAINER", "REVISION", "PHASE", "SIZE", "STORED", "COPIES", "AGE"]);
        let rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"].clone();
        assert_eq!(rules[0]["rule"], json!("self == oldSelf"));
    }

    #[test]
    fn the_entry_of_each_node_has_an_owner_of_its_own() {
        let crd = serde_json::to_value(Snapshot::crd()).unwrap();
        let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
        let nodes = &status["properties"]["nodes"];
        assert_eq!(
            (&nodes["x-kubernetes-list-type"], &nodes["x-kubernetes-list-map-keys"]),
            (&json!("map"), &json!(["name"]))
        );
        assert!(status.get("x-kubernetes-map-type").is_none(), "{status}");
    }

    #[test]
    fn every_field_and_the_resource_itself_are_described() {
        let crd = serde_json::to_value(Snapshot::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let description = schema["description"].as_str().unwrap();
        assert!(description.starts_with("Snapshot is the saved checkpoint"), "{description}");
        assert_eq!(undescribed("", schema), [""; 0]);
    }
}
