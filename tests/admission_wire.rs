//! The webhook's port below the level of HTTP requests: TLS, ALPN, and bytes that are not valid HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::sync::Arc;

use lab::objects::pod;
use lab::{Namespace, Snapwatcher, WebhookClient, in_namespace, review_of_creation};
use rustls::{ClientConfig, RootCertStore};
use snapwatcher_admission::{HEALTH, MUTATE, REVIEW_LIMIT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

async fn webhook_client(ns: &Namespace) -> (Arc<Snapwatcher>, WebhookClient) {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
    let webhook_client = WebhookClient::of(ns, &watcher).await.unwrap();
    (watcher, webhook_client)
}

/// Sends these bytes over TLS, and returns everything received until the server closes the connection.
async fn exchange(webhook_client: &WebhookClient, bytes: &[u8]) -> String {
    let mut stream = webhook_client.connect(webhook_client.tls(&["http/1.1"])).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    // A server may close without close_notify; only the bytes before that matter.
    let end = stream.read_to_end(&mut received).await;
    assert!(end.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::UnexpectedEof), "{end:?}");
    String::from_utf8_lossy(&received).into_owned()
}

async fn is_serving(webhook_client: &WebhookClient) -> bool {
    webhook_client.get(HEALTH).await.is_ok_and(|reply| reply.status == 200)
}

fn review() -> String {
    review_of_creation("uid-1", "shop", &pod("web").labelled().build()).to_string()
}

#[tokio::test]
async fn only_http_1_is_offered() {
    in_namespace("only_http_1_is_offered", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        for (offered, chosen) in [
            (vec!["h2", "http/1.1"], Some(&b"http/1.1"[..])),
            (vec!["http/1.1"], Some(&b"http/1.1"[..])),
            (vec![], None),
        ] {
            let stream = webhook_client.connect(webhook_client.tls(&offered)).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
        }
        let error = webhook_client.connect(webhook_client.tls(&["h2"])).await.unwrap_err().to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
        // A client that sends HTTP/2 without ALPN gets no HTTP/2 either.
        let response = exchange(&webhook_client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{response}");
        assert!(is_serving(&webhook_client).await);
    })
    .await;
}

#[tokio::test]
async fn malformed_http_costs_only_its_own_connection() {
    in_namespace("malformed_http_costs_only_its_own_connection", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let long_head = format!("GET {HEALTH} HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-more: y\r\n".repeat(200));
        let post = format!("POST {MUTATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        for (case, bytes) in [
            ("no HTTP", "hello\r\n\r\n".to_owned()),
            ("no version", "GET /healthz\r\n\r\n".to_owned()),
            ("a header without a colon", format!("GET {HEALTH} HTTP/1.1\r\nhost\r\n\r\n")),
            ("too many headers", long_head),
            ("a length that is no number", format!("{post}content-length: many\r\n\r\n")),
            ("two lengths", format!("{post}content-length: 1\r\ncontent-length: 2\r\n\r\nab")),
            ("a chunk that is no chunk", format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n")),
        ] {
            let response = exchange(&webhook_client, bytes.as_bytes()).await;
            assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{case}: {response}");
            assert!(!response.contains("AdmissionReview"), "{case}: {response}");
            assert!(is_serving(&webhook_client).await, "{case}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_limit_applies_to_a_chunked_body_as_it_arrives() {
    in_namespace("the_limit_applies_to_a_chunked_body_as_it_arrives", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let head = format!(
            "POST {MUTATE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let review = review();
        let (first, last) = review.split_at(100);
        let whole = format!("{head}{}{}0\r\n\r\n", chunk(first), chunk(last));
        let response = exchange(&webhook_client, whole.as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("\"uid\":\"uid-1\""), "{response}");

        // One byte over the limit and no end: the response does not wait for the rest.
        let endless = format!("{head}{}{}", chunk(&review), chunk(&" ".repeat(REVIEW_LIMIT + 1 - review.len())));
        // A busy machine may need longer for it than a large body may take.
        let in_time = async || {
            let response = exchange(&webhook_client, endless.as_bytes()).await;
            if response.starts_with("HTTP/1.1 408 ") { Err(response) } else { Ok(response) }
        };
        let response = lab::until("a body beyond the limit arrives in time", in_time).await;
        assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    })
    .await;
}

#[tokio::test]
async fn a_client_without_tls_or_without_trust_gets_no_response() {
    in_namespace("a_client_without_tls_or_without_trust_gets_no_response", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let mut plain = TcpStream::connect(webhook_client.address()).await.unwrap();
        plain.write_all(format!("GET {HEALTH} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut received = Vec::new();
        // Reset or closed: only the bytes before that matter.
        drop(plain.read_to_end(&mut received).await);
        assert!(!String::from_utf8_lossy(&received).contains("HTTP/"), "{received:?}");

        let no_roots = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let error = webhook_client.connect(no_roots).await.unwrap_err().to_string();
        assert!(error.contains("UnknownIssuer"), "{error}");
        assert!(is_serving(&webhook_client).await);
    })
    .await;
}
