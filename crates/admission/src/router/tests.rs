use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::ALLOW;
use axum::http::{Method, Request as HttpRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use snapwatcher_daemon::clock;
use snapwatcher_state::PodTimelines;
use tower::ServiceExt as _;

use super::super::body_reader::REVIEW_LIMIT;
use super::super::metrics::AdmissionMetrics;
use super::super::review::review_of_creation;
use super::super::validate::ValidationMode;
use super::*;
use snapwatcher_api::keys::{ADMISSION, DELAY, MUTATED, SNAP};
use snapwatcher_api::pod::{CheckpointOptions, PodFacts, WatchedPod};

/// A webhook, and the metrics and timelines that it writes.
struct TestWebhook {
    timelines: PodTimelines,
    registry: Registry,
    state: Arc<RouteState>,
    router: Router,
}

impl TestWebhook {
    fn new(validation: ValidationMode) -> Self {
        let (timelines, mut registry) = (PodTimelines::new(), Registry::with_prefix("snapwatcher"));
        let metrics = AdmissionMetrics::register(&mut registry);
        let handler = || AdmissionHandler::new(timelines.clone(), metrics.clone(), validation);
        let state = Arc::new(RouteState::new(handler()));
        Self { state, router: router(handler()), timelines, registry }
    }

    async fn send(&self, request: HttpRequest<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Posts a review, and returns the AdmissionResponse.
    async fn review(&self, path: &str, review: &Value) -> Value {
        let (status, body) = self.send(post_json(path, review.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let mut review: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&review["apiVersion"], &review["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        review["response"].take()
    }

    fn metric(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|shown| shown == line)
    }

    /// Whether the webhook stored the admission with this UID.
    fn has_stored(&self, request_uid: &str) -> bool {
        let pod: WatchedPod = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "uid": request_uid, "annotations": {ADMISSION: request_uid}},
        }))
        .unwrap();
        self.timelines.seen(&PodFacts::from(pod), clock::now());
        self.timelines
            .get("default", request_uid)
            .unwrap()
            .admission
            .is_some_and(|admission| !admission.by_other_replica)
    }
}

fn post_json(path: &str, body: impl Into<Body>) -> HttpRequest<Body> {
    HttpRequest::post(path).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

fn review(uid: &str, metadata: &Value) -> Value {
    review_of_creation(uid, &json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}}))
}

