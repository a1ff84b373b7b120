//! An HTTPS listener for callers that matter: limits on clients, no lost request at a restart, and metrics. It serves
//! plain HTTP within the same limits too.
//!
//! This crate knows nothing of Kubernetes objects, certificate authorities or admission. It depends on no other crate of
//! the workspace, also not in tests. The caller brings socket, service, certificate resolver and stop.
//!
//! The listener speaks HTTP/1.1 only, also in ALPN: to a loopback URL the API server would otherwise speak HTTP/2. Each
//! wait for a client has a limit, and so has the number of connections. A slow or hostile client therefore takes neither
//! memory nor connections from the others.
//!
//! The stop starts a drain. Kubernetes removes the pod from its Service at the same moment as it stops the process. Until
//! each node has noticed, clients still open connections, and clients with open connections do not notice at all. So
//! the listener answers all requests for a while, each with `Connection: close`.

mod connection;
mod connection_registry;
pub mod dedicated_thread;
mod drain;
mod error;
mod handshake;
mod handshake_failure;
mod idle_clock;
mod limits;
mod metrics;
mod request_service;
mod server;
#[cfg(test)]
mod tests;
mod write_timeout;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use rustls::server::ResolvesServerCert;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::info;

pub use error::ServeError;
use handshake::Handshakes;
pub use limits::Limits;
pub use metrics::HttpsMetrics;
use request_service::ServerContext;
use server::Server;

/// Serves over HTTPS until the stop, drains for [`Limits::drain`], and finishes the open requests within
/// [`Limits::grace`].
///
/// `service_of` makes the service of a connection, for the address of its client. A service that needs the address has it so
/// without a cost for each request.
///
/// While `resolver` has no certificate, handshakes fail. A connection keeps the certificate that it began with.
pub async fn serve<M, S>(
    listener: TcpListener,
    service_of: M,
    resolver: Arc<impl ResolvesServerCert + 'static>,
    limits: Limits,
    metrics: HttpsMetrics,
    stop: CancellationToken,
) -> Result<(), ServeError>
where
    M: Fn(SocketAddr) -> S + Send,
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send + Unpin> + Clone + Send + 'static,
{
    let socket = |source| ServeError::Socket { source };
    let address = listener.local_addr().map_err(socket)?;
    let tls = Handshakes::new(resolver, limits.handshake, metrics.clone());
    let tls = tls.map_err(|source| ServeError::Tls { source })?;
    let server =
        Server::new(listener, Some(tls), service_of, ServerContext::new(limits, metrics, stop)).map_err(socket)?;
    info!("Serving admission reviews on https://{address}");
    server.run().await;
    Ok(())
}

/// Serves over plain HTTP until the stop, within the same limits, but without metrics.
pub async fn serve_plain<M, S>(
    listener: TcpListener,
    service_of: M,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), io::Error>
where
    M: Fn(SocketAddr) -> S + Send,
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send + Unpin> + Clone + Send + 'static,
{
    let context = ServerContext::new(limits, HttpsMetrics::default(), stop);
    Server::new(listener, None, service_of, context)?.run().await;
    Ok(())
}
