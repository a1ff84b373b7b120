//! Lists the nodes and probes their kubelets, with a limit on concurrency and time.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, timeout};

use super::super::finding::{Finding, Topic};
use super::super::runtime_support::Runtime;
use super::{Node, ProbeResult, evaluate, restores};
use snapwatcher_api::outcome::Redacted;
use snapwatcher_backends::kubelet::{Kubelet, KubeletSettings, KubeletTrust};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Cluster, list_pages};

const WHAT: &str = "back-end kubelet";

/// How many kubelets are probed at the same time.
const CONCURRENT_PROBES: usize = 8;

/// Time limit for one kubelet. A healthy one responds at once.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for all kubelets together: a cluster may have thousands of unreachable nodes.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(120);

/// Objects on one page of a list response.
const PAGE: u32 = 500;

/// Tests everything about nodes. `namespace` is that of the second service account.
pub(in crate::check) async fn check(settings: KubeletSettings, namespace: &str, cluster: &Cluster) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.trust == KubeletTrust::Unverified {
        let seen = "certificates are not verified (--kubelet-insecure-skip-verify): any server at a node's address gets the \
                    token";
        let remedy = "let the cluster sign the kubelets' certificates (serverTLSBootstrap), or set --kubelet-ca-file to their CA"
            .to_owned();
        findings.push(Finding::warning(Topic::Backend, WHAT, seen, remedy));
    }
    let account = format!("{WHAT}, service account `{namespace}/{}`", settings.service_account);
    let kubelet = match Kubelet::new(settings, namespace, cluster) {
        Ok(kubelet) => kubelet,
        Err(error) => {
            let remedy = "correct the setting: SnapWatcher does not start with it".to_owned();
            findings.push(Finding::failed(Topic::Backend, WHAT, error_chain(&error), remedy));
            return findings;
        }
    };
    let token = kubelet.check_token().await;
    findings.push(account_finding(account, &token));
    match list(&cluster.calls).await {
        Ok(nodes) => {
            findings.extend(probe_all(&kubelet, &nodes, token.is_ok()).await);
            findings.extend(restores(&nodes));
        }
        Err(error) => {
            let remedy = "grant the right to list nodes, see above".to_owned();
            findings.push(Finding::warning(Topic::Backend, format!("{WHAT}, nodes"), error_chain(&error), remedy));
        }
    }
    findings
}

fn account_finding(what: String, token: &Result<(), Redacted>) -> Finding {
    match token {
        Ok(()) => Finding::ok(Topic::Backend, what, "exists, and the API server issues tokens for it"),
        Err(message) => {
            let remedy = "create it and grant both rights, see docs/running.md".to_owned();
            Finding::failed(Topic::Backend, what, message.to_string(), remedy)
        }
    }
}

async fn probe_all(kubelet: &Kubelet, nodes: &[Node], has_token: bool) -> Vec<Finding> {
    let until = Instant::now() + TOTAL_TIMEOUT;
    let probe_one = async |node: &Node| {
        if !has_token {
            return ProbeResult::Skipped("there is no token for it");
        }
        if Instant::now() >= until {
            return ProbeResult::Skipped("other nodes took too long");
        }
        timeout(PROBE_TIMEOUT, kubelet.probe(&node.name)).await.map_or(ProbeResult::TimedOut, ProbeResult::Responded)
    };
    let is_any_ready = nodes.iter().any(|node| node.is_ready);
    stream::iter(nodes)
        .map(async |node| evaluate(node, &probe_one(node).await, is_any_ready))
        .buffered(CONCURRENT_PROBES)
        .collect()
        .await
}

async fn list(client: &Client) -> Result<Vec<Node>, CallError> {
    let api: Api<KubeNode> = Api::all(client.clone());
    list_pages("list nodes", &api, ListParams::default().limit(PAGE), |listed| Some(node(&listed))).await
}

fn node(node: &KubeNode) -> Node {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let text = |version: Option<&String>| version.cloned().unwrap_or_else(|| "of an unknown version".to_owned());
    Node {
        name: node.name_any(),
        kubelet: text(info.map(|info| &info.kubelet_version)),
        runtime: Runtime::of(info.map_or("an unknown runtime", |info| &info.container_runtime_version)),
        is_windows: info.is_some_and(|info| info.operating_system == "windows"),
        is_ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    }
}