fn patch_of(response: &Value) -> Value {
    serde_json::from_slice(&BASE64.decode(response["patch"].as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_labeled_pod_is_patched_and_its_admission_stored() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let response = webhook.review(MUTATE, &review("r-1", &json!({"labels": {SNAP: "true"}}))).await;
    assert_eq!(
        (&response["uid"], &response["allowed"], &response["patchType"]),
        (&json!("r-1"), &json!(true), &json!("JSONPatch"))
    );
    assert_eq!(patch_of(&response).as_array().unwrap().len(), 3);
    assert!(webhook.has_stored("r-1"));
    assert!(webhook.metric(r#"snapwatcher_admission_requests_total{webhook="mutate",decision="patched"} 1"#));
    assert!(webhook.metric("snapwatcher_admission_duration_seconds_count 1"));
}

#[tokio::test]
async fn an_unchanged_pod_gets_neither_patch_nor_patch_type() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let response = webhook.review(MUTATE, &review("r-1", &json!({}))).await;
    assert_eq!(response, json!({"uid": "r-1", "allowed": true}));
    assert!(webhook.metric(r#"snapwatcher_admission_requests_total{webhook="mutate",decision="left"} 1"#));
}

#[tokio::test]
async fn an_admission_that_no_pod_will_have_is_not_stored() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let mut dry = review("dry", &json!({"labels": {SNAP: "true"}}));
    dry["request"]["dryRun"] = json!(true);
    let response = webhook.review(MUTATE, &dry).await;
    assert_eq!(patch_of(&response).as_array().unwrap().len(), 3, "a dry run is patched all the same");
    assert!(!webhook.has_stored("dry"));

    let full = "x".repeat(256 * 1024 - 1);
    let without_room = review("second", &json!({"labels": {SNAP: "true"}, "annotations": {"a": full}}));
    webhook.review(MUTATE, &without_room).await;
    assert!(!webhook.has_stored("second"));
}

#[tokio::test]
async fn an_invalid_snap_label_is_counted_for_each_pod() {
    let invalid = review("r-1", &json!({"generateName": "web-", "labels": {SNAP: "True"}}));
    for (mode, count) in [(ValidationMode::Warn, 2), (ValidationMode::Deny, 2), (ValidationMode::Off, 0)] {
        let webhook = TestWebhook::new(mode);
        for _ in 0..2 {
            webhook.review(VALIDATE, &invalid).await;
        }
        webhook.review(VALIDATE, &review("r-2", &json!({"labels": {SNAP: "false"}}))).await;
        let line = format!("snapwatcher_admission_mislabelled_total {count}");
        assert!(webhook.metric(&line), "{}", mode.as_str());
    }
}

#[tokio::test]
async fn the_response_to_a_problem_depends_on_the_mode() {
    let wrong = review("r-1", &json!({"labels": {SNAP: "true"}, "annotations": {DELAY: "soon"}}));
    let annotations = [(DELAY.to_owned(), "soon".to_owned())].into();
    let message = CheckpointOptions::parse(&annotations, &["app"], &[]).unwrap_err()[0].to_string();
    assert!(message.contains(DELAY) && message.contains("`soon`"), "{message}");
    for (mode, decision, expected) in [
        (ValidationMode::Warn, "warned", json!({"uid": "r-1", "allowed": true, "warnings": [message]})),
        (
            ValidationMode::Deny,
            "denied",
            json!({"uid": "r-1", "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": message}}),
        ),
        (ValidationMode::Off, "passed", json!({"uid": "r-1", "allowed": true})),
    ] {
        let webhook = TestWebhook::new(mode);
        assert_eq!(webhook.review(VALIDATE, &wrong).await, expected, "{}", mode.as_str());
        let line = format!(r#"snapwatcher_admission_requests_total{{webhook="validate",decision="{decision}"}} 1"#);
        assert!(webhook.metric(&line), "{line}");
    }
}

#[tokio::test]
async fn both_review_routes_reject_the_same_requests() {
    let good = || review("r-1", &json!({})).to_string();
    let long = |length: usize| good() + &" ".repeat(length - good().len());
    let typed = |path: &str, content_type: Option<&str>| {
        let request = HttpRequest::post(path);
        let request = content_type.into_iter().fold(request, |request, value| request.header(CONTENT_TYPE, value));
        request.body(Body::from(good())).unwrap()
    };
    let chunk = || Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = |count: usize| {
        Body::from_stream(futures::stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(chunk()))))
    };
    let cut_off = || Body::from_stream(futures::stream::iter([Ok(chunk()), Err(std::io::Error::other("reset"))]));
    for path in [MUTATE, VALIDATE] {
        let webhook = TestWebhook::new(ValidationMode::Warn);
        for (case, request, expected) in [
            ("parameters", typed(path, Some("Application/JSON; charset=utf-8")), StatusCode::OK),
            ("another type", typed(path, Some("application/json-patch+json")), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("no type", typed(path, None), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("empty", post_json(path, Body::empty()), StatusCode::BAD_REQUEST),
            ("truncated", post_json(path, good()[..20].to_owned()), StatusCode::BAD_REQUEST),
            ("v1beta1", post_json(path, good().replace("io/v1", "io/v1beta1")), StatusCode::BAD_REQUEST),
            ("7 MiB", post_json(path, long(REVIEW_LIMIT)), StatusCode::OK),
            ("7 MiB + 1", post_json(path, long(REVIEW_LIMIT + 1)), StatusCode::PAYLOAD_TOO_LARGE),
            ("chunked", post_json(path, chunks(REVIEW_LIMIT / chunk().len() + 1)), StatusCode::PAYLOAD_TOO_LARGE),
            ("cut off", post_json(path, cut_off()), StatusCode::BAD_REQUEST),
            ("another method", HttpRequest::get(path).body(Body::empty()).unwrap(), StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let (status, body) = webhook.send(request).await;
            assert_eq!(status, expected, "{path}, {case}: {body}");
        }
        for (status, count) in [(400, 4), (413, 2), (415, 2), (500, 0)] {
            let line = format!(r#"snapwatcher_admission_http_errors_total{{status="{status}"}} {count}"#);
            assert!(webhook.metric(&line), "{path}: {line}");
        }
    }
}

#[tokio::test]
async fn an_error_names_what_is_expected_and_quotes_nothing_of_the_pod() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let old = review("r-1", &json!({})).to_string().replace("io/v1", "io/v1beta1");
    let (_, body) = webhook.send(post_json(MUTATE, old)).await;
    assert_eq!(
        body,
        "expected `AdmissionReview` of `admission.k8s.io/v1`, found `AdmissionReview` of `admission.k8s.io/v1beta1`\n"
    );
    let secret = review("r-1", &json!({"labels": "token-in-the-wrong-place"}));
    let (status, body) = webhook.send(post_json(MUTATE, secret.to_string())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!body.contains("token"), "{body}");
}

#[tokio::test]
async fn a_panic_is_a_counted_500() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    for length in [2, 100 * 1024] {
        let request = post_json(MUTATE, " ".repeat(length));
        let response = super::review(&webhook.state, request, |_, _| panic!("on purpose")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(to_bytes(response.into_body(), usize::MAX).await.unwrap().is_empty());
    }
    assert!(webhook.metric(r#"snapwatcher_admission_http_errors_total{status="500"} 2"#));
}

/// A decoded body may take its length again, more than once.
#[tokio::test]
async fn one_large_body_is_handled_at_a_time() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let handler: ReviewHandler = |_, _| {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        Ok(Vec::new())
    };
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let reviews = (0..2).map(|_| super::review(&webhook.state, post_json(MUTATE, " ".repeat(100 * 1024)), handler));
    for response in futures::future::join_all(reviews).await {
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(MOST.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn health_and_unknown_paths_need_no_review() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let (status, body) = webhook.send(HttpRequest::get(HEALTH).body(Body::empty()).unwrap()).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
    for (method, path, expected, allowed) in [
        (Method::HEAD, HEALTH, StatusCode::OK, None),
        (Method::POST, HEALTH, StatusCode::METHOD_NOT_ALLOWED, Some("GET,HEAD")),
        (Method::GET, MUTATE, StatusCode::METHOD_NOT_ALLOWED, Some("POST")),
        (Method::HEAD, VALIDATE, StatusCode::METHOD_NOT_ALLOWED, Some("POST")),
        (Method::GET, "/", StatusCode::NOT_FOUND, None),
        (Method::POST, "/mutate/", StatusCode::NOT_FOUND, None),
        (Method::POST, "/convert", StatusCode::NOT_FOUND, None),
    ] {
        let request = HttpRequest::builder().method(&method).uri(path).body(Body::empty()).unwrap();
        let response = webhook.router.clone().oneshot(request).await.unwrap();
        let allow = response.headers().get(ALLOW).map(|value| value.to_str().unwrap());
        assert_eq!((response.status(), allow), (expected, allowed), "{method} {path}");
        assert!(to_bytes(response.into_body(), usize::MAX).await.unwrap().is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_uid_with_escapes_is_sent_back_as_it_is() {
    let webhook = TestWebhook::new(ValidationMode::Warn);
    let uid = "\"quoted\\ and\nbroken\u{1F600}";
    let response = webhook.review(MUTATE, &review(uid, &json!({"labels": {SNAP: "true", MUTATED: "false"}}))).await;
    assert_eq!(response["uid"], uid);
    assert_eq!(patch_of(&response)[1]["value"], uid);
}
