//! A client of the kubelet's API: over TLS, with a token, verified by the cluster's CA.
//!
//! It calls the node's address and port directly, as SNAP's own SnapHook does, and not through the API server.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use reqwest::{Certificate, Client, RequestBuilder};

use crate::access::{Access, AccessError, install_crypto_provider};

/// How long the runtime may take for a checkpoint, and how much longer the client waits.
const TIMEOUT: Duration = Duration::from_secs(60);
const MARGIN: Duration = Duration::from_secs(10);

/// A client with the administrator's token. It belongs to the current tokio runtime.
#[derive(Clone)]
pub struct KubeletApi {
    client: Client,
    token: String,
    nodes: Api<Node>,
}

/// A kubelet's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletAnswer {
    pub status: u16,
    pub body: String,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeletApiError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("could not make a client that trusts the cluster's CA")]
    Client { source: reqwest::Error },
    #[error("could not read the node `{node}`")]
    Node { node: String, source: Box<kube::Error> },
    #[error("the node `{node}` has no address in its status yet")]
    NoAddress { node: String },
    #[error("the kubelet at {url} did not answer")]
    NoResponse { url: String, source: reqwest::Error },
}

impl KubeletApi {
    pub async fn of(access: &Access) -> Result<Self, KubeletApiError> {
        install_crypto_provider();
        let failed = |source| KubeletApiError::Client { source };
        let credentials = access.credentials()?;
        let authority = Certificate::from_pem_bundle(&credentials.authority).map_err(failed)?;
        let builder = Client::builder().no_proxy().retry(reqwest::retry::never()).tls_certs_only(authority);
        let client = builder.pool_max_idle_per_host(0).timeout(TIMEOUT + MARGIN).build().map_err(failed)?;
        Ok(Self { client, token: credentials.token, nodes: Api::all(access.client().await?) })
    }

    /// Requests a checkpoint of a container.
    pub async fn checkpoint(
        &self,
        node: &str,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<KubeletAnswer, KubeletApiError> {
        let timeout = TIMEOUT.as_secs();
        let path = format!("checkpoint/{namespace}/{pod}/{container}?timeout={timeout}");
        let url = format!("{}/{path}", self.url(node).await?);
        answered(url.clone(), self.client.post(url).bearer_auth(&self.token)).await
    }

    /// Calls the kubelet's health check.
    pub async fn healthz(&self, node: &str) -> Result<KubeletAnswer, KubeletApiError> {
        let url = format!("{}/healthz", self.url(node).await?);
        answered(url.clone(), self.client.get(url).bearer_auth(&self.token)).await
    }

    /// The URL of this node's kubelet, from the status of the Node object.
    async fn url(&self, node: &str) -> Result<String, KubeletApiError> {
        let read = self.nodes.get(node).await;
        let read = read.map_err(|source| KubeletApiError::Node { node: node.to_owned(), source: Box::new(source) })?;
        url_of(&read).ok_or_else(|| KubeletApiError::NoAddress { node: node.to_owned() })
    }
}

impl KubeletAnswer {
    /// The archive's path on the node, if the checkpoint succeeded.
    pub fn archive(&self) -> Option<String> {
        let answer: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        answer.pointer("/items/0")?.as_str().map(str::to_owned)
    }
}

async fn answered(url: String, request: RequestBuilder) -> Result<KubeletAnswer, KubeletApiError> {
    let failed = |source| KubeletApiError::NoResponse { url: url.clone(), source };
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status().as_u16();
    Ok(KubeletAnswer { status, body: answer.text().await.map_err(failed)? })
}

fn url_of(node: &Node) -> Option<String> {
    let status = node.status.as_ref()?;
    let internal = status.addresses.iter().flatten().find(|address| address.type_ == "InternalIP")?;
    let address: IpAddr = internal.address.parse().ok()?;
    let port = status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?.port;
    let shown = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    Some(format!("https://{shown}:{port}"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{DaemonEndpoint, NodeAddress, NodeDaemonEndpoints, NodeStatus};

    use super::*;

    fn node(address: &str) -> Node {
        let endpoint = DaemonEndpoint { port: 10250 };
        let addresses = [("Hostname", "real-1"), ("InternalIP", address)];
        let addresses = addresses.map(|(kind, text)| NodeAddress { type_: kind.to_owned(), address: text.to_owned() });
        let status = NodeStatus {
            addresses: Some(addresses.to_vec()),
            daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(endpoint) }),
            ..NodeStatus::default()
        };
        Node { status: Some(status), ..Node::default() }
    }

    #[test]
    fn a_kubelet_is_called_at_the_nodes_internal_address() {
        assert_eq!(url_of(&node("10.87.0.2")).as_deref(), Some("https://10.87.0.2:10250"));
        assert_eq!(url_of(&node("fd00::2")).as_deref(), Some("https://[fd00::2]:10250"));
        assert_eq!(url_of(&Node::default()), None);
    }

    #[test]
    fn only_a_success_has_an_archive() {
        let answer = |body: &str| KubeletAnswer { status: 200, body: body.to_owned() };
        let taken = answer(r#"{"items":["/var/lib/kubelet/checkpoints/checkpoint-a.tar"]}"#);
        assert_eq!(taken.archive().as_deref(), Some("/var/lib/kubelet/checkpoints/checkpoint-a.tar"));
        assert_eq!(answer("checkpointing of default/counter/app failed").archive(), None);
    }
}
