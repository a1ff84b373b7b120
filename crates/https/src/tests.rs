//! The port over real sockets and real TLS, with a certificate of our own authority.

use std::net::IpAddr;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use snapwatcher_certificates::{CertificateAuthority, ServingCertificateResolver};
use snapwatcher_daemon::clock;

const LIFE: Duration = Duration::from_secs(60 * 60);
/// A wait of the server's that a test sits out.
const SHORT: Duration = Duration::from_millis(200);
/// No wait of a test's is longer.
const SOON: Duration = Duration::from_secs(5);

/// A running server, its authority, and what a client needs to reach it.
struct Port {
    address: SocketAddr,
    authority: CertificateAuthority,
    resolver: Arc<ServingCertificateResolver>,
    registry: Registry,
    stop: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Port {
    fn open(limits: Limits) -> Self {
        let port = Self::without_leaf(limits);
        port.resolver.serve(port.authority.issue(&names(), LIFE, clock::now()).unwrap());
        port
    }

    #[expect(clippy::disallowed_methods, reason = "a test has no services")]
    fn without_leaf(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let authority = CertificateAuthority::generate(LIFE, clock::now()).unwrap();
        let resolver = Arc::new(ServingCertificateResolver::default());
        let stop = CancellationToken::new();
        let slow = get(|| async {
            tokio::time::sleep(SHORT * 2).await;
            "done"
        });
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/slow", slow)
            .route("/long", get(|| async { "x".repeat(1 << 20) }))
            .route("/body", post(|body: Bytes| async move { body }));
        let mut registry = Registry::default();
        let metrics = HttpsMetrics::register(&mut registry);
        let served = tokio::spawn(serve(listener, router, Arc::clone(&resolver), limits, metrics, stop.clone()));
        Self { address, authority, resolver, registry, stop, served }
    }

    async fn connect(&self, name: &str) -> io::Result<TlsStream<TcpStream>> {
        connect(self.address, name, &self.authority.certificate_pem(), &[b"h2", b"http/1.1"]).await
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
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

fn names() -> Vec<String> {
    ["snapwatcher.default.svc", "localhost", "127.0.0.1"].map(str::to_owned).to_vec()
}

async fn connect(address: SocketAddr, name: &str, ca: &str, protocols: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
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

/// Sends a request on an open connection and returns the head and body of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut text = vec![0; 4096];
    let length = timeout(SOON, stream.read(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// Waits until the server closes the connection.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // An end without TLS's own farewell is an error, and an end.
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the server closes the connection");
}

fn served_by(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_leaf_is_trusted_by_each_of_its_names_and_no_other() {
    let port = Port::open(Limits::default());
    for name in names() {
        let mut stream = port.connect(&name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(ask(&mut stream, "/").await.ends_with("\r\n\r\nok"), "{name}");
    }
    for name in ["other.default.svc", "127.0.0.2"] {
        assert!(port.connect(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn another_authority_does_not_vouch_for_the_leaf() {
    let port = Port::open(Limits::default());
    let other = CertificateAuthority::generate(LIFE, clock::now()).unwrap();
    let error = connect(port.address, "localhost", &other.certificate_pem(), &[]).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn only_http_1_is_spoken() {
    let port = Port::open(Limits::default());
    let stream = port.connect("localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(connect(port.address, "localhost", &port.authority.certificate_pem(), &[b"h2"]).await.is_err());
}

#[tokio::test]
async fn without_a_leaf_a_handshake_fails_until_there_is_one() {
    let port = Port::without_leaf(Limits::default());
    assert!(port.connect("localhost").await.is_err());
    port.resolver.serve(port.authority.issue(&names(), LIFE, clock::now()).unwrap());
    assert!(port.connect("localhost").await.is_ok());
}

#[tokio::test]
async fn a_new_leaf_serves_new_connections_and_leaves_open_ones_alone() {
    let port = Port::open(Limits::default());
    let mut old = port.connect("localhost").await.unwrap();
    port.resolver.serve(port.authority.issue(&names(), LIFE, clock::now()).unwrap());
    let new = port.connect("localhost").await.unwrap();
    assert_ne!(served_by(&old), served_by(&new));
    assert!(ask(&mut old, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn who_never_finishes_the_handshake_is_let_go() {
    let port = Port::open(Limits { handshake: SHORT, ..Limits::default() });
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    closed(&mut silent).await;
}

#[tokio::test]
async fn who_never_asks_is_let_go() {
    let port = Port::open(Limits { first_request: SHORT, ..Limits::default() });
    let mut silent = port.connect("localhost").await.unwrap();
    closed(&mut silent).await;
}

#[tokio::test]
async fn who_asks_no_more_is_let_go() {
    let port = Port::open(Limits { idle: SHORT, ..Limits::default() });
    let mut stream = port.connect("localhost").await.unwrap();
    ask(&mut stream, "/").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn who_takes_no_answer_is_let_go() {
    let port = Port::open(Limits { unread: SHORT, ..Limits::default() });
    let mut greedy = port.connect("localhost").await.unwrap();
    // More than the kernel's buffers hold between the two.
    greedy.write_all(&b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32)).await.unwrap();
    port.shows("serve_connections 1").await;
    port.shows("serve_connections 0").await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let port = Port::open(Limits { request: SHORT, ..Limits::default() });
    let mut stream = port.connect("localhost").await.unwrap();
    stream.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 408 "));
    port.shows("serve_timed_out_total 1").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_client_too_many_takes_the_place_of_the_one_that_was_silent_for_the_longest() {
    let port = Port::open(Limits { connections: 2, ..Limits::default() });
    let mut silent = port.connect("localhost").await.unwrap();
    let mut asking = port.connect("localhost").await.unwrap();
    for stream in [&mut silent, &mut asking] {
        ask(stream, "/").await;
    }
    let mut third = port.connect("localhost").await.unwrap();
    closed(&mut silent).await;
    for stream in [&mut third, &mut asking] {
        assert!(ask(stream, "/").await.ends_with("ok"));
    }
    port.shows("serve_displaced_total 1").await;
}

#[tokio::test]
async fn whatever_holds_the_only_place_it_is_given_up_for_another() {
    let port = Port::open(Limits { connections: 1, ..Limits::default() });
    let connect_only = TcpStream::connect(port.address).await.unwrap();
    port.shows("serve_connections 1").await;
    let mut slow_head = port.connect("localhost").await.unwrap();
    slow_head.write_all(b"POST /body HTTP/1.1\r\nHost").await.unwrap();
    let mut slow_body = port.connect("localhost").await.unwrap();
    slow_body.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    let mut greedy = port.connect("localhost").await.unwrap();
    greedy.write_all(&b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32)).await.unwrap();
    let mut last = port.connect("localhost").await.unwrap();
    assert!(ask(&mut last, "/").await.ends_with("ok"));
    port.shows("serve_displaced_total 4").await;
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
    ask(&mut idle, "/").await;
    let mut busy = port.connect("localhost").await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(SHORT).await;
    port.stop.cancel();
    assert!(answer(&mut busy).await.ends_with("done"));
    closed(&mut idle).await;
    assert!(port.stopped().await.is_ok());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_draining_server_answers_all_and_closes_each_connection_behind_its_answer() {
    let port = Port::open(Limits::default());
    let mut kept = port.connect("localhost").await.unwrap();
    assert!(!ask(&mut kept, "/").await.contains("connection: close"));
    port.stop.cancel();
    let mut new = port.connect("localhost").await.unwrap();
    for (stream, path) in [(&mut kept, "/"), (&mut new, "/nowhere")] {
        assert!(ask(stream, path).await.contains("\r\nconnection: close\r\n"), "{path}");
        closed(stream).await;
    }
    port.shows("serve_drained_total 2").await;
    assert!(!port.served.is_finished(), "the drain is not over");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let port = Port::open(Limits { drain: SHORT, ..Limits::default() });
    let mut idle = port.connect("localhost").await.unwrap();
    ask(&mut idle, "/").await;
    port.stop.cancel();
    closed(&mut idle).await;
    assert!(port.stopped().await.is_ok());
}

#[tokio::test]
async fn a_stop_ends_in_time_whoever_is_still_there() {
    let port = Port::open(Limits { grace: SHORT, ..undrained() });
    let mut stuck = port.connect("localhost").await.unwrap();
    stuck.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    tokio::time::sleep(SHORT).await;
    port.stop.cancel();
    port.shows("serve_cut_total 1").await;
    assert!(port.stopped().await.is_ok());
}

#[tokio::test]
async fn connections_are_counted_from_accepting_to_closing() {
    let port = Port::open(Limits::default());
    let mut polite = port.connect("localhost").await.unwrap();
    ask(&mut polite, "/").await;
    let silent = TcpStream::connect(port.address).await.unwrap();
    port.shows("serve_connections 2").await;
    drop((polite, silent));
    port.shows("serve_connections 0").await;
    port.shows("serve_accepted_total 2").await;
}

#[tokio::test]
async fn each_failed_handshake_is_counted_by_its_reason() {
    let port = Port::without_leaf(Limits { handshake: SHORT, ..Limits::default() });
    assert!(port.connect("localhost").await.is_err());
    port.shows(r#"serve_handshake_errors_total{reason="no_certificate"} 1"#).await;

    port.resolver.serve(port.authority.issue(&names(), LIFE, clock::now()).unwrap());
    let other = CertificateAuthority::generate(LIFE, clock::now()).unwrap();
    assert!(connect(port.address, "localhost", &other.certificate_pem(), &[]).await.is_err());
    port.shows(r#"serve_handshake_errors_total{reason="untrusted"} 1"#).await;

    assert!(connect(port.address, "localhost", &port.authority.certificate_pem(), &[b"h2"]).await.is_err());
    port.shows(r#"serve_handshake_errors_total{reason="protocol"} 1"#).await;

    drop(TcpStream::connect(port.address).await.unwrap());
    port.shows(r#"serve_handshake_errors_total{reason="closed"} 1"#).await;

    let _silent = TcpStream::connect(port.address).await.unwrap();
    port.shows(r#"serve_handshake_errors_total{reason="timeout"} 1"#).await;

    let mut plain = TcpStream::connect(port.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    port.shows(r#"serve_handshake_errors_total{reason="not_tls"} 1"#).await;
    for reason in ["no_certificate", "untrusted", "protocol", "closed", "timeout", "not_tls"] {
        port.shows(&format!("serve_handshake_errors_total{{reason=\"{reason}\"}} 1")).await;
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
async fn older_versions_of_tls_are_turned_away() {
    const ALERT: u8 = 21;
    let port = Port::open(Limits::default());
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut old = TcpStream::connect(port.address).await.unwrap();
        old.write_all(&old_hello(version)).await.unwrap();
        let mut said = Vec::new();
        timeout(SOON, old.read_to_end(&mut said)).await.unwrap().unwrap();
        assert_eq!(said.first(), Some(&ALERT), "{version:?}: {said:?}");
    }
    port.shows(r#"serve_handshake_errors_total{reason="protocol"} 3"#).await;
}
