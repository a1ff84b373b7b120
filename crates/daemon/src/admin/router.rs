//! The paths of the admin port and their handlers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, Request, State as Shared};
use axum::http::{Extensions, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use prometheus_client::registry::Registry;

use super::health::Health;
use super::probe_response::{Detail, LOOPBACK_ONLY, Probe, ProbeResult, Reasons};
use crate::telemetry::metrics;

/// The older name of [`LIVEZ`].
pub const HEALTHZ: &str = "/healthz";
/// Liveness: the process answers.
pub const LIVEZ: &str = "/livez";
/// Readiness: all checks with [`Gate::Readiness`](super::Gate) pass.
pub const READYZ: &str = "/readyz";
/// Metrics for Prometheus.
pub const METRICS: &str = "/metrics";

/// A further path of the admin port and its handler. It shows detail: what people write into objects of their namespaces.
pub struct Page {
    pub path: &'static str,
    pub answer: MethodRouter,
}

/// What the admin port shows.
#[derive(Clone)]
pub struct AdminState {
    health: Arc<Health>,
    registry: Arc<Registry>,
    exposes_detail: bool,
}

impl AdminState {
    /// Takes the checks and metrics that exist now. The port does not show those that are added later.
    #[must_use]
    pub fn new(health: Health, mut registry: Registry) -> Self {
        health.register(&mut registry);
        Self { health: Arc::new(health), registry: Arc::new(registry), exposes_detail: false }
    }

    /// Shows detail to all clients if `exposes_detail`, otherwise to clients on loopback alone.
    #[must_use]
    pub fn exposing_detail(self, exposes_detail: bool) -> Self {
        Self { exposes_detail, ..self }
    }

    /// Whether the client of this request may read pages, and why a check fails. The address of the client is one of the
    /// extensions, as [`serve`](super::serve) sets it.
    fn shows_detail(&self, extensions: &Extensions) -> bool {
        let is_local = |ConnectInfo(client): &ConnectInfo<SocketAddr>| {
            // Not all of 127.0.0.0/8: a service mesh passes on what arrives from outside with 127.0.0.6.
            let address = client.ip().to_canonical();
            address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
        };
        self.exposes_detail || extensions.get().is_some_and(is_local)
    }
}

/// The router with the paths of this module and those of `pages`.
pub fn router(state: AdminState, pages: Vec<Page>) -> Router {
    let mut paths = vec![HEALTHZ, LIVEZ, READYZ, METRICS];
    let mut router = Router::new()
        .route(HEALTHZ, probe(Probe::Health))
        .route(LIVEZ, probe(Probe::Live))
        .route(READYZ, probe(Probe::Ready))
        .route(METRICS, get(show_metrics));
    for Page { path, answer } in pages {
        paths.push(path);
        let answer: MethodRouter<AdminState> = answer.with_state(());
        router = router.route(path, answer.layer(from_fn_with_state(state.clone(), guard_detail)));
    }
    router.fallback(async move || not_found(&paths)).with_state(state)
}

fn probe(probe: Probe) -> MethodRouter<AdminState> {
    get(async move |Shared(app): Shared<AdminState>, RawQuery(query): RawQuery, request: Request| -> ProbeResult {
        let reasons = if app.shows_detail(request.extensions()) { Reasons::Shown } else { Reasons::Withheld };
        probe.evaluate(app.health.checks(), Detail::from_query(query.as_deref()), reasons)
    })
}

async fn guard_detail(Shared(app): Shared<AdminState>, request: Request, next: Next) -> Response {
    if app.shows_detail(request.extensions()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, LOOPBACK_ONLY).into_response()
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
        get_from("127.0.0.1", router, path).await
    }

    /// Requests a path from that address.
    async fn get_from(client: &str, router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client.parse().unwrap(), 12_345)));
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

    #[tokio::test]
    async fn a_client_that_is_not_on_loopback_reads_no_detail_unless_it_is_exposed() {
        let state = || {
            let mut health = Health::new();
            health.check("ca-bundle", Gate::Readiness).fail("secret cause");
            AdminState::new(health, metrics::registry())
        };
        let pages = || vec![Page { path: "/pods", answer: get(async || "secret pods") }];
        let (closed, open) = (router(state(), pages()), router(state().exposing_detail(true), pages()));
        for client in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(get_from(client, &closed, "/pods").await.2, "secret pods", "{client}");
            assert!(get_from(client, &closed, READYZ).await.2.contains("secret cause"), "{client}");
        }
        for client in ["10.0.0.7", "::ffff:10.0.0.7", "fd00::1", "127.0.0.6", "::ffff:127.0.0.6"] {
            let (status, _, body) = get_from(client, &closed, "/pods").await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{client}");
            assert!(body.contains("kubectl port-forward") && body.contains("--admin-expose-detail"), "{body}");
            for path in [READYZ, "/readyz?verbose"] {
                let (status, _, body) = get_from(client, &closed, path).await;
                assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
                assert!(!body.contains("secret") && body.contains("port-forward"), "{client}: {body}");
            }
            assert_eq!(get_from(client, &closed, "/livez").await.2, "ok");
            assert_eq!(get_from(client, &closed, METRICS).await.0, StatusCode::OK);
            assert_eq!(get_from(client, &open, "/pods").await.2, "secret pods", "{client}");
            assert!(get_from(client, &open, "/readyz?verbose").await.2.contains("secret cause"), "{client}");
        }
        let unknown = closed.oneshot(Request::get("/pods").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(unknown.status(), StatusCode::FORBIDDEN, "the address of the client is not known");
    }
}
