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
        let served = tokio::spawn(serve(listener, service, Arc::clone(&resolver), limits, metrics, stop.clone()));
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

#[tokio::test]
async fn a_certificate_is_trusted_under_each_of_its_names_and_no_other() {
    let port = Port::open(Limits::default());
    for name in NAMES {
        let mut stream = port.connect(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(request(&mut stream, "/").await.ends_with("\r\n\r\nok"), "{name}");
    }
    for name in ["other.default.svc", "127.0.0.2"] {
        assert!(port.connect(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_client_with_another_ca_does_not_trust_the_certificate() {
    let port = Port::open(Limits::default());
    let other = Authority::generate();
    let error = connect(port.address, "localhost", &other, &[]).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn only_http_1_is_spoken() {
    let port = Port::open(Limits::default());
    let stream = port.connect("localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(connect(port.address, "localhost", &port.authority, &[b"h2"]).await.is_err());
}

#[tokio::test]
async fn handshakes_fail_until_there_is_a_certificate() {
    let port = Port::without_certificate(Limits::default());
    assert!(port.connect("localhost").await.is_err());
    port.resolver.put(port.authority.issue());
    assert!(port.connect("localhost").await.is_ok());
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_only() {
    let port = Port::open(Limits::default());
    let mut old = port.connect("localhost").await.unwrap();
    port.resolver.put(port.authority.issue());
    let new = port.connect("localhost").await.unwrap();
    assert_ne!(served_by(&old), served_by(&new));
    assert!(request(&mut old, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_closed() {
    let port = Port::open(Limits { handshake: SHORT, ..Limits::default() });
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    closed(&mut silent).await;
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_closed() {
    let port = Port::open(Limits { first_request: SHORT, ..Limits::default() });
    let mut silent = port.connect("localhost").await.unwrap();
    closed(&mut silent).await;
}

#[tokio::test]
async fn a_client_that_sends_no_further_request_is_closed() {
    let port = Port::open(Limits { idle: SHORT, ..Limits::default() });
    let mut stream = port.connect("localhost").await.unwrap();
    request(&mut stream, "/").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_client_that_reads_no_response_is_closed() {
    let port = Port::open(Limits { write: SHORT, ..Limits::default() });
    let mut greedy = port.connect("localhost").await.unwrap();
    // More than the kernel's buffers hold between the two.
    greedy.write_all(&b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32)).await.unwrap();
    port.shows("https_open_connections 1").await;
    port.shows("https_open_connections 0").await;
}

#[tokio::test]
async fn a_request_whose_body_does_not_arrive_is_answered_408() {
    let port = Port::open(Limits { request: SHORT, ..Limits::default() });
    let mut stream = port.connect("localhost").await.unwrap();
    stream.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 408 "));
    port.shows("https_request_timeouts_total 1").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn one_more_client_evicts_the_connection_whose_last_request_is_the_longest_ago() {
    let port = Port::open(Limits { connections: 2, ..Limits::default() });
    let mut silent = port.connect("localhost").await.unwrap();
    let mut asking = port.connect("localhost").await.unwrap();
    for stream in [&mut silent, &mut asking] {
        request(stream, "/").await;
    }
    let mut third = port.connect("localhost").await.unwrap();
    closed(&mut silent).await;
    for stream in [&mut third, &mut asking] {
        assert!(request(stream, "/").await.ends_with("ok"));
    }
    port.shows("https_evicted_connections_total 1").await;
}

#[tokio::test]
async fn a_connection_is_evicted_in_whatever_state_it_is() {
    let port = Port::open(Limits { connections: 1, ..Limits::default() });
    let connect_only = TcpStream::connect(port.address).await.unwrap();
    port.shows("https_open_connections 1").await;
    let mut slow_head = port.connect("localhost").await.unwrap();
    slow_head.write_all(b"POST /body HTTP/1.1\r\nHost").await.unwrap();
    let mut slow_body = port.connect("localhost").await.unwrap();
    slow_body.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    let mut greedy = port.connect("localhost").await.unwrap();
    greedy.write_all(&b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32)).await.unwrap();
    let mut last = port.connect("localhost").await.unwrap();
    assert!(request(&mut last, "/").await.ends_with("ok"));
    port.shows("https_evicted_connections_total 4").await;
    drop((connect_only, slow_head, slow_body, greedy));
}

/// A server that stops without a drain.
fn undrained() -> Limits {
    Limits { drain: Duration::ZERO, ..Limits::default() }
}

#[tokio::test]
async fn a_stop_finishes_the_open_request_and_takes_no_new_one() {
    let port = Port::open(undrained());
    let address = port.address;
    let mut idle = port.connect("localhost").await.unwrap();
    request(&mut idle, "/").await;
    let mut busy = port.connect("localhost").await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    port.request_arrived().await;
    port.stop.cancel();
    closed(&mut idle).await;
    port.signals.released.notify_one();
    assert!(response(&mut busy).await.ends_with("done"));
    assert!(port.stopped().await.is_ok());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_draining_server_answers_all_requests_and_closes_each_connection_after_its_response() {
    let port = Port::open(Limits::default());
    let mut kept = port.connect("localhost").await.unwrap();
    assert!(!request(&mut kept, "/").await.contains("connection: close"));
    port.stop.cancel();
    let mut new = port.connect("localhost").await.unwrap();
    for (stream, path) in [(&mut kept, "/"), (&mut new, "/nowhere")] {
        assert!(request(stream, path).await.contains("\r\nconnection: close\r\n"), "{path}");
        closed(stream).await;
    }
    port.shows("https_drained_requests_total 2").await;
    assert!(!port.served.is_finished(), "the drain is not over");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let port = Port::open(Limits { drain: SHORT, ..Limits::default() });
    let mut idle = port.connect("localhost").await.unwrap();
    request(&mut idle, "/").await;
    port.stop.cancel();
    closed(&mut idle).await;
    assert!(port.stopped().await.is_ok());
}

#[tokio::test]
async fn connections_that_are_open_after_the_grace_are_aborted() {
    let port = Port::open(Limits { grace: SHORT, ..undrained() });
    let mut stuck = port.connect("localhost").await.unwrap();
    stuck.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    port.request_arrived().await;
    port.stop.cancel();
    port.shows("https_aborted_connections_total 1").await;
    assert!(port.stopped().await.is_ok());
}

#[tokio::test]
async fn connections_are_counted_from_accepting_to_closing() {
    let port = Port::open(Limits::default());
    let mut polite = port.connect("localhost").await.unwrap();
    request(&mut polite, "/").await;
    let silent = TcpStream::connect(port.address).await.unwrap();
    port.shows("https_open_connections 2").await;
    drop((polite, silent));
    port.shows("https_open_connections 0").await;
    port.shows("https_accepted_connections_total 2").await;
}

#[tokio::test]
async fn each_failed_handshake_is_counted_by_its_reason() {
    let port = Port::without_certificate(Limits { handshake: SHORT, ..Limits::default() });
    assert!(port.connect("localhost").await.is_err());
    port.shows(r#"https_handshake_errors_total{reason="no_certificate"} 1"#).await;

    port.resolver.put(port.authority.issue());
    let other = Authority::generate();
    assert!(connect(port.address, "localhost", &other, &[]).await.is_err());
    port.shows(r#"https_handshake_errors_total{reason="untrusted"} 1"#).await;

    assert!(connect(port.address, "localhost", &port.authority, &[b"h2"]).await.is_err());
    port.shows(r#"https_handshake_errors_total{reason="protocol"} 1"#).await;

    drop(TcpStream::connect(port.address).await.unwrap());
    port.shows(r#"https_handshake_errors_total{reason="closed"} 1"#).await;

    let _silent = TcpStream::connect(port.address).await.unwrap();
    port.shows(r#"https_handshake_errors_total{reason="timeout"} 1"#).await;

    let mut plain = TcpStream::connect(port.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    port.shows(r#"https_handshake_errors_total{reason="not_tls"} 1"#).await;
    for reason in ["no_certificate", "untrusted", "protocol", "closed", "timeout", "not_tls"] {
        port.shows(&format!("https_handshake_errors_total{{reason=\"{reason}\"}} 1")).await;
    }
}

/// A ClientHello as it was until TLS 1.1: no extension that could offer more (RFC 4346, 7.4.1.2).
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]); // random
    hello.push(0); // no session
    let suites = [0xc0, 0x14, 0xc0, 0x13, 0x00, 0x35, 0x00, 0x2f, 0x00, 0x0a];
    hello.extend([0, 10]);
    hello.extend(suites);
    hello.extend([1, 0]); // no compression
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[tokio::test]
async fn older_versions_of_tls_are_rejected() {
    const ALERT: u8 = 21;
    let port = Port::open(Limits::default());
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut old = TcpStream::connect(port.address).await.unwrap();
        old.write_all(&old_hello(version)).await.unwrap();
        let mut said = Vec::new();
        timeout(SOON, old.read_to_end(&mut said)).await.unwrap().unwrap();
        assert_eq!(said.first(), Some(&ALERT), "{version:?}: {said:?}");
    }
    port.shows(r#"https_handshake_errors_total{reason="protocol"} 3"#).await;
}
