//! Bodies that are not as announced, endless or very large: the client gets a response or a clean close, and the next review
//! is answered.
//!
//! Bodies of the announced length with wrong content: tests/admission_malformed.rs and tests/admission_wire.rs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use lab::objects::pod;
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{Namespace, Snapwatcher, WebhookClient, in_namespace, review_of_creation};
use serde_json::Value;
use snapwatcher_admission::{MUTATE, REVIEW_LIMIT, VALIDATE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// No response and no close takes longer. The server waits for a permit and for the rest of a body.
const TIMEOUT: Duration = Duration::from_secs(30);

async fn webhook_client(ns: &Namespace) -> (Arc<Snapwatcher>, WebhookClient) {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--body-timeout=2s"]).await;
    let webhook_client = WebhookClient::of(ns, &watcher).await.unwrap();
    (watcher, webhook_client)
}

fn review() -> Value {
    review_of_creation("uid-1", "shop", &pod("web").labelled().build())
}

fn head(more: &str) -> String {
    format!("POST {MUTATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
}

/// Sends the bytes, then the filler again and again while the server reads. Returns all that the server sends.
async fn send(webhook_client: &WebhookClient, bytes: &[u8], filler: &[u8]) -> String {
    let stream = webhook_client.connect(webhook_client.tls(&["http/1.1"])).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        writer.write_all(bytes).await?;
        while !filler.is_empty() {
            writer.write_all(filler).await?;
        }
        writer.flush().await?;
        // Everything is sent. The response ends the wait.
        std::future::pending::<std::io::Result<()>>().await
    };
    let mut said = Vec::new();
    let exchange = async {
        tokio::select! {
            end = reader.read_to_end(&mut said) => drop(end),
            // The server has closed. Its response may not be read yet.
            _ = writing => {}
        }
    };
    timeout(TIMEOUT, exchange).await.unwrap();
    let rest = timeout(TIMEOUT, reader.read_to_end(&mut said)).await.unwrap();
    assert!(
        rest.as_ref().err().is_none_or(|error| {
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        }),
        "{rest:?}"
    );
    String::from_utf8_lossy(&said).into_owned()
}

async fn assert_serving(webhook_client: &WebhookClient, case: &str) {
    let reply = webhook_client.review(MUTATE, &review()).await.unwrap();
    assert!(reply.status == 200 && reply.body.contains("\"patch\""), "{case}: {reply:?}");
}

#[tokio::test]
async fn a_body_that_lies_about_its_length_costs_only_its_own_connection() {
    in_namespace("a_body_that_lies_about_its_length", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let review = review().to_string();
        let chunk = format!("{:x}\r\n{}\r\n", 16 * 1024, " ".repeat(16 * 1024));
        let length = |length: usize| head(&format!("connection: close\r\ncontent-length: {length}"));
        let chunked = head("transfer-encoding: chunked");
        for (case, bytes, filler, expected) in [
            ("longer than announced", length(10) + &review, "", &["400"][..]),
            ("shorter than announced", length(review.len() + 10) + &review, "", &["408"]),
            ("nothing of what was announced", length(REVIEW_LIMIT), "", &["408"]),
            ("chunks without an end", chunked.clone(), chunk.as_str(), &["413", ""]),
            ("a gigabyte announced", length(1 << 30), &chunk, &["413", ""]),
            ("a chunk of 2^64 - 1 bytes", chunked.clone() + "ffffffffffffffff\r\n", &chunk, &["413", "400", ""]),
            ("a chunk of more than 2^64 bytes", chunked + "fffffffffffffffff\r\n", "", &["400", ""]),
            (
                "two kinds of length",
                head("transfer-encoding: chunked\r\ncontent-length: 5") + "0\r\n\r\n",
                "",
                &["400"],
            ),
        ] {
            let said = send(&webhook_client, bytes.as_bytes(), filler.as_bytes()).await;
            let status = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default();
            assert!(expected.contains(&status), "{case}: {said}");
            assert!(!said.contains("AdmissionReview\""), "{case}: {said}");
            assert_serving(&webhook_client, case).await;
        }
        // The ten bytes of a gzip header: SnapWatcher decodes no encoding.
        let zipped = head("connection: close\r\ncontent-encoding: gzip\r\ncontent-length: 10").into_bytes();
        let said = send(&webhook_client, &[&zipped[..], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]].concat(), b"").await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_long_bodies_takes_little_memory_and_nothing_from_short_ones() {
    in_namespace("a_crowd_of_long_bodies_takes_little_memory", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--body-timeout=5s"]).await;
        let webhook_client = WebhookClient::of(&ns, &watcher).await.unwrap();
        let resident = async || resident_mib(watcher.pid().await);
        let (crowd, before) = (Size::chosen().of(200, 1_000), resident().await);
        // The longest allowed body without its last byte.
        let body: Arc<[u8]> =
            (head(&format!("content-length: {REVIEW_LIMIT}")) + &" ".repeat(REVIEW_LIMIT - 1)).into_bytes().into();
        let mut clients = JoinSet::new();
        for _ in 0..crowd {
            let (webhook_client, body) = (webhook_client.clone(), Arc::clone(&body));
            clients.spawn(async move { send(&webhook_client, &body, b"").await });
        }
        let mut most = before;
        let mut said = Vec::new();
        while !clients.is_empty() {
            most = most.max(resident().await);
            assert_serving(&webhook_client, "a short one").await;
            while let Some(ended) = clients.try_join_next() {
                said.push(ended.unwrap());
            }
        }
        // 8 bodies of 7 MiB, 64 KiB of each body with as much again in buffers of HTTP and TLS, and what the allocator
        // still holds of freed buffers.
        let bound = before + 8 * 7 + crowd / 8 + 48;
        print_result(&format!(
            "rude_bodies: {crowd} bodies of 7 MiB, {before} MiB before, at most {most} MiB of {bound}"
        ));
        assert!(most <= bound, "{most} MiB of {bound}");
        assert!(said.iter().all(|said| said.is_empty() || said.starts_with("HTTP/1.1 408 ")), "{said:?}");
        let long = format!("{}{}", review(), " ".repeat(1 << 20));
        assert_eq!(
            webhook_client.post(MUTATE, "application/json", long).await.unwrap().status,
            200,
            "the permits are free again"
        );
    })
    .await;
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn a_body_that_is_large_inside_is_answered() {
    in_namespace("a_body_that_is_large_inside_is_answered", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let good = review().to_string();
        let depth = 10_000;
        let deep = |open: &str, close: &str| {
            good.replacen(
                "\"spec\":{",
                &format!("\"spec\":{{\"deep\":{}1{},", open.repeat(depth), close.repeat(depth)),
                1,
            )
        };
        let mut labels = String::new();
        for number in 0..200_000 {
            write!(labels, "\"l{number}\":\"\",").unwrap();
        }
        let labels = good.replacen("\"labels\":{", &format!("\"labels\":{{{labels}"), 1);
        // The shortest label a million times: an empty key and an empty value.
        let million = good.replacen("\"labels\":{", &format!("\"labels\":{{{}", "\"\":\"\",".repeat(1_000_000)), 1);
        for (case, body, expected) in [
            ("arrays, 10,000 deep", deep("[", "]"), &[200, 400][..]),
            ("objects, 10,000 deep", deep("{\"a\":", "}"), &[200, 400]),
            ("200,000 labels", labels, &[200]),
            ("a million labels", million, &[200]),
        ] {
            assert!(body.len() <= REVIEW_LIMIT, "{case}: {}", body.len());
            for path in [MUTATE, VALIDATE] {
                let reply = webhook_client.post(path, "application/json", body.clone()).await.unwrap();
                assert!(expected.contains(&reply.status), "{case}, {path}: {reply:?}");
            }
            assert_serving(&webhook_client, case).await;
        }
    })
    .await;
}
