//! The routes of the webhook: decode, decide, count, answer.
//!
//! Nothing here waits for anything but the request's own body, so a dead API server or back-end can't slow it down.
//! Bodies are never logged. A panic is answered 500, so that the configuration's failurePolicy decides.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{self, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use serde::de::IgnoredAny;
use tower::{BoxError, Service};
use tracing::{Level, debug, debug_span, enabled, error, warn};

use snapwatcher_daemon::clock;
use snapwatcher_state::PodTimelines;

use super::answer::Answer;
use super::criu::PodSpec;
use super::metrics::AdmissionMetrics;
use super::mutate::{self, Decision};
use super::once::Once;
use super::refusal::Refusal;
use super::review::Request;
use super::room::Room;
use super::validate::{self, ValidationMode};

pub const MUTATE: &str = "/mutate";
pub const VALIDATE: &str = "/validate";
pub const HEALTH: &str = "/healthz";

/// Of a namespace or a pod, see <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.
const LONGEST_NAME: usize = 253;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the routes need.
pub struct Admission {
    timelines: PodTimelines,
    metrics: AdmissionMetrics,
    validation: ValidationMode,
    /// Of which pods the log has told that their label does not count.
    told: Once,
    room: Room,
}

impl Admission {
    #[must_use]
    pub fn new(timelines: PodTimelines, metrics: AdmissionMetrics, validation: ValidationMode) -> Self {
        Self { timelines, metrics, validation, told: Once::default(), room: Room::default() }
    }

    /// Answers a review for labelling, and remembers an admission whose UID the pod will carry.
    fn label(&self, body: &[u8]) -> Result<Response, Refusal> {
        let request: Request<'_, IgnoredAny> = Request::decode(body)?;
        let uid = &*request.uid;
        let _span = debug_span!("review", webhook = "mutate", admission = uid).entered();
        let decision = mutate::decide(&request);
        if enabled!(Level::DEBUG) {
            log(&request, &decision);
        }
        let answer = answered(&decision.answer(uid)?)?;
        // Nothing comes of a dry run, so no pod would ever be joined to it.
        if decision.links_admission() && !request.is_dry_run() {
            self.timelines.admitted(uid, clock::now());
        }
        self.metrics.mutated(&decision);
        Ok(answer)
    }

    /// Answers a review for validation.
    fn judge(&self, body: &[u8]) -> Result<Response, Refusal> {
        let request: Request<'_, PodSpec<'_>> = Request::decode(body)?;
        let uid = &*request.uid;
        let _span = debug_span!("review", webhook = "validate", admission = uid).entered();
        let verdict = validate::judge(&request, self.validation);
        let answer = answered(&verdict.answer(uid))?;
        self.metrics.validated(&verdict);
        if self.validation != ValidationMode::Off && !request.is_dry_run() {
            self.tell_mislabelled(&request);
        }
        Ok(answer)
    }

    /// A warning about a pod made from a template reaches only its controller; the log reaches people.
    fn tell_mislabelled(&self, request: &Request<'_, PodSpec<'_>>) {
        let Some(pod) = request.created_pod() else { return };
        let Some(problem) = validate::mislabelled(pod) else { return };
        self.metrics.mislabelled();
        let (namespace, name) = (request.namespace.as_deref().unwrap_or_default(), pod.metadata.template());
        // No object has a longer name; what is told is remembered, and it is written into the log.
        if namespace.len().max(name.len()) > LONGEST_NAME {
            return;
        }
        if self.told.is_news(&format!("{namespace}/{name}"), Instant::now()) {
            warn!(namespace, template = name, "Pods `{namespace}/{name}` will not be checkpointed: {problem}");
        }
    }

    fn refused(&self, refusal: &Refusal) -> Response {
        let status = refusal.status();
        debug!(status = status.as_u16(), "Refused a request: {refusal}");
        self.metrics.refused(status);
        refusal.into_response()
    }

    fn panicked(&self) -> Response {
        self.metrics.refused(StatusCode::INTERNAL_SERVER_ERROR);
        // The panic's own text could quote the body; the panic hook has told where it was.
        error!("A review was answered 500: its handler panicked");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// What a route makes of the body of a review.
type Answers = fn(&Admission, &[u8]) -> Result<Response, Refusal>;

/// The webhook's routes; the caller brings listener and TLS.
///
/// A service by hand: with the layers around it, a router of axum's puts each request into half a dozen boxes.
#[derive(Clone)]
pub struct Webhook(Arc<Admission>);

impl Webhook {
    #[must_use]
    pub fn new(admission: Admission) -> Self {
        Self(Arc::new(admission))
    }

    async fn route(self, request: http::Request<Body>) -> Response {
        let method = request.method();
        let (is_post, is_get) = (method == Method::POST, method == Method::GET || method == Method::HEAD);
        match request.uri().path() {
            MUTATE if is_post => self.review(request, Admission::label).await,
            VALIDATE if is_post => self.review(request, Admission::judge).await,
            HEALTH if is_get => "ok".into_response(),
            MUTATE | VALIDATE => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")]).into_response(),
            HEALTH => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET,HEAD")]).into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Answers a review. A panic is a counted 500.
    async fn review(self, request: http::Request<Body>, answers: Answers) -> Response {
        let app = &self.0;
        let _timer = app.metrics.timer();
        match AssertUnwindSafe(self.read_and_answer(request, answers)).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => app.refused(&refusal),
            Err(_) => app.panicked(),
        }
    }

    async fn read_and_answer(&self, request: http::Request<Body>, answers: Answers) -> Result<Response, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::ContentType);
        }
        // A short body that does not come is given up by the listener, for all routes.
        let body = self.0.room.read(request.into_body()).await?;
        if !body.is_long() {
            return answers(&self.0, body.bytes());
        }
        // Some milliseconds of work, for which the short ones don't wait.
        let app = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || answers(&app, body.bytes())).await {
            Ok(answer) => answer,
            Err(ended) => Err(ended.try_into_panic().map_or(Refusal::Lost, |panic| resume_unwind(panic))),
        }
    }
}

impl<B> Service<http::Request<B>> for Webhook
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let webhook = self.clone();
        Box::pin(async move { Ok(webhook.route(request.map(Body::new)).await) })
    }
}

fn answered(answer: &Answer<'_>) -> Result<Response, Refusal> {
    let mut response = Response::new(Body::from(answer.encode()?));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(response)
}

fn log<S>(request: &Request<'_, S>, decision: &Decision) {
    match decision {
        Decision::Leave(cause) => debug!(cause = cause.as_str(), "Left the object as it is: {}", cause.as_str()),
        Decision::Patch(operations) => {
            let pod = request.created_pod().map(|pod| pod.metadata.name()).unwrap_or_default();
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let patch = mutate::patch(operations).unwrap_or_default();
            debug!(admission = &*request.uid, patch, namespace, pod, "Patched pod `{namespace}/{pod}`");
        }
    }
}

/// The type is that of RFC 9110, 8.3.1: case does not count, parameters may follow.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests;
