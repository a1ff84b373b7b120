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

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use tower::{BoxError, Service};

use super::Limits;
use super::answering::Answering;
use super::crowd::{Crowd, Member, Seat};
use super::metrics::HttpsMetrics;
use super::turn::Turn;

/// How long one that was told to leave may take until the next one is told. It takes no time, unless its own request is
/// waited for.
const TO_LEAVE: Duration = Duration::from_millis(50);

/// Makes the service of each connection.
pub(super) struct Connections<S> {
    service: S,
    port: Arc<Port>,
    slots: PollSemaphore,
    crowd: Crowd,
    /// The slot of the next connection.
    next: Option<OwnedSemaphorePermit>,
    /// Runs while somebody was told to leave for the next connection.
    leaving: Option<Pin<Box<Sleep>>>,
}

/// What all connections share.
pub(super) struct Port {
    /// For one request.
    pub(super) request: Duration,
    metrics: HttpsMetrics,
    stop: CancellationToken,
}

impl<S> Connections<S> {
    pub(super) fn new(service: S, limits: Limits, metrics: HttpsMetrics, stop: CancellationToken) -> Self {
        let port = Arc::new(Port { request: limits.request, metrics, stop });
        let slots = PollSemaphore::new(Arc::new(Semaphore::new(limits.connections)));
        Self { service, port, slots, crowd: Crowd::default(), next: None, leaving: None }
    }

    /// Tells one after the other to leave, for as long as this is polled.
    fn make_room(&mut self, context: &mut Context<'_>) -> Poll<Infallible> {
        loop {
            if let Some(leaving) = &mut self.leaving {
                when_ready!(leaving.as_mut().poll(context));
            }
            if self.crowd.make_room() {
                self.port.metrics.displaced();
            }
            self.leaving = Some(Box::pin(sleep(TO_LEAVE)));
        }
    }
}

impl Port {
    /// The answer to a request that took too long.
    pub(super) fn time_out(&self) -> Response {
        self.metrics.timed_out();
        StatusCode::REQUEST_TIMEOUT.into_response()
    }

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
                // The server asks for a service when a client has come, so there is somebody to make room for.
                Poll::Pending => return self.make_room(context).map(|never| match never {}),
            }
        }
        self.leaving = None;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _client: SocketAddr) -> Self::Future {
        self.port.metrics.opened();
        let (turn, member) = (Arc::new(Turn::new(Instant::now())), self.crowd.enter());
        let place = Arc::new(Place { port: Arc::clone(&self.port), turn, member, _slot: self.next.take() });
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
    member: Member,
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

    /// Where the connection's stream hears that it has to leave.
    pub(super) fn seat(&self) -> Arc<Seat> {
        self.place.member.seat()
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
        self.place.member.asks();
        Answering::new(self.service.call(request.map(Body::new)), Arc::clone(&self.place))
    }
}
