//! The paths of the admin port and their handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use prometheus_client::registry::Registry;

use super::health::Health;
use super::probe_response::{Detail, Probe, ProbeResult};
use crate::telemetry::metrics;

/// The older name of [`LIVEZ`].
pub const HEALTHZ: &str = "/healthz";
/// Liveness: the process answers.
pub const LIVEZ: &str = "/livez";
/// Readiness: all checks with [`Gate::Readiness`](super::Gate) pass.
pub const READYZ: &str = "/readyz";
/// Metrics for Prometheus.
pub const METRICS: &str = "/metrics";

/// A further path of the admin port and its handler.
pub struct Page {
    pub path: &'static str,
    pub answer: MethodRouter,
}

/// What the admin port shows.
#[derive(Clone)]
pub struct AdminState {
    health: Arc<Health>,
    registry: Arc<Registry>,
}

impl AdminState {
    /// Takes the checks and metrics that exist now. The port does not show those that are added later.
    #[must_use]
    pub fn new(health: Health, mut registry: Registry) -> Self {
        health.register(&mut registry);
        Self { health: Arc::new(health), registry: Arc::new(registry) }
    }
}

/// The router with the paths of this module and those of `pages`.
pub fn router(state: AdminState, pages: Vec<Page>) -> Router {
    let mut paths = vec![HEALTHZ, LIVEZ, READYZ, METRICS];
    let mut router = Router::new()
        .route(HEALTHZ, probe(Probe::Health))
        .route(LIVEZ, probe(Probe::Live))
        .route(READYZ, probe(Probe::Ready))
        .route(METRICS, get(show_metrics))
        .with_state(state);
    for Page { path, answer } in pages {
        paths.push(path);
        router = router.route(path, answer);
    }
    router.fallback(async move || not_found(&paths))
}

fn probe(probe: Probe) -> MethodRouter<AdminState> {
    get(async move |Shared(app): Shared<AdminState>, RawQuery(query): RawQuery| -> ProbeResult {
        probe.evaluate(app.health.checks(), Detail::from_query(query.as_deref()))
    })
}

async fn show_metrics(Shared(app): Shared<AdminState>) -> Response {
    match metrics::render(&app.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "a metric could not be encoded\n").into_response(),
    }
}

fn not_found(paths: &[&str]) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("not found; the paths of this port are:\n{}\n", paths.join("\n")))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderMap, Request};
    use tower::ServiceExt;

    use super::*;
    use crate::admin::health::Gate;

    async fn get_path(router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_its_check() {
        let mut health = Health::new();
        let certificate = health.check("serving-certificate", Gate::Readiness);
        let router = router(AdminState::new(health, metrics::registry()), Vec::new());
        let (status, _, body) = get_path(&router, READYZ).await;
        assert_eq!((status, body.lines().last()), (StatusCode::INTERNAL_SERVER_ERROR, Some("readyz check failed")));
        assert_eq!(get_path(&router, LIVEZ).await.0, StatusCode::OK);
        certificate.pass();
        let (status, _, body) = get_path(&router, READYZ).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
        let (_, _, body) = get_path(&router, "/readyz?verbose").await;
        assert_eq!(body, "[+]ping ok\n[+]serving-certificate ok\nreadyz check passed\n");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_with_the_checks_among_them() {
        let mut health = Health::new();
        health.check("serving-certificate", Gate::Readiness).pass();
        let router = router(AdminState::new(health, metrics::registry()), Vec::new());
        let (status, headers, body) = get_path(&router, METRICS).await;
        assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &metrics::CONTENT_TYPE.parse().unwrap()));
        assert!(
            body.contains("snapwatcher_health_check{name=\"serving-certificate\"} 1\n") && body.ends_with("# EOF\n"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn the_response_for_an_unknown_path_lists_the_known_ones_and_each_of_them_answers() {
        let pages = vec![Page { path: "/pods", answer: get(async || "{}") }];
        let router = router(AdminState::new(Health::new(), metrics::registry()), pages);
        let (status, _, body) = get_path(&router, "/").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let paths: Vec<_> = body.lines().skip(1).collect();
        assert_eq!(paths.len(), 5);
        for path in paths {
            assert_eq!(get_path(&router, path).await.0, StatusCode::OK, "{path}");
        }
    }
}
