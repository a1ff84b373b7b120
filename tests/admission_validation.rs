//! What a client of a real API server sees of validation at the creation of a pod, by `--validation`: warnings, a denial,
//! or nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use axum::http::Request;
use k8s_openapi::api::core::v1::{ContainerPort, Pod, PodSpec};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use lab::objects::{deployment, pod};
use lab::webhooks::{MUTATED, SNAP};
use lab::{Namespace, Snapwatcher, in_namespace};
use snapwatcher_api::keys::{CONTAINERS, DELAY, ONCE_PER};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// In characters; clients may cut longer warnings.
const WARNING_LENGTH: usize = 120;

/// Starts SnapWatcher, and waits until the API server calls its validating webhook.
async fn start(ns: &Namespace, mode: &str) -> Arc<Snapwatcher> {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--validation", mode]).await;
    let harmless = pod("harmless").labelled().build();
    let series = "snapwatcher_admission_requests_total{webhook=\"validate\",decision=\"passed\"} ";
    ns.until("the API server calls the validating webhook", async || {
        warnings(ns, &harmless).await;
        let metrics = watcher.metrics().await.unwrap();
        metrics.lines().any(|line| line.strip_prefix(series).is_some_and(|count| count != "0"))
    })
    .await;
    watcher
}

/// Creates a pod as a dry run, and returns the warnings of the response as kubectl would print them.
async fn warnings(ns: &Namespace, pod: &Pod) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", ns.name());
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Body::from(serde_json::to_vec(pod).unwrap())).unwrap();
    let response = ns.client().send(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 201, "{}", pod.name_any());
    let headers = response.headers().get_all("warning").iter();
    headers.map(|header| text_of_warning(std::str::from_utf8(header.as_bytes()).unwrap())).collect()
}

/// The text in `299 - "text"` (RFC 7234, 5.5).
fn text_of_warning(header: &str) -> String {
    let quoted = header.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).unwrap();
    quoted.replace("\\\"", "\"").replace("\\\\", "\\")
}

#[tokio::test]
async fn each_problem_of_a_pod_is_a_warning() {
    in_namespace("each_problem_of_a_pod_is_a_warning", |ns| async move {
        start(&ns, "warn").await;
        let sctp = |spec: &mut PodSpec| {
            let port =
                ContainerPort { container_port: 9, protocol: Some("SCTP".to_owned()), ..ContainerPort::default() };
            spec.containers[0].ports = Some(vec![port]);
        };
        for (name, wanted, expected) in [
            ("misspelt", pod("a").label(SNAP, "True"), "`True` is not recognized; did you mean \"true\"?"),
            ("unknown", pod("a").label(SNAP, "yes"), "`yes` is not recognized; use \"true\" or \"false\""),
            ("mutated", pod("a").labelled().label(MUTATED, "junk"), "`junk` is treated as \"false\""),
            ("delay", pod("a").labelled().annotate(DELAY, "soon"), "`soon` is not a duration such as"),
            ("once-per", pod("a").labelled().annotate(ONCE_PER, "year"), "year"),
            ("container", pod("a").labelled().annotate(CONTAINERS, "sidecar"), "sidecar"),
            (
                "a key",
                pod("a").labelled().annotate("snap.weaversoft.io/delays", "5s"),
                "is not recognized; did you mean `delay`?",
            ),
            ("criu", pod("a").labelled().spec(sctp), "SCTP sockets cannot be checkpointed"),
        ] {
            let warnings = warnings(&ns, &wanted.build()).await;
            assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
            assert!(warnings[0].contains(expected), "{name}: {warnings:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_warning_is_short_enough_for_clients_whatever_it_quotes() {
    in_namespace("a_warning_is_short_enough_for_clients_whatever_it_quotes", |ns| async move {
        start(&ns, "warn").await;
        let long = "sidecar,".repeat(60);
        for value in [long.as_str(), "line\nbreak", "ümläut \u{1F600} \"quoted\\\"", "\u{7}bell"] {
            let wanted = pod("a").labelled().annotate(CONTAINERS, value).annotate(DELAY, value).build();
            let warnings = warnings(&ns, &wanted).await;
            assert!(warnings.len() >= 2, "{value:?}: {warnings:?}");
            for warning in warnings {
                assert!(warning.chars().count() <= WARNING_LENGTH, "{value:?}: {warning}");
                assert!(warning.contains("snap.weaversoft.io/"), "{value:?}: {warning}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_correct_pod_and_one_that_has_not_opted_in_get_no_warning() {
    in_namespace("a_correct_pod_and_one_that_has_not_opted_in_get_no_warning", |ns| async move {
        start(&ns, "warn").await;
        for (case, wanted) in [
            ("labelled", pod("a").labelled().annotate(DELAY, "1m30s").annotate(ONCE_PER, "revision")),
            ("opted out", pod("a").label(SNAP, "false").annotate(DELAY, "soon")),
            ("from a checkpoint", pod("a").labelled().label(MUTATED, "true").annotate(DELAY, "soon")),
            ("without the label", pod("a").annotate(DELAY, "soon")),
        ] {
            assert_eq!(warnings(&ns, &wanted.build()).await, Vec::<String>::new(), "{case}");
        }
    })
    .await;
}

#[tokio::test]
async fn mode_deny_rejects_the_pod_with_the_reasons() {
    in_namespace("mode_deny_rejects_the_pod_with_the_reasons", |ns| async move {
        start(&ns, "deny").await;
        let wrong = pod("wrong").labelled().annotate(DELAY, "soon").annotate(CONTAINERS, "sidecar").build();
        let error = ns.api::<Pod>().create(&PostParams::default(), &wrong).await.unwrap_err();
        let kube::Error::Api(status) = error else { panic!("{error}") };
        assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        for expected in ["validate.snap.weaversoft.io", "denied the request", DELAY, "`soon`", CONTAINERS, "sidecar"] {
            assert!(status.message.contains(expected), "{}", status.message);
        }
        assert!(ns.api::<Pod>().get_opt("wrong").await.unwrap().is_none());
        ns.create_object(&pod("right").labelled().build()).await;
    })
    .await;
}

#[tokio::test]
async fn mode_off_gives_no_warning() {
    in_namespace("mode_off_gives_no_warning", |ns| async move {
        start(&ns, "off").await;
        let wrong = pod("wrong").label(SNAP, "True").annotate(DELAY, "soon").build();
        assert_eq!(warnings(&ns, &wrong).await, Vec::<String>::new());
        let wrong = pod("wrong").labelled().annotate(DELAY, "soon").build();
        assert_eq!(warnings(&ns, &wrong).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_deployment_with_an_invalid_label_is_logged_once() {
    in_namespace("a_deployment_with_an_invalid_label_is_logged_once", |ns| async move {
        let watcher = start(&ns, "warn").await;
        ns.create_object(&deployment("web").replicas(3).label(SNAP, "True").build()).await;
        ns.until("each of its pods is counted", async || {
            watcher.metric("snapwatcher_admission_mislabelled_total").await.unwrap() == Some(3.0)
        })
        .await;
        let log = watcher.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("did you mean \"true\"?")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let pods = ns.api::<Pod>().list(&ListParams::default()).await.unwrap();
        let name = format!("Pods `{}/{}` will", ns.name(), pods.items[0].metadata.generate_name.as_deref().unwrap());
        assert!(lines[0].contains(" WARN ") && lines[0].contains(&name), "{}", lines[0]);
    })
    .await;
}
