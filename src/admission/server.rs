//! The routes of the webhook: decode, decide, count, answer.
//!
//! Nothing here waits for anything but the request's own body, so a dead API server or back-end can't slow it down.
//! Bodies are never logged. A panic is answered 500, so that the configuration's failurePolicy decides.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{self, FromRequest, FromRequestParts};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::IgnoredAny;
use tracing::{Level, debug, debug_span, enabled, error, warn};

use crate::clock;
use crate::state::State;

use super::answer::Answer;
use super::criu::PodSpec;
use super::metrics::{AdmissionMetrics, Timer};
use super::mutate::{self, Decision};
use super::once::Once;
use super::refusal::Refusal;
use super::review::Request;
use super::room::{Room, Whole};
use super::validate::{self, ValidationMode};

pub const MUTATE: &str = "/mutate";
pub const VALIDATE: &str = "/validate";
pub const HEALTH: &str = "/healthz";

/// Of a namespace or a pod, see <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.
const LONGEST_NAME: usize = 253;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the routes need.
#[derive(Clone)]
pub struct Admission {
    state: State,
    metrics: AdmissionMetrics,
    validation: ValidationMode,
    /// Of which pods the log has told that their label does not count.
    told: Arc<Once>,
    room: Room,
}

impl Admission {
    #[must_use]
    pub fn new(state: State, metrics: AdmissionMetrics, validation: ValidationMode) -> Self {
        Self { state, metrics, validation, told: Arc::default(), room: Room::default() }
    }

    /// Answers a review for labelling, and remembers an admission whose UID the pod will carry.
    fn label(&self, review: &Review) -> Result<Response, Refusal> {
        let request: Request<'_, IgnoredAny> = Request::decode(review.0.bytes())?;
        let uid = &*request.uid;
        let _span = debug_span!("review", webhook = "mutate", admission = uid).entered();
        let decision = mutate::decide(&request);
        if enabled!(Level::DEBUG) {
            log(&request, &decision);
        }
        let answer = answered(&decision.answer(uid)?)?;
        // Nothing comes of a dry run, so no pod would ever be joined to it.
        if decision.links_admission() && !request.is_dry_run() {
            self.state.admitted(uid, clock::now());
        }
        self.metrics.mutated(&decision);
        Ok(answer)
    }

    /// Answers a review for validation.
    fn judge(&self, review: &Review) -> Result<Response, Refusal> {
        let request: Request<'_, PodSpec<'_>> = Request::decode(review.0.bytes())?;
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

    fn counted(&self, answer: Result<Response, Refusal>) -> Response {
        answer.unwrap_or_else(|refusal| {
            let status = refusal.status();
            debug!(status = status.as_u16(), "Refused a request: {refusal}");
            self.metrics.refused(status);
            refusal.into_response()
        })
    }
}

/// The webhook's routes; the caller brings listener and TLS.
pub fn router(app: Admission) -> Router {
    let reviews = Router::new().route(MUTATE, post(mutate)).route(VALIDATE, post(validate));
    shielded(reviews, app).route(HEALTH, get(alive))
}

/// Turns a panic in a route into a counted 500.
fn shielded(routes: Router<Arc<Admission>>, app: Admission) -> Router {
    let metrics = app.metrics.clone();
    let answer = move |_: Box<dyn Any + Send>| {
        metrics.refused(StatusCode::INTERNAL_SERVER_ERROR);
        // The panic's own text could quote the body; the panic hook has told where it was.
        error!("A review was answered 500: its handler panicked");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    };
    routes.layer(tower_http::catch_panic::CatchPanicLayer::custom(answer)).with_state(Arc::new(app))
}

type App = extract::State<Arc<Admission>>;

async fn mutate(_timer: Timer, extract::State(app): App, review: Result<Review, Refusal>) -> Response {
    app.counted(review.and_then(|review| app.label(&review)))
}

async fn validate(_timer: Timer, extract::State(app): App, review: Result<Review, Refusal>) -> Response {
    app.counted(review.and_then(|review| app.judge(&review)))
}

async fn alive() -> &'static str {
    "ok"
}

fn answered(answer: &Answer<'_>) -> Result<Response, Refusal> {
    Ok(([(CONTENT_TYPE, JSON)], answer.encode()?).into_response())
}

fn log<S>(request: &Request<'_, S>, decision: &Decision) {
    match decision {
        Decision::Leave(cause) => debug!(cause = cause.as_str(), "Left the object as it is: {}", cause.as_str()),
        Decision::Patch(operations) => {
            let pod = request.created_pod().map(|pod| pod.metadata.name()).unwrap_or_default();
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let patch = serde_json::to_string(operations).unwrap_or_default();
            debug!(admission = &*request.uid, patch, namespace, pod, "Patched pod `{namespace}/{pod}`");
        }
    }
}

/// The body of a review, whole and of the right type; it is decoded where its strings can be borrowed.
struct Review(Whole);

impl FromRequest<Arc<Admission>> for Review {
    type Rejection = Refusal;

    async fn from_request(request: extract::Request, app: &Arc<Admission>) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::ContentType);
        }
        // A short body that does not come is given up by the listener, for all routes.
        Ok(Self(app.room.read(request.into_body()).await?))
    }
}

/// The type is that of RFC 9110, 8.3.1: case does not count, parameters may follow.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

impl FromRequestParts<Arc<Admission>> for Timer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, app: &Arc<Admission>) -> Result<Self, Self::Rejection> {
        Ok(app.metrics.timer())
    }
}

#[cfg(test)]
mod tests;
