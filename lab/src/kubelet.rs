//! A stand-in for a fake node's kubelet: its checkpoint API over HTTPS. A test sets the answers.
//!
//! The stand-in records each request before it answers. It accepts any token. A test can ask the API server whether a
//! token is valid.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use crate::access::install_crypto_provider;
use crate::lock::lock;
use crate::server::Server;

/// Where a kubelet stores checkpoint archives.
const ARCHIVES: &str = "/var/lib/kubelet/checkpoints";

/// A running stand-in. Dropping it closes its port.
pub struct Kubelet {
    server: Server,
    certificate: String,
    shared: Arc<Mutex<Shared>>,
}

/// A checkpoint request as the stand-in received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRequest {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// The raw query.
    pub query: String,
    /// The bearer token.
    pub token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error("the kubelet stand-in could not listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("could not make a certificate for the kubelet stand-in")]
    Certificate { source: rcgen::Error },
    #[error("could not set up TLS for the kubelet stand-in")]
    Tls { source: rustls::Error },
}

#[derive(Default)]
struct Shared {
    requests: Vec<CheckpointRequest>,
    by_pod: HashMap<String, (u16, String)>,
}

impl Kubelet {
    /// Starts on a free port of 127.0.0.1. Each request succeeds until a test sets another answer.
    pub async fn start() -> Result<Self, KubeletError> {
        install_crypto_provider();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let certified = certified.map_err(|source| KubeletError::Certificate { source })?;
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .map_err(|source| KubeletError::Tls { source })?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let shared = Arc::new(Mutex::new(Shared::default()));
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start_tls(address, acceptor, app).await;
        let server = server.map_err(|source| KubeletError::Listen { address, source })?;
        Ok(Self { server, certificate: certified.cert.pem(), shared })
    }

    pub fn port(&self) -> u16 {
        self.server.address().port()
    }

    /// The self-signed certificate, in PEM form.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<CheckpointRequest> {
        lock(&self.shared).requests.clone()
    }

    /// The requests for pods of this name.
    pub fn requests_for(&self, pod: &str) -> Vec<CheckpointRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.pod == pod);
        requests
    }

    /// Sets the answer to requests for pods of this name.
    pub fn answer_pod_with(&self, pod: &str, status: u16, body: &str) {
        lock(&self.shared).by_pod.insert(pod.to_owned(), (status, body.to_owned()));
    }

    /// Closes the port: new connections are refused.
    pub async fn close_port(&self) {
        self.server.close().await;
    }

    /// Opens the same port again.
    pub async fn reopen_port(&self) -> Result<(), KubeletError> {
        let address = self.server.address();
        self.server.reopen().await.map_err(|source| KubeletError::Listen { address, source })
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let segments: Vec<&str> = uri.path().split('/').collect();
    let ["", "checkpoint", namespace, pod, container] = segments[..] else {
        return (StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    };
    if method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed".to_owned());
    }
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let request = CheckpointRequest {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        token: authorization.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned),
    };
    let mut shared = lock(&shared);
    shared.requests.push(request);
    if let Some((status, body)) = shared.by_pod.get(pod) {
        return (StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.clone());
    }
    // No pod can have such a name. The request is SnapWatcher's probe of the checkpoint API.
    if pod.contains(|letter: char| letter.is_ascii_uppercase()) {
        return (StatusCode::NOT_FOUND, "pod does not exist".to_owned());
    }
    let archive = format!("{ARCHIVES}/checkpoint-{pod}_{namespace}-{container}-2026-01-01T00:00:00Z.tar");
    (StatusCode::OK, format!(r#"{{"items":["{archive}"]}}"#))
}
