//! Fake nodes: Node objects without a machine. kwok acts as their kubelets.
//!
//! kwok (sigs.k8s.io/kwok) applies "stages", which are rules for the next status of a node or pod. kwok's own stages
//! leave out `containerStatuses[].started`. A real kubelet always sets the field, and SnapWatcher needs it, so the lab
//! has its own stages. Two annotations of a pod control them:
//!
//! - [`HOLD`]: the test writes the pod's status, and kwok only deletes the pod.
//! - [`COMPLETE`]: a Job's pod succeeds after a few seconds. Without the annotation it runs until it is deleted.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};

/// kwok does not make a pod ready if this annotation is "true".
pub const HOLD: &str = "lab.snapwatcher.invalid/hold";

/// kwok completes a Job's pod if this annotation is "true".
pub const COMPLETE: &str = "lab.snapwatcher.invalid/complete";

/// With two nodes, the pods of one workload can be on different nodes.
pub(crate) const DEFAULT_COUNT: usize = 2;

/// All stages as one stream of YAML documents.
pub(crate) const STAGES: &str = concat!(
    include_str!("../stages/node-initialize.yaml"),
    "---\n",
    include_str!("../stages/node-heartbeat.yaml"),
    "---\n",
    include_str!("../stages/pod-ready.yaml"),
    "---\n",
    include_str!("../stages/pod-complete.yaml"),
    "---\n",
    include_str!("../stages/pod-delete.yaml"),
);

const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum FakeNodesError {
    #[error("could not create the fake node `{name}`")]
    Create { name: String, source: Box<kube::Error> },
    #[error("the fake nodes were not ready after {} s (last seen: {seen})", TIMEOUT.as_secs())]
    NotReady { seen: String },
}

/// Creates the Node objects `node-1` to `node-N`.
pub(crate) async fn create(client: &Client, count: usize) -> Result<(), FakeNodesError> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=count {
        let name = format!("node-{number}");
        nodes
            .create(&PostParams::default(), &fake_node(&name))
            .await
            .map_err(|source| FakeNodesError::Create { name, source: Box::new(source) })?;
    }
    Ok(())
}

pub(crate) fn fake_node(name: &str) -> Node {
    let pairs = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: pairs(&[("kwok.x-k8s.io/node", "fake")]),
            labels: pairs(&[
                ("kubernetes.io/hostname", name),
                ("kubernetes.io/os", "linux"),
                ("kubernetes.io/arch", "amd64"),
            ]),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

/// Waits until pods can be created and scheduled: nodes are ready without taints, the default service account exists.
pub(crate) async fn ready(client: &Client, count: usize) -> Result<(), FakeNodesError> {
    let deadline = Instant::now() + TIMEOUT;
    let nodes: Api<Node> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let mut seen = "nothing".to_owned();
    while Instant::now() < deadline {
        let listed = nodes.list(&ListParams::default()).await;
        let account = accounts.get_opt("default").await;
        match (listed, account) {
            (Ok(list), Ok(Some(_))) if list.items.iter().filter(|node| is_schedulable(node)).count() >= count => {
                return Ok(());
            }
            (Ok(list), account) => {
                let waiting = list.items.iter().filter(|node| !is_schedulable(node)).map(ResourceExt::name_any);
                let waiting: Vec<_> = waiting.collect();
                let account = matches!(account, Ok(Some(_)));
                seen = format!("not schedulable: [{}], service account: {account}", waiting.join(", "));
            }
            (Err(error), _) => seen = error.to_string(),
        }
        tokio::time::sleep(POLL).await;
    }
    Err(FakeNodesError::NotReady { seen })
}

/// Whether a node's condition Ready is True.
pub(crate) fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_schedulable(node: &Node) -> bool {
    let tainted = node.spec.as_ref().is_some_and(|spec| spec.taints.as_ref().is_some_and(|taints| !taints.is_empty()));
    is_node_ready(node) && !tainted
}
