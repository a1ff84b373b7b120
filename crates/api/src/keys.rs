//! Labels and annotations: those of SNAP, and those of Kubernetes that SnapWatcher reads.

/// Each key of SNAP begins with this.
pub const PREFIX: &str = "snap.weaversoft.io/";

/// Pod label: opts in with [`OPTED_IN`]; any other value does not.
pub const SNAP: &str = "snap.weaversoft.io/snap";
/// The value of [`SNAP`] that opts in.
pub const OPTED_IN: &str = "true";
/// Pod label: whether the pod runs from its own image ([`ORIGINAL`]) or from a checkpoint image ([`RESTORED`]).
pub const MUTATED: &str = "snap.weaversoft.io/mutated";
/// The value of [`MUTATED`] on a pod that runs from a checkpoint image. Such a pod is never checkpointed.
pub const RESTORED: &str = "true";
/// The value of [`MUTATED`] on a pod that runs from its own image. Admission writes it where the label is missing.
pub const ORIGINAL: &str = "false";

/// Pod annotation: which containers to checkpoint.
pub const CONTAINERS: &str = "snap.weaversoft.io/containers";
/// Pod annotation: how long the pod must have been Ready.
pub const DELAY: &str = "snap.weaversoft.io/delay";
/// Pod annotation: `pod` or `revision`.
pub const ONCE_PER: &str = "snap.weaversoft.io/once-per";
/// Pod annotation: the key of the label, or of the annotation, that names the revision of the pod.
pub const REVISION_LABEL: &str = "snap.weaversoft.io/revision-label";
/// Pod annotation, written by admission: UID of the last admission request for the pod.
pub const ADMISSION: &str = "snap.weaversoft.io/admission";
/// Pod annotation: `false` keeps the checkpoints of the pod from being saved.
pub const SAVE: &str = "snap.weaversoft.io/save";
/// Snapshot annotation: `true` keeps a Snapshot from being deleted by its age or its number.
pub const KEEP: &str = "snap.weaversoft.io/keep";

/// Checkpoint label: name of the pod's workload.
pub const WORKLOAD: &str = "snap.weaversoft.io/workload";
/// Checkpoint label: node of the pod, if it was known at the claim.
pub const NODE: &str = "snap.weaversoft.io/node";
/// Checkpoint label: UID of the pod.
pub const POD_UID: &str = "snap.weaversoft.io/pod-uid";
/// Checkpoint annotation: which process made the claim, and for which pod. A process that lost the answer to its creation
/// recognizes its own claim by it.
pub const CLAIMED_BY: &str = "snap.weaversoft.io/claimed-by";

/// Checkpoint annotation: the first attempt, written with the claim. It counts while `status.phase` is absent.
pub const ATTEMPT: &str = "snap.weaversoft.io/attempt";

/// Label of each object that Velero has created from a backup: the name of its Restore, see `RestoreNameLabel` in
/// <https://github.com/vmware-tanzu/velero/blob/main/pkg/apis/velero/v1/labels_annotations.go>.
pub const RESTORE_NAME: &str = "velero.io/restore-name";

/// Pod label, written by a ReplicaSet's Deployment: the revision of the pod, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/>.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Pod label, written by StatefulSets and DaemonSets: the revision of the pod.
pub const CONTROLLER_REVISION_HASH: &str = "controller-revision-hash";

/// Label: which program manages an object, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#app-kubernetes-io-managed-by>.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Annotation of the mirror pod of a static pod, see
/// <https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation: the container that `kubectl` picks, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-kubernetes-io-default-container>.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Annotations by which a service mesh marks a pod that it has added its proxy to, each with the name of the proxy's container:
/// - <https://istio.io/latest/docs/reference/config/annotations/#SidecarStatus>
/// - <https://linkerd.io/2/reference/proxy-configuration/>
/// - <https://kuma.io/docs/latest/reference/kubernetes-annotations/>
/// - <https://developer.hashicorp.com/consul/docs/k8s/annotations-and-labels>
pub const MESH_PROXIES: [(&str, &str); 5] = [
    ("sidecar.istio.io/status", "istio-proxy"),
    ("linkerd.io/proxy-version", "linkerd-proxy"),
    ("kuma.io/sidecar-injected", "kuma-sidecar"),
    ("consul.hashicorp.com/connect-inject-status", "consul-dataplane"),
    ("consul.hashicorp.com/connect-inject-status", "envoy-sidecar"),
];
