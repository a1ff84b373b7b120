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

use axum::Router;
use axum::http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tower::Service;

use super::metrics::ServeMetrics;

/// Makes the service of each connection.
pub(super) struct Connections {
    router: Router,
    metrics: ServeMetrics,
    slots: PollSemaphore,
    /// The slot of the next connection.
    next: Option<OwnedSemaphorePermit>,
}

impl Connections {
    pub(super) fn new(router: Router, most: usize, metrics: ServeMetrics) -> Self {
        // Like `into_make_service`: the routes are put together now, not at each request.
        let router = router.with_state(());
        Self { router, metrics, slots: PollSemaphore::new(Arc::new(Semaphore::new(most))), next: None }
    }
}

impl Service<SocketAddr> for Connections {
    type Response = Connection;
    type Error = Infallible;
    type Future = Ready<Result<Connection, Infallible>>;

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
        self.metrics.opened();
        let place = Arc::new(Place { metrics: self.metrics.clone(), _slot: self.next.take() });
        ready(Ok(Connection { router: self.router.clone(), _place: place }))
    }
}

/// The service of one connection; its place is free again when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Connection {
    router: Router,
    _place: Arc<Place>,
}

/// What an open connection takes up.
struct Place {
    metrics: ServeMetrics,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

impl<B> Service<Request<B>> for Connection
where
    Router: Service<Request<B>>,
{
    type Response = <Router as Service<Request<B>>>::Response;
    type Error = <Router as Service<Request<B>>>::Error;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.router.call(request)
    }
}
