//! A stand-in for the kubelet of a fake node: its checkpoint API over HTTPS, with answers as a test wants them.
//!
//! It records each request before it answers. It takes any token; what a token is worth is the API server's to say, and a
//! test can ask it.

mod listener;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::access::install_crypto_provider;

use listener::TlsListener;

/// How long `accept_again` tries to get its port back.
const REBIND: Duration = Duration::from_secs(5);

/// Where a kubelet keeps its archives.
const ARCHIVES: &str = "/var/lib/kubelet/checkpoints";

/// A running stand-in; its port closes when it is dropped.
pub struct Kubelet {
    address: SocketAddr,
    certificate: String,
    acceptor: TlsAcceptor,
    shared: Arc<Mutex<Shared>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// One request for a checkpoint, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// The query as it came.
    pub query: String,
    /// The bearer token.
    pub token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error("the kubelet stand-in could not listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("could not make a certificate for the kubelet stand-in")]
    Certificate { source: rcgen::Error },
    #[error("could not set up TLS for the kubelet stand-in")]
    Tls { source: rustls::Error },
}

#[derive(Default)]
struct Shared {
    requests: Vec<Asked>,
    by_pod: HashMap<String, (u16, String)>,
}

impl Kubelet {
    /// Starts on a free port of 127.0.0.1; each checkpoint is taken.
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
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |source| KubeletError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let accepting = Mutex::new(Some(serve(listener, acceptor.clone(), Arc::clone(&shared))));
        Ok(Self { address, certificate: certified.cert.pem(), acceptor, shared, accepting })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its certificate (PEM), which is its own CA.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Asked> {
        lock(&self.shared).requests.clone()
    }

    /// The requests about pods of this name.
    pub fn requests_for(&self, pod: &str) -> Vec<Asked> {
        let mut requests = self.requests();
        requests.retain(|request| request.pod == pod);
        requests
    }

    /// Answers so to each request about pods of this name.
    pub fn answer_pod_with(&self, pod: &str, status: u16, body: &str) {
        lock(&self.shared).by_pod.insert(pod.to_owned(), (status, body.to_owned()));
    }

    /// Closes the port: further connections are refused.
    pub async fn refuse(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // Its end is the moment at which the listener is dropped.
            drop(accepting.await);
        }
    }

    /// Opens the same port again.
    pub async fn accept_again(&self) -> Result<(), KubeletError> {
        let deadline = tokio::time::Instant::now() + REBIND;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(source) if tokio::time::Instant::now() > deadline => {
                    return Err(KubeletError::Listen { address: self.address, source });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        *lock(&self.accepting) = Some(serve(listener, self.acceptor.clone(), Arc::clone(&self.shared)));
        Ok(())
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
    }
}

/// Locks; a test that panicked while it held the lock has left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Mutex<Shared>>) -> JoinHandle<()> {
    let app = Router::new().fallback(receive).with_state(shared);
    tokio::spawn(async move {
        // Accepts until the task is aborted; it does not end with an error.
        drop(axum::serve(TlsListener { listener, acceptor }, app).await);
    })
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
    let asked = Asked {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        token: authorization.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned),
    };
    let mut shared = lock(&shared);
    shared.requests.push(asked);
    if let Some((status, body)) = shared.by_pod.get(pod) {
        return (StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.clone());
    }
    // There is no pod of such a name: one that is asked about is a probe.
    if pod.contains(|letter: char| letter.is_ascii_uppercase()) {
        return (StatusCode::NOT_FOUND, "pod does not exist".to_owned());
    }
    let archive = format!("{ARCHIVES}/checkpoint-{pod}_{namespace}-{container}-2026-01-01T00:00:00Z.tar");
    (StatusCode::OK, format!(r#"{{"items":["{archive}"]}}"#))
}
