//! The HTTPS port that the API server calls: TLS, limits, and an orderly end; and the limits for a plain port.
//!
//! HTTP/1.1 only, also in ALPN: to a loopback URL the API server would speak h2 if it were offered. Each wait for a
//! client has an end, and the number of connections has one too, so that a client that is slow or hostile takes no
//! memory from the others.
//!
//! A stop begins with a drain. The process is told to stop at the same moment as its address is taken out of the
//! Service, and until each node has heard of that, new calls go on coming; those who keep connections open don't hear
//! of it at all. So for a while everything is answered, each answer with `Connection: close`.

mod answering;
mod apart;
mod connections;
mod crowd;
mod handshake;
mod metrics;
mod patience;
#[cfg(test)]
mod tests;
mod turn;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, server::ResolvesServerCert};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, info, warn};

use connections::Connections;
use handshake::Handshakes;
pub use metrics::HttpsMetrics;
use patience::PatientAcceptor;

/// What a connection buffers, and so the longest head of a request: as much as a TLS record holds (RFC 8446, 5.1). An API
/// server's heads have a few hundred bytes. hyper's own 400 KiB would be 400 MiB for all connections.
const BUFFER: usize = 16 * 1024;

/// How long the server waits for its clients, and how many of them there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From there to the head of the first request.
    pub first_request: Duration,
    /// From one answer to the head of the next request. Longer than the API server's own 90 s, so that the client closes
    /// first and no request meets a closing connection.
    pub idle: Duration,
    /// For one request: reading its body, as the answer takes no time. The API server itself gives up after 3 s.
    pub request: Duration,
    /// For a client to take some of what it is sent.
    pub unread: Duration,
    /// Open connections; one more takes the place of the one that has asked for nothing for the longest. An API server
    /// keeps a few.
    pub connections: usize,
    /// How long the server goes on accepting when it is told to stop.
    pub drain: Duration,
    /// For what is open after that.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            request: Duration::from_secs(30),
            unread: Duration::from_secs(30),
            connections: 1024,
            drain: Duration::from_secs(10),
            // Less than what the whole process has, see `run`.
            grace: Duration::from_secs(10),
        }
    }
}

/// Why the port can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("could not set up TLS")]
    Tls { source: rustls::Error },
    #[error("could not run on a thread of its own")]
    Thread { source: io::Error },
    #[error("could not use the listening socket")]
    Socket { source: io::Error },
    #[error("serving admission reviews failed")]
    Failed { source: io::Error },
}

/// Runs what [`serve`] gives on a thread of its own.
pub async fn apart<F>(serving: F) -> Result<(), ServeError>
where
    F: Future<Output = Result<(), ServeError>> + Send + 'static,
{
    apart::apart(serving).await.map_err(|source| ServeError::Thread { source })?
}

/// Serves over HTTPS until told to stop, drains for [`Limits::drain`], and finishes the open requests within
/// [`Limits::grace`].
///
/// Without a leaf in `resolver` handshakes fail; connections keep the leaf with which they began.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    resolver: Arc<impl ResolvesServerCert + 'static>,
    limits: Limits,
    metrics: HttpsMetrics,
    stop: CancellationToken,
) -> Result<(), ServeError>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Unpin + Send,
{
    let socket = |source| ServeError::Socket { source };
    let address = listener.local_addr().map_err(socket)?;
    let tls = RustlsConfig::from_config(Arc::new(tls(resolver).map_err(|source| ServeError::Tls { source })?));
    let acceptor = RustlsAcceptor::new(tls).handshake_timeout(limits.handshake).acceptor(PatientAcceptor::new(limits));
    let handle = Handle::new();
    let server = prepared(listener, &handle, limits, &metrics).map_err(socket)?.acceptor(acceptor);
    let connections = Connections::new(service, limits, metrics.clone(), stop.clone());
    info!("Serving admission reviews on https://{address}");
    tokio::select! {
        ended = server.serve(connections) => ended.map_err(|source| ServeError::Failed { source }),
        never = end(&handle, limits, &metrics, &stop) => match never {},
    }
}

/// Serves over plain HTTP until told to stop, within the same limits but that of a handshake; nothing is counted.
pub async fn serve_plain<S>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), io::Error>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Unpin + Send,
{
    let (handle, metrics) = (Handle::new(), HttpsMetrics::default());
    let server = prepared(listener, &handle, limits, &metrics)?.acceptor(PatientAcceptor::new(limits));
    let connections = Connections::new(service, limits, metrics.clone(), stop.clone());
    tokio::select! {
        ended = server.serve(connections) => ended,
        never = end(&handle, limits, &metrics, &stop) => match never {},
    }
}

/// A server that lacks its acceptor only.
fn prepared(
    listener: TcpListener,
    handle: &Handle<SocketAddr>,
    limits: Limits,
    metrics: &HttpsMetrics,
) -> io::Result<Server<SocketAddr>> {
    let handshakes = Handshakes::new(metrics.clone());
    let mut server = axum_server::from_tcp(listener)?
        .handle(handle.clone())
        .http1_only()
        .first_request_timeout(limits.first_request)
        .accept_error_handler(move |client, error| {
            if let Some(client) = client {
                handshakes.failed(*client, error);
            } else {
                debug!(%error, "Could not accept a connection");
            }
        });
    server.http_builder().http1().max_buf_size(BUFFER);
    Ok(server)
}

/// When told to, waits until nobody should come any more, stops accepting, and cuts off what is still open after that.
async fn end(
    handle: &Handle<SocketAddr>,
    limits: Limits,
    metrics: &HttpsMetrics,
    stop: &CancellationToken,
) -> Infallible {
    stop.cancelled().await;
    if !limits.drain.is_zero() {
        info!("Admission reviews are answered for another {:?}", limits.drain);
        tokio::time::sleep(limits.drain).await;
    }
    // The server would count a grace from the end of its accept loop, which waits while all connections are taken.
    handle.graceful_shutdown(None);
    tokio::time::sleep(limits.grace).await;
    let cut = handle.connection_count();
    metrics.cut_off(cut);
    warn!("Cut off {cut} connections that were still open {:?} after the last was accepted", limits.grace);
    handle.shutdown();
    future::pending().await
}

fn tls(resolver: Arc<impl ResolvesServerCert + 'static>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
