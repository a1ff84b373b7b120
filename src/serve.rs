//! The HTTPS port that the API server calls: TLS, limits, and an orderly end.
//!
//! HTTP/1.1 only, also in ALPN: to a loopback URL the API server would speak h2 if it were offered. Each wait for a
//! client has an end, and the number of connections has one too, so that a client that is slow or hostile takes no
//! memory from the others.

mod connections;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};

use axum::Router;
use axum::http::StatusCode;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, server::ResolvesServerCert};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;
use tracing::{debug, info};

use connections::Connections;

/// How long the server waits for its clients, and how many of them there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From there to the head of the first request.
    pub first_request: Duration,
    /// From one request to the next, and for reading a request's head: hyper has one timer for both. Longer than the
    /// API server's own 90 s, so that the client closes first and no request meets a closing connection.
    pub idle: Duration,
    /// For one request: reading its body, as the answer takes no time. The API server itself gives up after 3 s.
    pub request: Duration,
    /// Open connections; more of them wait in the listener's queue. An API server keeps a few.
    pub connections: usize,
    /// For what is open when the server is told to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            request: Duration::from_secs(30),
            connections: 1024,
            grace: Duration::from_secs(15),
        }
    }
}

/// Why the port can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("could not set up TLS")]
    Tls { source: rustls::Error },
    #[error("could not use the listening socket")]
    Socket { source: io::Error },
    #[error("serving admission reviews failed")]
    Failed { source: io::Error },
}

/// Serves `router` over HTTPS until told to stop, then finishes the open requests within [`Limits::grace`].
///
/// Without a leaf in `resolver` handshakes fail; connections keep the leaf with which they began.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    resolver: Arc<impl ResolvesServerCert + 'static>,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let socket = |source| ServeError::Socket { source };
    let address = listener.local_addr().map_err(socket)?;
    let tls = RustlsConfig::from_config(Arc::new(tls(resolver).map_err(|source| ServeError::Tls { source })?));
    let acceptor = RustlsAcceptor::new(tls).handshake_timeout(limits.handshake).acceptor(NoDelayAcceptor::new());
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(socket)?
        .handle(handle.clone())
        .http1_only()
        .first_request_timeout(limits.first_request)
        .accept_error_handler(|client, error| {
            if let Some(client) = client {
                debug!(%client, %error, "A connection ended before its first request");
            } else {
                debug!(%error, "Could not accept a connection");
            }
        })
        .acceptor(acceptor);
    server.http_builder().http1().header_read_timeout(limits.idle);
    let router = router.layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request));
    info!("Serving admission reviews on https://{address}");
    tokio::select! {
        ended = server.serve(Connections::new(router, limits.connections)) => {
            ended.map_err(|source| ServeError::Failed { source })
        }
        never = end(&handle, limits.grace, &stop) => match never {},
    }
}

/// Stops accepting when told to, and cuts off what is still open after `grace`.
async fn end(handle: &Handle<SocketAddr>, grace: Duration, stop: &CancellationToken) -> Infallible {
    stop.cancelled().await;
    handle.graceful_shutdown(Some(grace));
    // The server counts its grace from the end of its accept loop, which waits while all connections are taken.
    tokio::time::sleep(grace).await;
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
