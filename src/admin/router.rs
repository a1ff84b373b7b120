//! The paths of the admin port and what stands behind each.

use std::sync::Arc;

use axum::extract::{RawQuery, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use prometheus_client::registry::Registry;

use super::health::Health;
use super::journeys::Journeys;
use super::probe::{Detail, Finding, Probe};
use crate::state::State;
use crate::telemetry::metrics;

/// The old name of [`LIVEZ`].
pub const HEALTHZ: &str = "/healthz";
/// Does the process answer?
pub const LIVEZ: &str = "/livez";
/// Can admission do its work?
pub const READYZ: &str = "/readyz";
/// For Prometheus.
pub const METRICS: &str = "/metrics";
/// How far each pod has come, as JSON.
pub const JOURNEYS: &str = "/journeys";

/// What the admin port shows.
#[derive(Clone)]
pub struct AdminState {
    health: Arc<Health>,
    registry: Arc<Registry>,
    state: State,
}

impl AdminState {
    /// Takes all checks and all metrics as they now are: what is added later would not be shown.
    #[must_use]
    pub fn new(health: Health, mut registry: Registry, state: State) -> Self {
        health.register(&mut registry);
        Self { health: Arc::new(health), registry: Arc::new(registry), state }
    }
}

/// All paths of the admin port.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route(HEALTHZ, probe(Probe::Health))
        .route(LIVEZ, probe(Probe::Live))
        .route(READYZ, probe(Probe::Ready))
        .route(METRICS, get(show_metrics))
        .route(JOURNEYS, get(show_journeys))
        .fallback(name_the_paths)
        .with_state(state)
}

fn probe(probe: Probe) -> MethodRouter<AdminState> {
    get(async move |Shared(app): Shared<AdminState>, RawQuery(query): RawQuery| -> Finding {
        probe.find(app.health.checks(), Detail::from_query(query.as_deref()))
    })
}

async fn show_metrics(Shared(app): Shared<AdminState>) -> Response {
    match metrics::render(&app.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "a metric could not be written\n").into_response(),
    }
}

async fn show_journeys(Shared(app): Shared<AdminState>) -> Response {
    Json(Journeys::tell(&app.state, app.state.leader().as_deref(), &app.state.journeys())).into_response()
}

async fn name_the_paths() -> (StatusCode, String) {
    let paths = [HEALTHZ, LIVEZ, READYZ, METRICS, JOURNEYS].join("\n");
    (StatusCode::NOT_FOUND, format!("not found; this port answers\n{paths}\n"))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderMap, Request};
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::admin::health::Gate;
    use crate::clock;
    use crate::pod::WatchedPod;

    async fn ask(router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    fn empty() -> Router {
        router(AdminState::new(Health::new(), metrics::registry(), State::new()))
    }

    #[tokio::test]
    async fn readiness_follows_its_check() {
        let mut health = Health::new();
        let leaf = health.check("leaf", Gate::Readiness);
        let router = router(AdminState::new(health, metrics::registry(), State::new()));
        let (status, _, body) = ask(&router, READYZ).await;
        assert_eq!((status, body.lines().last()), (StatusCode::INTERNAL_SERVER_ERROR, Some("readyz check failed")));
        assert_eq!(ask(&router, LIVEZ).await.0, StatusCode::OK);
        leaf.pass();
        let (status, _, body) = ask(&router, READYZ).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
        let (_, _, body) = ask(&router, "/readyz?verbose").await;
        assert_eq!(body, "[+]ping ok\n[+]leaf ok\nreadyz check passed\n");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_with_the_checks_among_them() {
        let mut health = Health::new();
        health.check("leaf", Gate::Readiness).pass();
        let router = router(AdminState::new(health, metrics::registry(), State::new()));
        let (status, headers, body) = ask(&router, METRICS).await;
        assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &metrics::CONTENT_TYPE.parse().unwrap()));
        assert!(body.contains("snapwatcher_check{name=\"leaf\"} 1\n") && body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn journeys_are_json() {
        let state = State::new();
        let pod: WatchedPod = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u1"},
        }))
        .unwrap();
        let now = clock::now();
        state.seen(&pod.into(), now);
        let router = router(AdminState::new(Health::new(), metrics::registry(), state));
        let (_, headers, body) = ask(&router, JOURNEYS).await;
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["journeys"][0]["stages"], json!({"seen": format!("{now:.3}")}));
    }

    #[tokio::test]
    async fn an_unknown_path_is_told_the_known_ones_and_each_of_them_answers() {
        let router = empty();
        let (status, _, body) = ask(&router, "/").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let paths: Vec<_> = body.lines().skip(1).collect();
        assert_eq!(paths.len(), 5);
        for path in paths {
            assert_eq!(ask(&router, path).await.0, StatusCode::OK, "{path}");
        }
    }
}
