//! What is told about a pod at its creation, as a client of a real API server gets to see it: warnings, a refusal, or
//! nothing, by `--validation`.

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

/// Clients may cut longer ones.
const WARNING_LENGTH: usize = 120;

/// Starts SnapWatcher and waits until the API server asks its validating webhook too, which it takes over by itself.
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

/// Creates a pod as a dry run and returns the warnings of the answer, as kubectl would print them.
async fn warnings(ns: &Namespace, pod: &Pod) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", ns.name());
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Body::from(serde_json::to_vec(pod).unwrap())).unwrap();
    let answer = ns.client().send(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 201, "{}", pod.name_any());
    let headers = answer.headers().get_all("warning").iter();
    headers.map(|header| text_of_warning(std::str::from_utf8(header.as_bytes()).unwrap())).collect()
}

/// The text in `299 - "text"` (RFC 7234, 5.5).
fn text_of_warning(header: &str) -> String {
    let quoted = header.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).unwrap();
    quoted.replace("\\\"", "\"").replace("\\\\", "\\")
}

#[tokio::test]
async fn a_pod_that_can_not_be_what_its_author_means_is_told() {
    in_namespace("a_pod_that_can_not_be_what_its_author_means_is_told", |ns| async move {
        start(&ns, "warn").await;
        let sctp = |spec: &mut PodSpec| {
            let port =
                ContainerPort { container_port: 9, protocol: Some("SCTP".to_owned()), ..ContainerPort::default() };
            spec.containers[0].ports = Some(vec![port]);
        };
        for (name, wanted, words) in [
            ("misspelt", pod("a").label(SNAP, "True"), "`True` does not count; did you mean \"true\"?"),
            ("unknown", pod("a").label(SNAP, "yes"), "allowed are \"true\" and \"false\""),
            ("mutated", pod("a").labelled().label(MUTATED, "junk"), "`junk` counts as \"false\""),
            ("delay", pod("a").labelled().annotate(DELAY, "soon"), "`soon` is not a duration such as"),
            ("once-per", pod("a").labelled().annotate(ONCE_PER, "year"), "year"),
            ("container", pod("a").labelled().annotate(CONTAINERS, "sidecar"), "sidecar"),
            ("a key", pod("a").labelled().annotate("snap.weaversoft.io/delays", "5s"), "did you mean `delay`?"),
            ("criu", pod("a").labelled().spec(sctp), "SCTP sockets can't be checkpointed"),
        ] {
            let reported = warnings(&ns, &wanted.build()).await;
            assert_eq!(reported.len(), 1, "{name}: {reported:?}");
            assert!(reported[0].contains(words), "{name}: {reported:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_warning_fits_what_clients_show_whatever_it_quotes() {
    in_namespace("a_warning_fits_what_clients_show_whatever_it_quotes", |ns| async move {
        start(&ns, "warn").await;
        let long = "sidecar,".repeat(60);
        for value in [long.as_str(), "line\nbreak", "ümläut \u{1F600} \"quoted\\\"", "\u{7}bell"] {
            let wanted = pod("a").labelled().annotate(CONTAINERS, value).annotate(DELAY, value).build();
            let reported = warnings(&ns, &wanted).await;
            assert!(reported.len() >= 2, "{value:?}: {reported:?}");
            for warning in reported {
                assert!(warning.chars().count() <= WARNING_LENGTH, "{value:?}: {warning}");
                assert!(warning.contains("snap.weaversoft.io/"), "{value:?}: {warning}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_right_or_has_not_opted_in_is_told_nothing() {
    in_namespace("a_pod_that_is_right_or_has_not_opted_in_is_told_nothing", |ns| async move {
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
async fn mode_deny_refuses_the_pod_and_says_why() {
    in_namespace("mode_deny_refuses_the_pod_and_says_why", |ns| async move {
        start(&ns, "deny").await;
        let wrong = pod("wrong").labelled().annotate(DELAY, "soon").annotate(CONTAINERS, "sidecar").build();
        let refusal = ns.api::<Pod>().create(&PostParams::default(), &wrong).await.unwrap_err();
        let kube::Error::Api(status) = refusal else { panic!("{refusal}") };
        assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        for words in ["validate.snap.weaversoft.io", "denied the request", DELAY, "`soon`", CONTAINERS, "sidecar"] {
            assert!(status.message.contains(words), "{}", status.message);
        }
        assert!(ns.api::<Pod>().get_opt("wrong").await.unwrap().is_none());
        ns.create_object(&pod("right").labelled().build()).await;
    })
    .await;
}

#[tokio::test]
async fn mode_off_says_nothing() {
    in_namespace("mode_off_says_nothing", |ns| async move {
        start(&ns, "off").await;
        let wrong = pod("wrong").label(SNAP, "True").annotate(DELAY, "soon").build();
        assert_eq!(warnings(&ns, &wrong).await, Vec::<String>::new());
        let wrong = pod("wrong").labelled().annotate(DELAY, "soon").build();
        assert_eq!(warnings(&ns, &wrong).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_deployment_whose_label_does_not_count_is_told_once_in_the_log() {
    in_namespace("a_deployment_whose_label_does_not_count", |ns| async move {
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
