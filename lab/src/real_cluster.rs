//! A cluster with one real node, Services and DNS names, into which SnapWatcher is installed. Its image is in the
//! registry. A SnapHook stand-in that takes real checkpoints has the address that the chart expects.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::access::Access;
use crate::cluster::{Cluster, Options};
use crate::must::must;
use crate::node::{RealNode, route_service_to_host};
use crate::snaphook::{Behaviour, Kubelets, SnapHook};
use crate::until::try_until;

/// Pods pull their image, start, become ready and drain. Each of these takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The names that `make image` gives the image, and that it has in the registry of the manifests and of the chart's scenarios. The lab has SnapWatcher's version.
const IMAGE: &str = concat!("snapwatcher:", env!("CARGO_PKG_VERSION"));
const NAME_IN_CHART: &str = concat!("snapwatcher:", env!("CARGO_PKG_VERSION"));

/// The Service that the chart's defaults call.
const NAMESPACE: &str = "snap";
const BACK_END: (&str, u16) = ("snap-back-api", 80);

/// A running cluster. Dropping it ends it.
pub struct RealCluster {
    cluster: Cluster,
    client: Client,
    snaphook: SnapHook,
}

impl RealCluster {
    /// Starts a cluster and pushes SnapWatcher's image from buildah to its registry.
    pub async fn start() -> Self {
        let options = must("read the options", Options::from_environment()).with_services();
        let cluster = must("start a cluster", Cluster::start(options).await);
        let client = must("make a client", cluster.client().await);
        let node = must("find the real node", cluster.real_node().ok_or("there is none"));
        let to = format!("docker://{}/{NAME_IN_CHART}", node.registry_address());
        printed(Command::new("buildah").args(["push", "--quiet", "--tls-verify=false", IMAGE, &to]));
        let host = SocketAddr::from((node.host_address(), 0));
        let snaphook = must("start the SnapHook stand-in", SnapHook::listen(host).await);
        let kubelets = must("reach the kubelet", Kubelets::of(cluster.access()).await);
        snaphook.answer_with(Behaviour::Kubelet(kubelets));
        let routed = route_service_to_host(&client, NAMESPACE, BACK_END.0, BACK_END.1, snaphook.address()).await;
        must("route a Service to the stand-in", routed);
        Self { cluster, client, snaphook }
    }

    pub fn access(&self) -> &Access {
        self.cluster.access()
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn snaphook(&self) -> &SnapHook {
        &self.snaphook
    }

    pub fn node(&self) -> &RealNode {
        must("find the real node", self.cluster.real_node().ok_or("there is none"))
    }

    /// Runs kubectl with these space-separated arguments and returns its output.
    pub fn kubectl(&self, arguments: &str) -> String {
        let mut command = Command::new(self.cluster.kubectl());
        printed(command.env("KUBECONFIG", self.cluster.kubeconfig()).args(arguments.split(' ')))
    }

    /// Waits until SnapWatcher's Deployment has exactly this many pods, all of them current, and returns them.
    pub async fn replicas(&self, count: usize) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client(), NAMESPACE);
        let mine = ListParams::default().labels("app.kubernetes.io/name=snapwatcher");
        let deployments: Api<Deployment> = Api::namespaced(self.client(), NAMESPACE);
        let expected = i32::try_from(count).ok();
        let look = async || {
            let found = deployments.get("snapwatcher").await.map_err(|error| error.to_string())?;
            let status = found.status.unwrap_or_default();
            let is_seen = status.observed_generation == found.metadata.generation;
            let is_done = is_seen && status.updated_replicas == expected && status.available_replicas == expected;
            let listed = pods.list(&mine).await.map_err(|error| error.to_string())?.items;
            if is_done && listed.len() == count {
                Ok(listed)
            } else {
                Err(format!("{status:?}, {} pods", listed.len()))
            }
        };
        must("wait for the replicas", try_until("the replicas are available", TIMEOUT, look).await)
    }

    /// The audit log's entries for requests of SnapWatcher's service accounts that the API server forbade.
    pub fn refused(&self) -> Vec<Value> {
        let log = must("read the audit log", std::fs::read_to_string(self.access().audit_log()));
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let account = format!("system:serviceaccount:{NAMESPACE}:snapwatcher");
        let is_ours = |entry: &Value| entry["user"]["username"].as_str().is_some_and(|name| name.starts_with(&account));
        let (refused, others): (Vec<_>, Vec<_>) =
            entries.filter(is_ours).partition(|entry| entry["responseStatus"]["code"] == 403);
        let known = if others.is_empty() { Err(format!("it has no entry of {account}")) } else { Ok(refused) };
        must("read the audit log", known)
    }
}

fn printed(command: &mut Command) -> String {
    let output = must(&format!("run {command:?}"), command.output());
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    must(&format!("run {command:?}"), if output.status.success() { Ok(out) } else { Err(format!("{out}{err}")) })
}
