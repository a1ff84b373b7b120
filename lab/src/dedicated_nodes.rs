//! Fake nodes for one test, which counts what happens on each node or acts as its kubelet.
//!
//! The nodes are tainted, so that pods of other tests are not scheduled to them. A pod gets there by its `nodeName`.
//! The nodes stay until the control plane ends, because the pods of a deleted node would be deleted before a person can
//! look at a failed test.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::fake_nodes::{fake_node, is_node_ready};
use crate::must::must;
use crate::namespace::Namespace;
use crate::until::until;

/// Key of the taint and of the label of these nodes.
const OWN: &str = "lab.snapwatcher.invalid/own";

impl Namespace {
    /// Creates `count` nodes, waits until pods can run on them, and returns their names.
    pub async fn dedicated_nodes(&self, count: usize) -> Vec<String> {
        let nodes: Api<Node> = Api::all(self.client());
        let names: Vec<String> = (1..=count).map(|number| format!("{}-{number}", self.name())).collect();
        for name in &names {
            let taint = Taint { key: OWN.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
            let spec = NodeSpec { taints: Some(vec![taint]), ..NodeSpec::default() };
            let mut node = Node { spec: Some(spec), ..fake_node(name) };
            node.metadata.labels.get_or_insert_default().insert(OWN.to_owned(), "true".to_owned());
            must("create a fake node", nodes.create(&PostParams::default(), &node).await);
            self.node_status(name, &Patch::Merge(registered(name))).await;
        }
        for name in &names {
            until(&format!("node `{name}` is ready"), async || {
                nodes.get(name).await.is_ok_and(|node| is_node_ready(&node))
            })
            .await;
        }
        names
    }

    /// Writes into the node's status that its kubelet listens on this port of 127.0.0.1.
    pub async fn set_kubelet_port(&self, node: &str, port: u16) {
        let addresses = json!([
            {"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": node},
        ]);
        let endpoints = json!({"kubeletEndpoint": {"Port": port}});
        let status = json!({"status": {"addresses": addresses, "daemonEndpoints": endpoints}});
        self.node_status(node, &Patch::Merge(status)).await;
    }

    /// Sets or clears the node's condition DiskPressure.
    pub async fn set_disk_pressure(&self, node: &str, holds: bool) {
        let status = if holds { "True" } else { "False" };
        let condition = json!({"type": "DiskPressure", "status": status, "message": "the test fills the disk"});
        // kwok overwrites the conditions of nodes in phase Running.
        let phase = if holds { "Pending" } else { "Running" };
        let status = json!({"status": {"phase": phase, "conditions": [condition]}});
        self.node_status(node, &Patch::Strategic(status)).await;
    }

    async fn node_status(&self, node: &str, change: &Patch<Value>) {
        let nodes: Api<Node> = Api::all(self.client());
        must("write the status of a node", nodes.patch_status(node, &PatchParams::default(), change).await);
    }
}

/// The status that a kubelet writes when it registers, as in the stage `node-initialize`.
fn registered(name: &str) -> Value {
    let now = Timestamp::now().to_string();
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Registered", "message": "", "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    let conditions =
        [("Ready", "True"), ("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False")];
    let resources = json!({"cpu": "1k", "memory": "1Ti", "pods": "1M"});
    json!({"status": {
        "phase": "Running",
        "conditions": conditions.map(|(kind, status)| condition(kind, status)),
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": name}],
        "capacity": resources,
        "allocatable": resources,
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux", "bootID": "", "machineID": "", "systemUUID": "",
            "osImage": "lab", "kernelVersion": "lab", "containerRuntimeVersion": "lab://1", "kubeProxyVersion": "",
            "kubeletVersion": "lab",
        },
    }})
}
