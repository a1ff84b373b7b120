//! A client of SnapWatcher's webhooks that trusts what the API server trusts: the caBundle in the webhook
//! configuration. It sends what an API server never sends, and shows responses that an API server hides.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::access::install_crypto_provider;
use crate::namespace::Namespace;
use crate::snapwatcher::Snapwatcher;
use crate::until::until;

/// A client of one SnapWatcher. Clones share their connections.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    http: reqwest::Client,
    trusted: Vec<reqwest::Certificate>,
    roots: Arc<RootCertStore>,
    address: SocketAddr,
}

/// The status and body of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookClientError {
    #[error("the caBundle of `{configuration}` is not a PEM file of certificates")]
    Bundle { configuration: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("could not make an HTTPS client")]
    Client { source: reqwest::Error },
    #[error("there was no response to `{path}`")]
    Unanswered { path: String, source: reqwest::Error },
}

impl WebhookClient {
    /// Waits for the caBundle in the namespace's mutating configuration and trusts it.
    pub async fn of(namespace: &Namespace, watcher: &Snapwatcher) -> Result<Self, WebhookClientError> {
        install_crypto_provider();
        let configuration = namespace.name().to_owned();
        let bundle = until("the configuration has a caBundle", async || ca_bundle(namespace).await).await;
        let broken = |source| WebhookClientError::Bundle { configuration: configuration.clone(), source };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle) {
            let certificate = certificate.map_err(|error| broken(error.into()))?;
            roots.add(certificate).map_err(|error| broken(error.into()))?;
        }
        let trusted = reqwest::Certificate::from_pem_bundle(&bundle).map_err(|error| broken(error.into()))?;
        let http = client(trusted.clone()).build().map_err(|source| WebhookClientError::Client { source })?;
        Ok(Self { http, trusted, roots: Arc::new(roots), address: watcher.webhook_addr() })
    }

    /// A client that opens a new connection for each request.
    pub fn without_keep_alive(&self) -> Result<Self, WebhookClientError> {
        let http = client(self.trusted.clone()).pool_max_idle_per_host(0).build();
        Ok(Self { http: http.map_err(|source| WebhookClientError::Client { source })?, ..self.clone() })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The TLS configuration of this client, for a test that writes raw bytes. ALPN offers `protocols`.
    pub fn tls(&self, protocols: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::builder().with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// Opens a connection for a test that writes raw bytes.
    pub async fn connect(&self, tls: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(tls)).connect(ServerName::from(self.address.ip()), stream).await
    }

    pub async fn get(&self, path: &str) -> Result<Reply, WebhookClientError> {
        self.send(path, self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, content_type: &str, body: String) -> Result<Reply, WebhookClientError> {
        self.send(path, self.http.post(self.url(path)).header("content-type", content_type).body(body)).await
    }

    /// Posts a review as the API server does.
    pub async fn review(&self, path: &str, review: &Value) -> Result<Reply, WebhookClientError> {
        self.post(path, "application/json", review.to_string()).await
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    async fn send(&self, path: &str, request: reqwest::RequestBuilder) -> Result<Reply, WebhookClientError> {
        let unanswered = |source| WebhookClientError::Unanswered { path: path.to_owned(), source };
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status().as_u16();
        Ok(Reply { status, body: answer.text().await.map_err(unanswered)? })
    }
}

/// The caBundle in the namespace's mutating configuration.
pub async fn ca_bundle(namespace: &Namespace) -> Option<Vec<u8>> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(namespace.client());
    let found = configurations.get(namespace.name()).await.ok()?;
    Some(found.webhooks?.first()?.client_config.ca_bundle.clone()?.0)
}

fn client(trusted: Vec<reqwest::Certificate>) -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_certs_only(trusted).no_proxy()
}

/// An AdmissionReview of a pod's creation, with the fields that an API server sends.
pub fn review_of_creation(uid: &str, namespace: &str, pod: &Pod) -> Value {
    let mut object = serde_json::to_value(pod).unwrap_or_default();
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("Pod");
    object["metadata"]["namespace"] = json!(namespace);
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": pod.metadata.name,
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "lab", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::pod;

    #[test]
    fn a_review_holds_the_pod_as_an_api_object() {
        let review = review_of_creation("uid-1", "shop", &pod("web").labelled().build());
        let request = &review["request"];
        assert_eq!((&request["uid"], &request["operation"]), (&json!("uid-1"), &json!("CREATE")));
        assert_eq!(request["object"]["kind"], json!("Pod"));
        assert_eq!(request["object"]["metadata"]["namespace"], json!("shop"));
        assert_eq!(request["object"]["metadata"]["labels"]["snap.weaversoft.io/snap"], json!("true"));
    }
}
