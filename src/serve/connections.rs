//! One service for each connection, and no more connections than allowed.
//!
//! The server asks for a service before it starts the handshake and drops it when the connection ends, so the slot that
//! a service holds counts the handshake too. Without a free slot the accept loop waits: new clients stay in the
//! listener's queue, and those that have asked for nothing for the longest are told to leave.

use std::convert::Infallible;
use std::future::{Future as _, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready as when_ready};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;
use tower::Service;

use super::crowd::{Crowd, Member, Seat};
use super::metrics::ServeMetrics;

/// How long one that was told to leave may take until the next one is told. It takes no time, unless its own request is
/// waited for.
const TO_LEAVE: Duration = Duration::from_millis(50);

/// Makes the service of each connection.
pub(super) struct Connections {
    router: Router,
    metrics: ServeMetrics,
    slots: PollSemaphore,
    crowd: Crowd,
    /// The slot of the next connection.
    next: Option<OwnedSemaphorePermit>,
    /// Runs while somebody was told to leave for the next connection.
    leaving: Option<Pin<Box<Sleep>>>,
}

impl Connections {
    pub(super) fn new(router: Router, most: usize, metrics: ServeMetrics) -> Self {
        // Like `into_make_service`: the routes are put together now, not at each request.
        let router = router.with_state(());
        let slots = PollSemaphore::new(Arc::new(Semaphore::new(most)));
        Self { router, metrics, slots, crowd: Crowd::default(), next: None, leaving: None }
    }

    /// Tells one after the other to leave, for as long as this is polled.
    fn make_room(&mut self, context: &mut Context<'_>) -> Poll<Infallible> {
        loop {
            if let Some(leaving) = &mut self.leaving {
                when_ready!(leaving.as_mut().poll(context));
            }
            if self.crowd.make_room() {
                self.metrics.displaced();
            }
            self.leaving = Some(Box::pin(sleep(TO_LEAVE)));
        }
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
                // The server asks for a service when a client has come, so there is somebody to make room for.
                Poll::Pending => return self.make_room(context).map(|never| match never {}),
            }
        }
        self.leaving = None;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _client: SocketAddr) -> Self::Future {
        self.metrics.opened();
        let (metrics, member) = (self.metrics.clone(), self.crowd.enter());
        let place = Arc::new(Place { metrics, member, _slot: self.next.take() });
        ready(Ok(Connection { router: self.router.clone(), place }))
    }
}

/// The service of one connection; its place is free again when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Connection {
    router: Router,
    place: Arc<Place>,
}

/// What an open connection takes up.
struct Place {
    metrics: ServeMetrics,
    member: Member,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Where the connection's stream hears that it has to leave.
    pub(super) fn seat(&self) -> Arc<Seat> {
        self.place.member.seat()
    }
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
        self.place.member.asks();
        self.router.call(request)
    }
}
