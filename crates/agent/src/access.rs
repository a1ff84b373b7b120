//! The calls to the API server: one function for each, each within the time of one call.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Node;
use kube::api::{GetParams, ListParams, Patch, PatchParams, Request};
use kube::{Client, Resource as _, ResourceExt as _};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use snapwatcher_api::checkpoint::WatchedCheckpoint;
use snapwatcher_api::metadata::ObjectMetadata;
use snapwatcher_api::snapshot::{NodeCopy, Snapshot, WatchedSnapshot};
use snapwatcher_kubernetes::cluster::{CallError, Cluster, Pages, Scope, call, limit_pages, limit_responses};

use crate::archive_rules::Named;

/// How many Checkpoints one request lists.
const PAGE: u32 = 100;
/// The API server accepts managers of 128 characters.
const LONGEST_MANAGER: usize = 128;

/// Access to the API server.
pub(crate) struct Access {
    client: Client,
    listings: Client,
    node: String,
}

/// The conditions of a node, and nothing else of it.
#[derive(Debug, Clone, Default, Deserialize)]
struct NodeConditions {
    #[serde(default)]
    status: NodeConditionsStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct NodeConditionsStatus {
    #[serde(default)]
    conditions: Vec<NodeCondition>,
}

#[derive(Debug, Clone, Deserialize)]
struct NodeCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl Access {
    pub(crate) fn new(cluster: &Cluster, node: &str) -> Self {
        let (client, listings) = (limit_responses(&cluster.calls), limit_pages(&cluster.calls));
        Self { client, listings, node: node.to_owned() }
    }

    pub(crate) async fn read_snapshot(&self, namespace: &str, name: &str) -> Result<Option<Snapshot>, CallError> {
        let request = Request::new(Snapshot::url_path(&(), Some(namespace))).get(name, &GetParams::default());
        match self.send::<WatchedSnapshot>(format!("read Snapshot `{namespace}/{name}`"), request).await {
            Ok(found) => Ok(Some(found.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the entry of this node. That the Snapshot is gone, or another one has its name, is no error.
    pub(crate) async fn report(&self, snapshot: &Snapshot, entry: &NodeCopy) -> Result<(), CallError> {
        let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
        let patch = json!({
            "apiVersion": Snapshot::api_version(&()),
            "kind": Snapshot::kind(&()),
            "metadata": {"name": name, "uid": snapshot.uid()},
            "status": {"nodes": [entry]},
        });
        let params = PatchParams::apply(&manager(&self.node)).force();
        let request = Request::new(Snapshot::url_path(&(), Some(&namespace)));
        let request = request.patch_subresource("status", &name, &params, &Patch::Apply(patch));
        let what = format!("write the entry of node `{}` in Snapshot `{namespace}/{name}`", self.node);
        match self.send::<ObjectMetadata>(what, request).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Whether the kubelet says that the disk of its node is full.
    pub(crate) async fn has_disk_pressure(&self) -> Result<bool, CallError> {
        let request = Request::new(Node::url_path(&(), None)).get(&self.node, &GetParams::default());
        let node = self.send::<NodeConditions>(format!("read node `{}`", self.node), request).await?;
        let mut conditions = node.status.conditions.into_iter();
        Ok(conditions.any(|condition| condition.kind == "DiskPressure" && condition.status == "True"))
    }

    /// The archives on this node that Checkpoints name, by path.
    pub(crate) async fn named_archives(&self, scopes: &[Scope]) -> Result<HashMap<String, Named>, CallError> {
        let mut named = HashMap::new();
        for scope in scopes {
            let mut pages =
                Pages::<WatchedCheckpoint>::new(scope.api(&self.listings), ListParams::default().limit(PAGE));
            while let Some(page) = pages.next("list Checkpoints").await? {
                named.extend(page.into_iter().filter_map(|checkpoint| Named::of(checkpoint, &self.node)));
            }
        }
        Ok(named)
    }

    async fn send<K: serde::de::DeserializeOwned>(&self, what: String, request: Built) -> Result<K, CallError> {
        let request = request.map_err(kube::Error::BuildRequest);
        call(what, async { self.client.request::<K>(request?).await }).await
    }
}

/// The owner of the entry of a node. Two nodes never have the same one: each would delete the entry of the other.
fn manager(node: &str) -> String {
    let manager = format!("snapwatcher-agent/{node}");
    if manager.len() <= LONGEST_MANAGER {
        return manager;
    }
    let digest = Sha256::digest(node).iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("snapwatcher-agent/{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_the_manager_of_its_own_entry() {
        assert_eq!(manager("n1"), "snapwatcher-agent/n1");
        let [one, other] = ["a", "b"].map(|end| manager(&format!("{}{end}", "n".repeat(252))));
        assert!(one.len() <= LONGEST_MANAGER && one != other, "{one} {other}");
    }

    #[test]
    fn only_the_conditions_of_a_node_are_read() {
        let node = json!({"metadata": {"name": "n1"}, "status": {"images": [], "conditions": [
            {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"}]}});
        let node: NodeConditions = serde_json::from_value(node).unwrap();
        assert_eq!(node.status.conditions.len(), 1);
        assert!(serde_json::from_str::<NodeConditions>("{}").unwrap().status.conditions.is_empty());
    }
}
