//! The back-end between an API server that is a function and a kubelet on a real socket, with TLS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_rustls::rustls::crypto;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use snapwatcher_api::outcome::{Location, Outcome};
use snapwatcher_api::pod::PodName;
use snapwatcher_kubernetes::cluster::{Cluster, PodDetail, PodNeed};

use crate::backend::{CheckpointBackend, CheckpointRequest};
use crate::test_api_server::{ApiRequest, api_server};
use crate::test_server::{Act, Server, UnsupportedAlgorithm, certificate, certificate_for, certificate_of, ok};

use super::client::Kubelet;
use super::probe::KubeletReadiness;
use super::settings::{AddressType, KubeletSettings, KubeletTrust};

const TOKEN: &str = "the-token-of-the-second-account";
const REQUEST_TIMEOUT: Duration = Duration::from_millis(600);

/// The API server of a cluster with one node, whose kubelet listens there; `change` is put over the node's status.
fn cluster(port: u16, change: Value) -> (Cluster, Arc<Mutex<Vec<ApiRequest>>>) {
    let (client, seen) = api_server(move |request, _| {
        if request.path.ends_with("/token") {
            return Ok(json!({
                "metadata": {}, "spec": {"audiences": [], "expirationSeconds": 600},
                "status": {"token": TOKEN, "expirationTimestamp": "2026-01-01T00:00:00Z"},
            }));
        }
        let mut node = json!({"metadata": {"name": "n1"}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }});
        for (key, value) in change.as_object().unwrap() {
            node["status"][key] = value.clone();
        }
        Ok(node)
    });
    let watch_timeout = Duration::from_secs(60);
    (
        Cluster {
            calls: client.clone(),
            watches: client,
            watch_timeout,
            ca_certificates: Some(Vec::new()),
            proxy: None,
        },
        seen,
    )
}

fn settings(trust: KubeletTrust) -> KubeletSettings {
    // An error means that another test has installed it.
    let _installed = crypto::ring::default_provider().install_default();
    KubeletSettings {
        request_timeout: REQUEST_TIMEOUT,
        checkpoint_timeout: Duration::from_millis(59_001),
        trust,
        address_types: vec![AddressType::InternalIP, AddressType::Hostname],
        service_account: "snapwatcher-kubelet".to_owned(),
        archive_bytes_per_day: 0,
    }
}

fn request() -> CheckpointRequest {
    CheckpointRequest {
        pod: PodName { namespace: "shop".into(), name: "web-0".into() },
        node: "n1".to_owned(),
        container: "app".to_owned(),
        pod_uid: "u".to_owned(),
        checkpoint_uid: "6d2f0c1e".to_owned(),
        is_automatic: false,
        idempotency_key: "6d2f0c1e-0".to_owned(),
        pod_detail: PodDetail::Nothing,
    }
}

/// A kubelet that acts so, whose certificate is trusted, and the back-end that sends requests to it.
async fn trusted(act: Act) -> (Server, Kubelet) {
    let (pem, config) = certificate();
    let server = Server::start_tls(act, config).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let settings = settings(KubeletTrust::CaFile(file.path().to_owned()));
    let kubelet = Kubelet::new(settings, "snap", &cluster(server.port(), json!({})).0).unwrap();
    (server, kubelet)
}

