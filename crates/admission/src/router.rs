//! The HTTP routes of the webhook; the caller brings listener and TLS.
//!
//! A panic in a handler is a response with status 500, so that the failurePolicy of the webhook configuration decides.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post_service};
use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tower::{Service, service_fn};
use tracing::{debug, error};

use super::body_reader::{BodyReader, may_be_large};
use super::handler::AdmissionHandler;
use super::request_error::RequestError;

pub const MUTATE: &str = "/mutate";
pub const VALIDATE: &str = "/validate";
pub const HEALTH: &str = "/healthz";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// From the body of a request to the body of its response.
type ReviewHandler = fn(&AdmissionHandler, &[u8]) -> Result<Vec<u8>, RequestError>;

struct RouteState {
    handler: AdmissionHandler,
    bodies: BodyReader,
    /// To handle a large body. A body may be decoded into as many bytes again, more than once.
    large_handlers: Arc<Semaphore>,
}

/// How many large bodies are handled at the same time.
const MAX_LARGE_HANDLERS: usize = 1;

impl RouteState {
    fn new(handler: AdmissionHandler) -> Self {
        Self { handler, bodies: BodyReader::default(), large_handlers: Arc::new(Semaphore::new(MAX_LARGE_HANDLERS)) }
    }
}

/// The routes of the webhook, for the client of one connection.
#[derive(Clone)]
pub struct ClientRouter {
    router: Router,
    client: Client,
}

/// The address of a client.
#[derive(Debug, Clone, Copy)]
struct Client(IpAddr);

/// All clients whose address is not known.
const UNKNOWN_CLIENT: Client = Client(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// The routes of the webhook.
pub fn router(handler: AdmissionHandler) -> Router {
    routes(&Arc::new(RouteState::new(handler)))
}

fn routes(state: &Arc<RouteState>) -> Router {
    Router::new()
        .route(MUTATE, post_service(reviews(state, AdmissionHandler::mutate)))
        .route(VALIDATE, post_service(reviews(state, AdmissionHandler::validate)))
        .route(HEALTH, get(async || "ok"))
}

impl ClientRouter {
    /// The routes for a client with this address.
    pub fn new(router: Router, client: IpAddr) -> Self {
        Self { router, client: Client(client) }
    }
}

impl Service<Request> for ClientRouter {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // An extension is an allocation, which nearly all reviews do without.
        if may_be_large(request.body()) {
            request.extensions_mut().insert(self.client);
        }
        self.router.call(request)
    }
}

/// The service of one review route: cheaper than a handler of axum, which boxes each request's future twice.
fn reviews(
    state: &Arc<RouteState>,
    handler: ReviewHandler,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static {
    let state = Arc::clone(state);
    service_fn(move |request: Request| {
        let state = Arc::clone(&state);
        async move { Ok(review(&state, request, handler).await) }
    })
}

/// Responds to a review. Errors and panics become HTTP statuses, and are counted.
async fn review(state: &Arc<RouteState>, request: Request, handler: ReviewHandler) -> Response {
    let metrics = &state.handler.metrics;
    let _timer = metrics.timer();
    match AssertUnwindSafe(read_and_handle(state, request, handler)).catch_unwind().await {
        Ok(Ok(body)) => ([(CONTENT_TYPE, JSON)], Body::from(body)).into_response(),
        Ok(Err(error)) => {
            let status = error.status();
            debug!(status = status.as_u16(), "Rejected a request: {error}");
            metrics.http_error(status);
            (&error).into_response()
        }
        Err(_) => {
            metrics.http_error(StatusCode::INTERNAL_SERVER_ERROR);
            // The panic's message can quote the body, so only the panic hook's line says where the panic was.
            error!(
                "Admission review failed with HTTP 500: its handler panicked, see the log line before. Report this bug"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn read_and_handle(
    state: &Arc<RouteState>,
    request: Request,
    handler: ReviewHandler,
) -> Result<Vec<u8>, RequestError> {
    if !is_json(request.headers()) {
        return Err(RequestError::UnsupportedContentType);
    }
    // The listener limits the time for a small body, on all routes.
    let Client(client) = request.extensions().get().copied().unwrap_or(UNKNOWN_CLIENT);
    let body = state.bodies.read(request.into_body(), client).await?;
    if !body.is_large() {
        return handler(&state.handler, body.bytes());
    }
    // A large body takes some milliseconds, for which small ones must not wait.
    let state = Arc::clone(state);
    let permit = Arc::clone(&state.large_handlers).acquire_owned().await.map_err(|_| RequestError::ShuttingDown)?;
    let review = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        handler(&state.handler, body.bytes())
    });
    match review.await {
        Ok(response) => response,
        Err(error) => Err(error.try_into_panic().map_or(RequestError::ShuttingDown, |panic| resume_unwind(panic))),
    }
}

/// Whether the media type is JSON. RFC 9110, 8.3.1: it is case-insensitive, and parameters may follow.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod stuck_bodies_tests;
#[cfg(test)]
mod tests;
