//! One service for each connection, and no more connections than allowed.
//!
//! The server asks for a service before it starts the handshake and drops it when the connection ends, so the slot that
//! a service holds counts the handshake too. Without a free slot the accept loop waits: new clients stay in the
//! listener's queue and are served as soon as others leave.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, PollSemaphore};
use tower::{BoxError, Service};

use super::Limits;
use super::answering::Answering;
use super::metrics::ServeMetrics;
use super::turn::Turn;

/// Makes the service of each connection.
pub(super) struct Connections<S> {
    service: S,
    port: Arc<Port>,
    slots: PollSemaphore,
    /// The slot of the next connection.
    next: Option<OwnedSemaphorePermit>,
}

/// What all connections share.
pub(super) struct Port {
    /// For one request.
    pub(super) request: Duration,
    metrics: ServeMetrics,
    stop: CancellationToken,
}

impl<S> Connections<S> {
    pub(super) fn new(service: S, limits: Limits, metrics: ServeMetrics, stop: CancellationToken) -> Self {
        let port = Arc::new(Port { request: limits.request, metrics, stop });
        Self { service, port, slots: PollSemaphore::new(Arc::new(Semaphore::new(limits.connections))), next: None }
    }
}

impl Port {
    /// Adds `Connection: close` to the answers of a draining server; hyper then closes the connection behind the answer.
    pub(super) fn bid_farewell(&self, answer: &mut Response) {
        if self.stop.is_cancelled() {
            self.metrics.answered_while_draining();
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl<S: Clone> Service<SocketAddr> for Connections<S> {
    type Response = Connection<S>;
    type Error = Infallible;
    type Future = Ready<Result<Connection<S>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.next.is_none() {
            match self.slots.poll_acquire(context) {
                Poll::Ready(slot) => self.next = slot,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _client: SocketAddr) -> Self::Future {
        self.port.metrics.opened();
        let turn = Arc::new(Turn::new(Instant::now()));
        let place = Arc::new(Place { port: Arc::clone(&self.port), turn, _slot: self.next.take() });
        ready(Ok(Connection { service: self.service.clone(), place }))
    }
}

/// The service of one connection; its place is free again when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Connection<S> {
    service: S,
    place: Arc<Place>,
}

/// What an open connection takes up.
pub(super) struct Place {
    pub(super) port: Arc<Port>,
    pub(super) turn: Arc<Turn>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.port.metrics.closed();
    }
}

impl<S> Connection<S> {
    pub(super) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.place.turn)
    }
}

impl<S, B> Service<Request<B>> for Connection<S>
where
    S: Service<Request<Body>, Response = Response>,
    S::Future: Unpin,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Answering::new(self.service.call(request.map(Body::new)), Arc::clone(&self.place))
    }
}