fn answers(status: &str, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[tokio::test]
async fn the_kubelet_of_the_node_receives_the_token_of_the_second_account() {
    let archive = "/var/lib/kubelet/checkpoints/checkpoint-web-0_shop-app-2026-01-01T00:00:00Z.tar";
    let (server, kubelet) = trusted(ok(&format!(r#"{{"items":["{archive}"]}}"#))).await;
    for _ in 0..2 {
        let location =
            Location { archive: Some(archive.to_owned()), node: Some("n1".to_owned()), ..Location::default() };
        assert_eq!(kubelet.checkpoint(&request()).await, Outcome::Succeeded(location));
    }
    assert_eq!(server.connections(), 2, "an attempt is one connection");
    let request = server.requests().remove(0);
    assert!(request.starts_with("POST /checkpoint/shop/web-0/app?timeout=60 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nauthorization: Bearer {TOKEN}\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\n"), "it has no body: {request}");
}

#[tokio::test]
async fn archives_of_a_namespace_beyond_the_limit_of_a_day_are_not_requested() {
    let (server, _) = trusted(ok(r#"{"items":["/var/lib/kubelet/checkpoints/a.tar"]}"#)).await;
    let (cluster, _) = cluster(server.port(), json!({"allocatable": {"memory": "8Gi"}}));
    let settings = KubeletSettings { archive_bytes_per_day: 10 << 30, ..settings(KubeletTrust::Unverified) };
    let kubelet = Kubelet::new(settings, "snap", &cluster).unwrap();
    assert_eq!(kubelet.pod_need(), PodNeed::Limits);
    let attempt = async |namespace: &str, limits: Value| {
        let containers = json!([{"name": "other"}, {"name": "app", "resources": {"limits": limits}}]);
        let pod = json!({"spec": {"containers": containers}}).to_string();
        let pod_detail = PodDetail::Limits(serde_json::from_str(&pod).unwrap());
        let pod = PodName { namespace: namespace.into(), name: "web-0".into() };
        kubelet.checkpoint(&CheckpointRequest { pod, pod_detail, ..request() }).await
    };
    let limited = || json!({"memory": "1Gi", "ephemeral-storage": "3Gi"});
    for (namespace, limits, expected, remedy) in [
        ("shop", limited(), "Succeeded", ""),
        ("shop", limited(), "Succeeded", ""),
        ("shop", limited(), "TooSoon", "raise `--kubelet-archive-budget`"),
        ("shop", json!({"memory": "1Gi"}), "Succeeded", ""),
        ("shop", json!({}), "TooSoon", "give the container a memory limit"),
        ("shop", json!({"memory": "0"}), "TooSoon", "give the container a memory limit"),
        ("bank", json!({}), "Succeeded", ""),
        ("bank", limited(), "TooSoon", "namespace `bank` on node `n1`"),
    ] {
        let outcome = attempt(namespace, limits.clone()).await;
        assert_eq!(outcome.as_str(), expected, "{namespace} {limits}: {outcome}");
        assert!(outcome.to_string().contains(remedy), "{outcome}");
    }
    assert_eq!(server.connections(), 4, "nothing is sent for the others");
}

#[tokio::test]
async fn a_node_is_read_for_each_attempt_and_a_token_requested_once() {
    let (server, _) = trusted(answers("404 Not Found", "pod does not exist")).await;
    let (cluster, seen) = cluster(server.port(), json!({}));
    let kubelet = Kubelet::new(settings(KubeletTrust::Unverified), "snap", &cluster).unwrap();
    for _ in 0..2 {
        assert_eq!(kubelet.checkpoint(&request()).await.as_str(), "PodNotOnNode");
    }
    let paths: Vec<_> = seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect();
    let token = "/api/v1/namespaces/snap/serviceaccounts/snapwatcher-kubelet/token";
    assert_eq!(paths, ["/api/v1/nodes/n1", token, "/api/v1/nodes/n1"]);
}

#[tokio::test]
async fn a_token_that_a_kubelet_does_not_accept_is_replaced() {
    let (server, _) = trusted(answers("401 Unauthorized", "Unauthorized")).await;
    let (cluster, seen) = cluster(server.port(), json!({}));
    let kubelet = Kubelet::new(settings(KubeletTrust::Unverified), "snap", &cluster).unwrap();
    for _ in 0..2 {
        assert_eq!(kubelet.checkpoint(&request()).await.as_str(), "Unauthorized");
    }
    assert_eq!(seen.lock().unwrap().iter().filter(|seen| seen.path.ends_with("/token")).count(), 2);
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_explained_with_remedies_and_receives_no_token() {
    let (_, config) = certificate();
    let server = Server::start_tls(ok("{}"), config).await;
    let cluster = cluster(server.port(), json!({})).0;
    let kubelet = Kubelet::new(settings(KubeletTrust::ClusterCa), "snap", &cluster).unwrap();
    let outcome = kubelet.checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "KubeletUntrusted", "{outcome}");
    let text = outcome.to_string();
    for word in ["node `n1`", "serverTLSBootstrap", "--kubelet-ca-file", "--kubelet-insecure-skip-verify"] {
        assert!(text.contains(word), "{word} in: {text}");
    }
    assert_eq!(server.requests(), [""; 0]);
    let kubelet = Kubelet::new(settings(KubeletTrust::Unverified), "snap", &cluster).unwrap();
    assert_eq!(
        kubelet.checkpoint(&request()).await.as_str(),
        "InvalidResponse",
        "without verification it receives a request"
    );
}

#[tokio::test]
async fn a_certificate_that_is_the_ca_of_the_cluster_itself_is_trusted() {
    let (pem, config) = certificate_for(&["127.0.0.1"], true);
    let server = Server::start_tls(answers("404 Not Found", "pod does not exist"), config).await;
    let (mut cluster, _) = cluster(server.port(), json!({}));
    cluster.ca_certificates = Some(vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()]);
    let kubelet = Kubelet::new(settings(KubeletTrust::ClusterCa), "snap", &cluster).unwrap();
    let outcome = kubelet.checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "PodNotOnNode", "{outcome}");
}

#[tokio::test]
async fn an_unsupported_signature_algorithm_is_named_with_the_way_out() {
    let (ca, config) = certificate_of(UnsupportedAlgorithm::P256Sha512);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca).unwrap();
    let server = Server::start_tls(ok("{}"), config).await;
    let cluster = cluster(server.port(), json!({})).0;
    let settings = settings(KubeletTrust::CaFile(file.path().to_owned()));
    let outcome = Kubelet::new(settings, "snap", &cluster).unwrap().checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "KubeletUntrusted", "{outcome}");
    let words = "is not trusted (it, or a CA above it, is signed with ecdsa-with-SHA512, which SnapWatcher does not support): use \
                 certificates that RSA, P-256 or P-384 keys have signed with SHA-256 or SHA-384, or skip verification by \
                 `--kubelet-insecure-skip-verify`";
    assert!(outcome.to_string().ends_with(words), "{outcome}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_explained_by_its_names_and_another_type_of_address_helps() {
    let (pem, config) = certificate_for(&["localhost", "n1.example"], true);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let server = Server::start_tls(answers("404 Not Found", "pod does not exist"), config).await;
    let addresses = json!({"addresses": [
        {"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": "localhost"},
    ]});
    let cluster = cluster(server.port(), addresses).0;
    let mut settings = settings(KubeletTrust::CaFile(file.path().to_owned()));
    let outcome = Kubelet::new(settings.clone(), "snap", &cluster).unwrap().checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "KubeletUntrusted", "{outcome}");
    let words = "is not valid for its address 127.0.0.1, but for localhost, n1.example: set `--kubelet-preferred-address-types`";
    assert!(outcome.to_string().contains(words), "{outcome}");
    assert!(!outcome.to_string().contains("skip-verify"), "{outcome}");
    settings.address_types.reverse();
    let outcome = Kubelet::new(settings, "snap", &cluster).unwrap().checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "PodNotOnNode", "{outcome}");
}

#[tokio::test]
async fn a_kubelet_that_cannot_be_connected_to_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let silent = Server::start(Act::Hang).await;
    let plain = Server::start(ok("{}")).await;
    for (port, words) in [
        (
            port,
            format!("could not connect to the kubelet of node `n1` at https://127.0.0.1:{port}: connection refused"),
        ),
        (silent.port(), format!("at https://127.0.0.1:{} within 600ms", silent.port())),
        (plain.port(), "could not connect to the kubelet of node `n1`".to_owned()),
    ] {
        let kubelet = Kubelet::new(settings(KubeletTrust::Unverified), "snap", &cluster(port, json!({})).0).unwrap();
        let outcome = kubelet.checkpoint(&request()).await;
        assert_eq!(outcome.as_str(), "Unreachable", "{outcome}");
        assert!(outcome.to_string().contains(&words), "{outcome}");
    }
}

