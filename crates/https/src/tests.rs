//! The listener over real sockets and real TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

mod handshakes;
mod limits;
mod stop;

/// A limit of the server that a test waits for.
const SHORT: Duration = Duration::from_millis(200);
/// No wait of a test is longer.
const SOON: Duration = Duration::from_secs(5);

/// A CA that signs serving certificates.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn generate() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A new certificate for [`NAMES`] with its key.
    fn issue(&self) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(NAMES.map(str::to_owned)).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = key.serialize_der().try_into().unwrap();
        CertifiedKey::from_der(vec![certificate.into()], key, &ring::default_provider()).unwrap()
    }
}

/// The certificate that is served, if there is one.
#[derive(Debug, Default)]
struct Resolver(Mutex<Option<Arc<CertifiedKey>>>);

impl Resolver {
    fn put(&self, key: CertifiedKey) {
        *self.0.lock().unwrap() = Some(Arc::new(key));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }
}

/// Signals between a handler and a test.
#[derive(Default)]
struct Signals {
    /// The handler has the head of a request.
    arrived: Notify,
    /// The handler may answer.
    released: Notify,
}

/// A running server, its CA, and what a client needs to reach it.
struct Port {
    address: SocketAddr,
    authority: Authority,
    resolver: Arc<Resolver>,
    registry: Registry,
    signals: Arc<Signals>,
    stop: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Port {
    fn open(limits: Limits) -> Self {
        let port = Self::without_certificate(limits);
        port.resolver.put(port.authority.issue());
        port
    }

    #[expect(clippy::disallowed_methods, reason = "a test has no services")]
    fn without_certificate(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let resolver = Arc::new(Resolver::default());
        let stop = CancellationToken::new();
        let signals = Arc::new(Signals::default());
        let mut registry = Registry::default();
        let metrics = HttpsMetrics::register(&mut registry);
        let service = router(&signals).into_service::<Body>();
        let service_of = move |_| service.clone();
        let served = tokio::spawn(serve(listener, service_of, Arc::clone(&resolver), limits, metrics, stop.clone()));
        Self { address, authority: Authority::generate(), resolver, registry, signals, stop, served }
    }

    async fn connect(&self, name: &str) -> io::Result<TlsStream<TcpStream>> {
        connect(self.address, name, &self.authority, &[b"h2", b"http/1.1"]).await
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until a handler has the head of a request.
    async fn request_arrived(&self) {
        timeout(SOON, self.signals.arrived.notified()).await.unwrap();
    }

    /// Waits until the metrics have this line.
    async fn shows(&self, line: &str) {
        let shown = async {
            while !self.metrics().lines().any(|shown| shown == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, shown).await.unwrap_or_else(|_| panic!("{line}\n{}", self.metrics()));
    }

    async fn stopped(self) -> Result<(), ServeError> {
        self.stop.cancel();
        timeout(SOON, self.served).await.unwrap().unwrap()
    }
}

const NAMES: [&str; 3] = ["snapwatcher.default.svc", "localhost", "127.0.0.1"];

fn router(signals: &Arc<Signals>) -> Router {
    let (slow, body) = (Arc::clone(signals), Arc::clone(signals));
    let slow = async move || {
        slow.arrived.notify_one();
        slow.released.notified().await;
        "done"
    };
    let body = async move |request: Request<Body>| -> Bytes {
        body.arrived.notify_one();
        to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default()
    };
    Router::new()
        .route("/", get(|| async { "ok" }))
        .route("/slow", get(slow))
        .route("/long", get(|| async { "x".repeat(1 << 20) }))
        .route("/body", post(body))
}

async fn connect(
    address: SocketAddr,
    name: &str,
    ca: &Authority,
    protocols: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = match name.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(name.to_owned()).unwrap(),
    };
    let stream = TcpStream::connect(address).await?;
    timeout(SOON, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

/// Sends a request on an open connection and returns the head and body of the response.
async fn request(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    response(stream).await
}

async fn response(stream: &mut TlsStream<TcpStream>) -> String {
    let mut text = vec![0; 4096];
    let length = timeout(SOON, stream.read(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// Waits until the server closes the connection.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // A close without close_notify is an error here.
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the server closes the connection");
}

fn served_by(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}
