//! The service account by which SnapWatcher calls kubelets, and its one right, as in docs/running.md.

use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Resource;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::json;

use crate::must::must;
use crate::namespace::Namespace;

/// SnapWatcher's default name of the account.
const NAME: &str = "snapwatcher-kubelet";

impl Namespace {
    /// Creates the account and grants its right.
    pub async fn make_kubelet_account(&self) {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        self.create_object(&ServiceAccount { metadata, ..ServiceAccount::default() }).await;
        let role = json!({
            "metadata": self.cluster_metadata().await,
            "rules": [{"apiGroups": [""], "resources": ["nodes/checkpoint"], "verbs": ["create"]}],
        });
        let role: ClusterRole = must("write a role", serde_json::from_value(role));
        must("create a role", Api::all(self.client()).create(&PostParams::default(), &role).await);
        self.grant_checkpoints().await;
    }

    /// The account's user name.
    pub fn kubelet_account(&self) -> String {
        format!("system:serviceaccount:{}:{NAME}", self.name())
    }

    pub async fn grant_checkpoints(&self) {
        let binding = json!({
            "metadata": self.cluster_metadata().await,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name()},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": self.name()}],
        });
        let binding: ClusterRoleBinding = must("write a binding", serde_json::from_value(binding));
        must("create a binding", Api::all(self.client()).create(&PostParams::default(), &binding).await);
    }

    pub async fn revoke_checkpoints(&self) {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client());
        must("delete a binding", bindings.delete(self.name(), &DeleteParams::default()).await);
    }

    /// Metadata of a cluster-scoped object that has this namespace's name and is deleted with it.
    async fn cluster_metadata(&self) -> ObjectMeta {
        let namespace = Api::<KubeNamespace>::all(self.client()).get(self.name()).await;
        let owner = must("read the namespace", namespace).owner_ref(&());
        let owner_references = owner.map(|owner| vec![owner]);
        ObjectMeta { name: Some(self.name().to_owned()), owner_references, ..ObjectMeta::default() }
    }
}
