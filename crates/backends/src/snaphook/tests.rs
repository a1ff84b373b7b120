//! Real sockets: these tests are about what a server does wrong on the wire.

mod certificates;
mod secrets;

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto;

use snapwatcher_api::outcome::{Location, Outcome};
use snapwatcher_api::pod::PodName;
use snapwatcher_kubernetes::cluster::{LONGEST_POD_TEXT, PodDetail, PodNeed, PodText};

use crate::backend::{CheckpointBackend, CheckpointRequest};
use crate::test_server::{Act, Server, certificate, ok};

use super::client::SnapHook;
use super::contract::Contract;
use super::settings::SnapHookSettings;

const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(800);
/// What a busy machine may add to a timeout.
const SLACK: Duration = Duration::from_millis(700);

fn settings(url: &str) -> SnapHookSettings {
    // An error means that another test has installed it.
    let _installed = crypto::ring::default_provider().install_default();
    SnapHookSettings {
        url: url.parse().unwrap(),
        contract: Contract::default(),
        kube_api_address: "https://kubernetes.default.svc".to_owned(),
        cluster_name: Some("production".to_owned()),
        request_timeout: REQUEST_TIMEOUT,
        response_timeout: RESPONSE_TIMEOUT,
        token_file: None,
        ca_file: None,
    }
}

fn request() -> CheckpointRequest {
    CheckpointRequest {
        pod: PodName { namespace: "shop".into(), name: "web-0".into() },
        node: "worker-node-1".to_owned(),
        container: "app".to_owned(),
        pod_uid: "u".to_owned(),
        checkpoint_uid: "6d2f0c1e".to_owned(),
        is_automatic: false,
        idempotency_key: "6d2f0c1e-2f7d-4a55-9d3c-0d4f6a2f9b11-0".to_owned(),
        pod_detail: text(&json!({"metadata": {"name": "web-0"}, "spec": {"nodeName": "worker-node-1"}})),
    }
}

fn text(pod: &Value) -> PodDetail {
    PodDetail::Text(PodText::Whole(RawValue::from_string(pod.to_string()).unwrap()))
}

async fn outcome(settings: SnapHookSettings) -> Outcome {
    SnapHook::new(settings).unwrap().checkpoint(&request()).await
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded(_) => String::new(),
        Outcome::Failed { message, .. } => message.to_string(),
    }
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Asserts the reason and a part of the message that follow from what a server does.
async fn fails(act: Act, reason: &str, said: &str) {
    let server = Server::start(act).await;
    let outcome = outcome(settings(&server.url())).await;
    assert_eq!(outcome.as_str(), reason, "{outcome}");
    assert!(words(&outcome).contains(said), "{outcome}");
    assert_eq!(server.connections(), 1, "an attempt is one connection");
}