#[tokio::test]
async fn a_failure_after_connecting_is_no_response() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"items\":[";
    for act in [Act::CloseAtOnce, Act::CloseAfterRequest, Act::ResetAfterRequest, Act::Answer(half.into())] {
        let (server, kubelet) = trusted(act).await;
        let outcome = kubelet.checkpoint(&request()).await;
        assert_eq!(outcome.as_str(), "NoResponse", "{outcome}");
        assert!(outcome.to_string().contains("no complete response from the kubelet of node `n1`"), "{outcome}");
        assert_eq!(server.connections(), 1, "the request is never repeated");
    }
}

#[tokio::test]
async fn the_token_is_removed_from_a_response() {
    let (_server, kubelet) = trusted(Act::Echo).await;
    let outcome = kubelet.checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "BackendError");
    assert!(!outcome.to_string().contains(TOKEN), "{outcome}");
}

#[tokio::test]
async fn only_the_start_of_a_huge_response_is_read() {
    let (server, kubelet) = trusted(Act::Huge("200 OK")).await;
    assert_eq!(kubelet.checkpoint(&request()).await.as_str(), "InvalidResponse");
    assert!(server.sent_when_closed().await < 16 * 1024 * 1024);
}

#[tokio::test]
async fn a_node_with_disk_pressure_receives_no_request() {
    let (server, _) = trusted(ok("{}")).await;
    let pressure = json!({"conditions": [
        {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True", "message": "disk is full"},
    ]});
    let kubelet =
        Kubelet::new(settings(KubeletTrust::Unverified), "snap", &cluster(server.port(), pressure).0).unwrap();
    let outcome = kubelet.checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "DiskPressure");
    assert!(outcome.to_string().contains("disk is full"), "{outcome}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_costs_no_more_than_the_request_timeout() {
    let service = tower::service_fn(|_request: axum::http::Request<kube::client::Body>| async {
        std::future::pending::<Result<axum::http::Response<kube::client::Body>, kube::Error>>().await
    });
    let client = kube::Client::new(service, "default");
    let watch_timeout = Duration::from_secs(60);
    let cluster = Cluster { calls: client.clone(), watches: client, watch_timeout, ca_certificates: None, proxy: None };
    let kubelet = Kubelet::new(settings(KubeletTrust::Unverified), "snap", &cluster).unwrap();
    let started = Instant::now();
    let outcome = kubelet.checkpoint(&request()).await;
    assert_eq!(outcome.as_str(), "Unreachable");
    assert!(outcome.to_string().contains("the API server did not answer"), "{outcome}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_probe_shows_how_far_a_checkpoint_request_would_come() {
    for (status, body, readiness) in [
        ("404 Not Found", "pod does not exist", KubeletReadiness::Ready),
        ("404 Not Found", "404 page not found\n", KubeletReadiness::ApiDisabled),
        ("403 Forbidden", "Forbidden (user=x)", KubeletReadiness::Forbidden),
        ("401 Unauthorized", "Unauthorized", KubeletReadiness::Forbidden),
        ("200 OK", r#"{"items":["/a"]}"#, KubeletReadiness::Unexpected),
        ("502 Bad Gateway", "", KubeletReadiness::Unexpected),
    ] {
        let (server, kubelet) = trusted(answers(status, body)).await;
        let probed = kubelet.probe("n1").await;
        assert_eq!(probed.readiness, readiness, "{status}: {}", probed.message);
        assert!(probed.message.as_str().contains("the kubelet of node `n1`"), "{}", probed.message);
        let request = server.requests().remove(0);
        assert!(request.starts_with("POST /checkpoint/snap/SnapWatcher-probe/none?"), "{request}");
    }
    let (_, config) = certificate();
    let server = Server::start_tls(ok("{}"), config).await;
    let kubelet =
        Kubelet::new(settings(KubeletTrust::ClusterCa), "snap", &cluster(server.port(), json!({})).0).unwrap();
    assert_eq!(kubelet.probe("n1").await.readiness, KubeletReadiness::Untrusted);
}

#[test]
fn an_attempt_takes_at_most_the_time_for_connecting_the_checkpoint_and_ten_seconds() {
    let settings = settings(KubeletTrust::ClusterCa);
    assert_eq!(settings.longest_attempt(), REQUEST_TIMEOUT + settings.checkpoint_timeout + Duration::from_secs(10));
}
