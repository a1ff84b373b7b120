//! A server that writes raw HTTP, so that it can also break the protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// What is done with each connection.
#[derive(Clone)]
pub(super) enum Act {
    /// Reads the request, writes these bytes and closes.
    Answer(Vec<u8>),
    /// Answers 500 with the request as its text.
    Echo,
    CloseAtOnce,
    CloseAfterRequest,
    ResetAfterRequest,
    /// Never answers.
    Hang,
    /// One byte every 50 ms, without end.
    Drip,
    /// This status with 64 MiB of text.
    Huge(&'static str),
}

pub(super) fn ok(body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<String>,
}

pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// Bytes of a huge response, once the client has closed.
    sent: watch::Receiver<Option<usize>>,
    _running: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(act: Act) -> Self {
        Self::serve(act, None).await
    }

    pub(super) async fn start_tls(act: Act, config: Arc<ServerConfig>) -> Self {
        Self::serve(act, Some(TlsAcceptor::from(config))).await
    }

    async fn serve(act: Act, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (report, sent) = watch::channel(None);
        let mut running = JoinSet::new();
        running.spawn({
            let seen = seen.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    seen.lock().unwrap().connections += 1;
                    match &tls {
                        None => act_on(&act, stream, &seen, &report).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                act_on(&act, stream, &seen, &report).await;
                            }
                        }
                    }
                }
            }
        });
        Self { address, seen, sent, _running: running }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Head and body of each request.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub(super) async fn sent_when_closed(&self) -> usize {
        let mut sent = self.sent.clone();
        let sent = tokio::time::timeout(Duration::from_secs(10), sent.wait_for(Option::is_some)).await;
        sent.expect("the client closes").unwrap().unwrap()
    }
}

/// A self-signed server certificate for `127.0.0.1`, as PEM and as configuration of a server.
pub(super) fn certificate() -> (String, Arc<ServerConfig>) {
    certificate_for(&["127.0.0.1"], false)
}

/// A self-signed server certificate for these names, which may be that of a CA, as `openssl req -x509` makes it.
pub(super) fn certificate_for(names: &[&str], is_ca: bool) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    server_config(&params)
}

/// A certificate for `127.0.0.1` that has expired, of a CA.
pub(super) fn expired_certificate() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    server_config(&params)
}

/// The certificate of a CA, and the configuration of a server with a certificate for `127.0.0.1` that this CA has signed by
/// an algorithm that ring does not have. OpenSSL made both, and nothing has their keys: a client that verified the
/// certificate would then refuse the handshake.
pub(super) fn certificate_of(algorithm: UnsupportedAlgorithm) -> (String, Arc<ServerConfig>) {
    let (ca, certificate) = match algorithm {
        UnsupportedAlgorithm::P256Sha512 => (
            include_str!("../test-certificates/p256-sha512-ca.crt"),
            include_str!("../test-certificates/p256-sha512.crt"),
        ),
        UnsupportedAlgorithm::P521Sha256 => (
            include_str!("../test-certificates/p521-sha256-ca.crt"),
            include_str!("../test-certificates/p521-sha256.crt"),
        ),
    };
    let provider = Arc::new(crypto::ring::default_provider());
    let other_key = PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der());
    let key = provider.key_provider.load_private_key(other_key.into()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (ca.to_owned(), Arc::new(config.with_no_client_auth().with_cert_resolver(resolver)))
}

/// How a company CA may sign.
#[derive(Clone, Copy)]
pub(super) enum UnsupportedAlgorithm {
    P256Sha512,
    P521Sha256,
}

fn server_config(params: &CertificateParams) -> (String, Arc<ServerConfig>) {
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    (cert.pem(), Arc::new(config))
}

async fn act_on<S>(act: &Act, mut stream: S, seen: &Mutex<Seen>, report: &watch::Sender<Option<usize>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Connection,
{
    if matches!(act, Act::CloseAtOnce) {
        return;
    }
    let request = read_request(&mut stream).await;
    if !request.is_empty() {
        seen.lock().unwrap().requests.push(request.clone());
    }
    // Some tests wait for the client to close, which is an error here.
    let _gone = match act {
        Act::Answer(bytes) => stream.write_all(bytes).await,
        Act::Echo => {
            let head = format!("HTTP/1.1 500 Oops\r\ncontent-length: {}\r\n\r\n", request.len());
            stream.write_all(format!("{head}{request}").as_bytes()).await
        }
        Act::CloseAtOnce | Act::CloseAfterRequest => Ok(()),
        Act::ResetAfterRequest => stream.reset_on_close(),
        Act::Hang => std::future::pending().await,
        Act::Drip => drip(&mut stream).await,
        Act::Huge(status) => {
            report.send_replace(Some(pour(&mut stream, status).await));
            Ok(())
        }
    };
    let _gone = stream.flush().await;
}

/// One request with a `content-length`, or the bytes before the client closed.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(read) if read > 0 => {}
            _ => return String::new(),
        }
    }
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
    loop {
        stream.write_all(b" ").await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes until the client closes; returns how much could be written.
async fn pour(stream: &mut (impl AsyncWrite + Unpin), status: &str) -> usize {
    const LENGTH: usize = 64 * 1024 * 1024;
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {LENGTH}\r\n\r\n");
    let mut sent = 0;
    if stream.write_all(head.as_bytes()).await.is_err() {
        return sent;
    }
    let piece = b"much to say ".repeat(1024);
    while sent < LENGTH && stream.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    sent
}

trait Connection {
    /// Makes closing send a reset in place of an orderly end.
    fn reset_on_close(&self) -> std::io::Result<()>;
}

impl Connection for TcpStream {
    fn reset_on_close(&self) -> std::io::Result<()> {
        self.set_zero_linger()
    }
}

impl Connection for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_on_close(&self) -> std::io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}
