//! Fake nodes whose kubelets are stand-ins, and SnapWatcher with this back-end.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use lab::kubelet::Kubelet;
use lab::objects::{deployment, pod};
use lab::{Namespace, Snapwatcher};
use serde_json::json;
use tempfile::NamedTempFile;

pub(crate) const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");
pub(crate) const ACCOUNT: &str = "snapwatcher-kubelet";

/// Nodes of a test's own, each with a kubelet.
pub(crate) struct Nodes {
    pub(crate) names: Vec<String>,
    pub(crate) kubelets: Vec<Kubelet>,
    /// The certificates of all these kubelets.
    ca: NamedTempFile,
}

impl Nodes {
    pub(crate) async fn of(ns: &Namespace, count: usize) -> Self {
        let names = ns.dedicated_nodes(count).await;
        let (mut kubelets, mut certificates) = (Vec::new(), String::new());
        for name in &names {
            let kubelet = Kubelet::start().await.unwrap();
            ns.set_kubelet_port(name, kubelet.port()).await;
            certificates += kubelet.certificate();
            kubelets.push(kubelet);
        }
        let ca = NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), certificates).unwrap();
        Self { names, kubelets, ca }
    }

    /// A Deployment with a pod on each of these nodes; returns the pods, in the order of their names, with their kubelets.
    pub(crate) async fn spread(&self, ns: &Namespace) -> Vec<(String, &Kubelet)> {
        let on_these = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": self.names});
        let affinity = json!({
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [on_these]}]}},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                [{"labelSelector": {}, "topologyKey": "kubernetes.io/hostname"}]},
        });
        let web = deployment("web").replicas(i32::try_from(self.names.len()).unwrap()).labelled().spec(|spec| {
            spec.affinity = Some(serde_json::from_value(affinity).unwrap());
            spec.tolerations = Some(vec![serde_json::from_value(json!({"operator": "Exists"})).unwrap()]);
        });
        ns.create_object(&web.build()).await;
        let mut pods = Vec::new();
        for pod in ns.pods_made("web", self.names.len()).await {
            let node = ns.pod_ready(&pod).await.spec.unwrap().node_name.unwrap();
            let node = self.names.iter().position(|name| *name == node).unwrap();
            pods.push((pod, &self.kubelets[node]));
        }
        pods
    }

    pub(crate) fn pod(&self, node: usize, name: &str) -> Pod {
        let node = self.names[node].clone();
        pod(name).labelled().spec(|spec| spec.node_name = Some(node)).build()
    }
}

pub(crate) async fn make_account(ns: &Namespace) {
    let account: ServiceAccount =
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}))
            .unwrap();
    ns.create_object(&account).await;
}

/// Starts SnapWatcher with this back-end. It trusts all kubelets of `nodes`.
pub(crate) async fn start(ns: &Namespace, nodes: &Nodes, args: &[&str]) -> Arc<Snapwatcher> {
    let ca = nodes.ca.path().to_str().unwrap();
    let args = [&["--backend", "kubelet", "--kubelet-ca-file", ca], args].concat();
    ns.start_snapwatcher(SNAPWATCHER, &args).await
}
