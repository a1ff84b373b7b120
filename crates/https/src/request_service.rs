//! What the listener adds to each request: a time limit, and `Connection: close` while the listener drains.
//!
//! Each review passes here, so there is no box and no layer. Nearly all requests have arrived whole when their handler
//! runs first, and it answers at once. Only the other requests get a timer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tower::util::{Oneshot, ServiceExt as _};

use super::connection_registry::ConnectionSlot;
use super::idle_clock::IdleClock;
use super::limits::Limits;
use super::metrics::HttpsMetrics;

/// What the task of a connection and its requests share.
pub(crate) struct ConnectionState {
    pub(crate) slot: ConnectionSlot,
    pub(crate) clock: IdleClock,
    pub(crate) context: Arc<ServerContext>,
}

/// What all connections of a listener share.
pub(crate) struct ServerContext {
    pub(crate) limits: Limits,
    pub(crate) metrics: HttpsMetrics,
    /// The drain begins.
    pub(crate) stop: CancellationToken,
    /// The drain is over: each connection finishes its request and closes.
    pub(crate) closing: CancellationToken,
}

/// The service of one connection.
pub(crate) struct RequestService<S> {
    service: S,
    connection: Arc<ConnectionState>,
}

/// The response to one request.
pub(crate) struct TimedResponse<F> {
    response: F,
    connection: Arc<ConnectionState>,
    /// None until the handler has returned `Pending` once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ServerContext {
    pub(crate) fn new(limits: Limits, metrics: HttpsMetrics, stop: CancellationToken) -> Self {
        Self { limits, metrics, stop, closing: CancellationToken::new() }
    }
}

impl<S> RequestService<S> {
    pub(crate) fn new(service: S, connection: Arc<ConnectionState>) -> Self {
        Self { service, connection }
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for RequestService<S>
where
    S: tower::Service<Request<Body>, Response = Response, Error = Infallible, Future: Unpin> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = TimedResponse<Oneshot<S, Request<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.connection.slot.request_started();
        self.connection.clock.request_started();
        let response = self.service.clone().oneshot(request.map(Body::new));
        TimedResponse { response, connection: Arc::clone(&self.connection), deadline: None }
    }
}

impl<F> Future for TimedResponse<F>
where
    F: Future<Output = Result<Response, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { response, connection, deadline } = self.get_mut();
        let ServerContext { limits, metrics, stop, .. } = &*connection.context;
        let Ok(mut response) = match Pin::new(response).poll(context) {
            Poll::Ready(response) => response,
            Poll::Pending => {
                let deadline = deadline.get_or_insert_with(|| Box::pin(sleep(limits.request)));
                ready!(deadline.as_mut().poll(context));
                metrics.request_timed_out();
                Ok(StatusCode::REQUEST_TIMEOUT.into_response())
            }
        };
        connection.clock.response_sent(Instant::now());
        if stop.is_cancelled() {
            metrics.answered_while_draining();
            // hyper closes the connection behind this response.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}