#[tokio::test]
async fn each_contract_has_its_path_and_body() {
    for (contract, path, body) in [
        (
            Contract::KubeletCheckpoint,
            "/kubelet/checkpoint",
            concat!(
                r#"{"pod_name":"web-0","namespace":"shop","node_name":"worker-node-1","container_name":"app","#,
                r#""kube_api_address":"https://kubernetes.default.svc"}"#
            ),
        ),
        (
            Contract::SnapapiKubelet,
            "/checkpoint/kubelet/checkpoint",
            concat!(
                r#"{"pod_name":"web-0","namespace":"shop","node_name":"worker-node-1","container_name":"app","#,
                r#""cluster_name":"production"}"#
            ),
        ),
        (
            Contract::SnapapiPodSpec,
            "/checkpoint/pod-spec/checkpoint-and-push",
            r#"{"pod_spec":{"metadata":{"name":"web-0"},"spec":{"nodeName":"worker-node-1"}}}"#,
        ),
    ] {
        let server = Server::start(ok(r#"{"success": true}"#)).await;
        let outcome = outcome(SnapHookSettings { contract, ..settings(&server.url()) }).await;
        assert_eq!(outcome, Outcome::Succeeded(Location::default()));
        let request = server.requests().remove(0);
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("\r\nidempotency-key: 6d2f0c1e-2f7d-4a55-9d3c-0d4f6a2f9b11-0\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
        assert!(!request.contains("authorization"), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
    }
}

#[tokio::test]
async fn a_pod_that_is_too_long_is_not_sent_and_its_checkpoint_fails() {
    let server = Server::start(ok(r#"{"success": true}"#)).await;
    let settings = SnapHookSettings { contract: Contract::SnapapiPodSpec, ..settings(&server.url()) };
    let pod_detail = PodDetail::Text(PodText::TooLong(LONGEST_POD_TEXT + 1));
    let outcome = SnapHook::new(settings).unwrap().checkpoint(&CheckpointRequest { pod_detail, ..request() }).await;
    assert_eq!(outcome.as_str(), "Rejected", "{outcome}");
    assert!(
        words(&outcome).contains("pod `shop/web-0` has 513 KiB, and `snapapi-pod-spec` sends at most 512 KiB"),
        "{outcome}"
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_path_in_the_url_is_kept() {
    for base in ["/snap", "/snap/"] {
        let server = Server::start(ok("")).await;
        outcome(settings(&format!("{}{base}", server.url()))).await;
        assert!(server.requests()[0].starts_with("POST /snap/kubelet/checkpoint HTTP/1.1"));
    }
}

#[tokio::test]
async fn each_attempt_has_a_fresh_connection() {
    let server = Server::start(ok("{}")).await;
    let snaphook = SnapHook::new(settings(&server.url())).unwrap();
    for _ in 0..3 {
        assert_eq!(snaphook.checkpoint(&request()).await.as_str(), "Succeeded");
    }
    assert_eq!(server.connections(), 3);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::start(ok("{}")).await;
    for status in ["301 Moved Permanently", "307 Temporary Redirect"] {
        let head = format!("HTTP/1.1 {status}\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", target.url());
        fails(Act::Answer(head.into_bytes()), "Rejected", status).await;
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_failure_after_connecting_is_no_response() {
    fails(Act::CloseAtOnce, "NoResponse", "no complete response from SnapHook at http://127.0.0.1:").await;
    fails(Act::CloseAfterRequest, "NoResponse", "connection closed").await;
    fails(Act::ResetAfterRequest, "NoResponse", "connection reset").await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"success\": true";
    fails(Act::Answer(half.into()), "NoResponse", "no complete response").await;
    let half = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 40\r\n\r\nbusy";
    fails(Act::Answer(half.into()), "NoResponse", "no complete response").await;
    let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n";
    fails(Act::Answer(half.into()), "NoResponse", "no complete response").await;
    fails(Act::Answer("220 mail.example.com ESMTP\r\n".into()), "NoResponse", "no complete response").await;
}

#[tokio::test]
async fn silence_and_a_drip_end_with_the_response_timeout() {
    for act in [Act::Hang, Act::Drip] {
        let started = Instant::now();
        fails(act, "NoResponse", "within 800ms after connecting").await;
        let took = started.elapsed();
        assert!(took >= RESPONSE_TIMEOUT && took < RESPONSE_TIMEOUT + SLACK, "{took:?}");
    }
}

#[tokio::test]
async fn only_the_start_of_a_huge_response_is_read() {
    for (status, reason) in [("200 OK", "InvalidResponse"), ("500 Internal Server Error", "BackendError")] {
        let server = Server::start(Act::Huge(status)).await;
        let outcome = outcome(settings(&server.url())).await;
        assert_eq!(outcome.as_str(), reason, "{outcome}");
        // The rest is what the kernel holds on both sides of the socket.
        let sent = server.sent_when_closed().await;
        assert!(sent < 16 * 1024 * 1024, "the server could send {sent} bytes of 64 MiB");
    }
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://bob:hunter2@{}/snap", listener.local_addr().unwrap());
    drop(listener);
    let outcome = outcome(settings(&url)).await;
    assert_eq!(outcome.as_str(), "Unreachable");
    let (said, shown) = (words(&outcome), url.replace("bob:hunter2@", ""));
    assert_eq!(
        said,
        format!(
            "could not connect to SnapHook at {shown}/kubelet/checkpoint: connection refused; check that SnapHook runs and that \
         `--snap-back-api-url` is its URL"
        )
    );
}

#[tokio::test]
async fn a_name_is_resolved_without_the_system_library() {
    let server = Server::start(ok("{}")).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    assert_eq!(outcome(settings(&url)).await.as_str(), "Succeeded");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    let outcome = outcome(settings("http://snaphook.invalid")).await;
    assert_eq!(outcome.as_str(), "Unreachable", "{outcome}");
    assert!(words(&outcome).contains("SnapHook at http://snaphook.invalid/kubelet/checkpoint"), "{outcome}");
}

#[test]
fn what_plain_http_exposes_on_the_way_to_another_machine_is_known() {
    let exposed = |url: &str, contract, token: bool| {
        let token_file = token.then(|| "token".into());
        SnapHookSettings { contract, token_file, ..settings(url) }.exposed_by_plain_http()
    };
    let (credentials, variables) = (Some("the credentials for SnapHook"), Some("the environment variables of pods"));
    let both = Some("the credentials for SnapHook and the environment variables of pods");
    for (url, contract, token, expected) in [
        ("http://snap-back-api", Contract::KubeletCheckpoint, false, None),
        ("http://snap-back-api", Contract::KubeletCheckpoint, true, credentials),
        ("http://bob:hunter2@10.0.0.7:8000", Contract::SnapapiKubelet, false, credentials),
        ("http://my-token@10.0.0.7:8000", Contract::SnapapiKubelet, false, credentials),
        ("http://snap-back-api/?code=hunter2", Contract::SnapapiKubelet, false, credentials),
        ("https://snap-back-api/?code=hunter2", Contract::SnapapiKubelet, false, None),
        ("http://127.0.0.1/?code=hunter2", Contract::SnapapiKubelet, false, None),
        ("http://snap-back-api/?", Contract::SnapapiKubelet, false, None),
        ("http://snap-back-api", Contract::SnapapiPodSpec, false, variables),
        ("http://snap-back-api", Contract::SnapapiPodSpec, true, both),
        ("https://snap-back-api", Contract::SnapapiPodSpec, true, None),
        ("http://localhost:8000", Contract::SnapapiPodSpec, true, None),
        ("http://127.0.0.2", Contract::SnapapiPodSpec, true, None),
        ("http://[::1]:8000", Contract::SnapapiPodSpec, true, None),
        ("http://localhost.example", Contract::SnapapiPodSpec, true, both),
    ] {
        assert_eq!(exposed(url, contract, token), expected, "{url} {contract} {token}");
    }
}

#[tokio::test]
async fn a_plain_server_behind_an_https_url_is_unreachable() {
    let server = Server::start(ok("{}")).await;
    let ca = file_with(&certificate().0);
    let url = server.url().replace("http:", "https:");
    let outcome = outcome(SnapHookSettings { ca_file: Some(ca.path().to_owned()), ..settings(&url) }).await;
    assert_eq!(outcome.as_str(), "Unreachable", "{outcome}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let nothing = file_with("no certificate");
    let http = || settings("http://snap-back-api");
    for (settings, expected) in [
        (settings("ftp://snap-back-api"), "has the scheme `ftp`"),
        (
            SnapHookSettings { contract: Contract::SnapapiKubelet, cluster_name: None, ..http() },
            "the contract `snapapi-kubelet` needs the name of the cluster",
        ),
        (
            SnapHookSettings { token_file: Some("token".into()), ..settings("http://bob:x@snap-back-api") },
            "use one of them",
        ),
        (
            SnapHookSettings { ca_file: Some("no/such/file".into()), ..http() },
            "could not read the CA file `no/such/file`",
        ),
        (SnapHookSettings { ca_file: Some(nothing.path().to_owned()), ..http() }, "is not a list of PEM certificates"),
    ] {
        let error = SnapHook::new(settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_attempt_takes_at_most_both_timeouts() {
    let snaphook = SnapHook::new(settings("http://snap-back-api")).unwrap();
    assert_eq!(snaphook.longest_attempt(), REQUEST_TIMEOUT + RESPONSE_TIMEOUT);
    assert_eq!(snaphook.pod_need(), PodNeed::Nothing);
    let contract = Contract::SnapapiPodSpec;
    let snaphook = SnapHook::new(SnapHookSettings { contract, ..settings("http://snap-back-api") }).unwrap();
    assert_eq!(snaphook.pod_need(), PodNeed::Text);
}

#[tokio::test]
async fn the_same_404_for_several_pods_is_about_the_url() {
    let gateway = r#"{"message":"no Route matched with those values"}"#;
    let head = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{gateway}", gateway.len());
    let server = Server::start(Act::Answer(head.into())).await;
    let snaphook = SnapHook::new(settings(&server.url())).unwrap();
    let mut reasons = Vec::new();
    for name in ["web-0", "web-1", "web-2", "web-2"] {
        let mut request = request();
        request.pod.name = name.into();
        let outcome = snaphook.checkpoint(&request).await;
        reasons.push(outcome.as_str());
        assert_eq!(words(&outcome).contains("--snap-back-api-url"), reasons.len() > 2, "{outcome}");
    }
    assert_eq!(reasons, ["PodNotFound", "PodNotFound", "EndpointNotFound", "EndpointNotFound"]);
}

#[tokio::test]
async fn the_query_of_the_url_is_not_shown_beside_a_token() {
    let server = Server::start(Act::Echo).await;
    let file = file_with("the-token");
    let url = format!("{}/?mode=opensesame", server.url());
    let outcome = outcome(SnapHookSettings { token_file: Some(file.path().to_owned()), ..settings(&url) }).await;
    assert!(server.requests()[0].starts_with("POST /kubelet/checkpoint?mode=opensesame "), "{}", server.requests()[0]);
    assert!(!words(&outcome).contains("opensesame") && !words(&outcome).contains("the-token"), "{outcome}");
}
