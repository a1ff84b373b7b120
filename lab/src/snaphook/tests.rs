//! Each behaviour as a client sees it over a real socket.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn body(pod: &str) -> Value {
    json!({
        "pod_name": pod, "namespace": "shop", "node_name": "node-1", "container_name": "app",
        "kube_api_address": "https://kubernetes.default.svc",
    })
}

fn client() -> reqwest::Client {
    crate::access::install_crypto_provider();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0);
    builder.build().unwrap()
}

async fn send(hook: &SnapHook, pod: &str) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}{}", hook.url(), Contract::KubeletCheckpoint.path());
    client().post(url).header("Idempotency-Key", "key-0").json(&body(pod)).send().await
}

async fn text(hook: &SnapHook, pod: &str) -> (u16, String) {
    let answer = send(hook, pod).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Sends a request over a plain socket. Returns what was received and how the connection ended.
async fn raw(hook: &SnapHook) -> (String, std::io::Result<()>) {
    let payload = body("web").to_string();
    let path = Contract::KubeletCheckpoint.path();
    let length = payload.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{payload}"
    );
    let mut stream = TcpStream::connect(hook.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received).await.map(drop);
    (String::from_utf8(received).unwrap(), end)
}

#[tokio::test]
async fn a_valid_request_succeeds_and_is_recorded() {
    let hook = SnapHook::start().await.unwrap();
    let (status, answer) = text(&hook, "web").await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["success"], json!(true));
    let requests = hook.requests_for("shop", "web");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].contract, Some(Contract::KubeletCheckpoint));
    assert_eq!(requests[0].idempotency_key(), Some("key-0"));
    assert_eq!(requests[0].subject.container.as_deref(), Some("app"));
    assert_eq!(requests[0].body, body("web"));
    assert!(hook.requests_for("shop", "other").is_empty() && hook.violations().is_empty());
}

#[tokio::test]
async fn a_violation_is_rejected_whatever_behaviour_is_set() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::Empty);
    let url = hook.url();
    let post = |path: &str| client().post(format!("{url}{path}"));
    for (path, payload, status) in [
        ("/kubelet/checkpoint", json!({}), 422),
        ("/elsewhere", body("web"), 404),
        ("/kubelet/checkpoint", json!(7), 422),
    ] {
        assert_eq!(post(path).json(&payload).send().await.unwrap().status().as_u16(), status, "{path} {payload}");
    }
    let not_json = post("/kubelet/checkpoint").body("pod_name=web").send().await.unwrap();
    assert_eq!(not_json.status().as_u16(), 422);
    let no_post = client().get(format!("{url}/kubelet/checkpoint")).send().await.unwrap();
    assert_eq!(no_post.status().as_u16(), 405);
    assert_eq!(hook.violations().len(), 5, "{:?}", hook.violations());
}

#[tokio::test]
async fn responses_follow_the_behaviour() {
    let hook = SnapHook::start().await.unwrap();
    let refused = Behaviour::SuccessFalse { message: "no space".to_owned() };
    for (behaviour, status, part) in [
        (Behaviour::status(500), 500, "500"),
        (Behaviour::status(401), 401, "401"),
        (refused, 200, r#""success":false"#),
        (Behaviour::Garbage, 200, "<html>"),
        (Behaviour::NotAnObject, 200, "["),
        (Behaviour::Drip(Duration::from_millis(1)), 200, r#""success":true"#),
        (Behaviour::Delay(Duration::from_millis(50)), 200, r#""success":true"#),
    ] {
        hook.answer_with(behaviour.clone());
        let (code, answer) = text(&hook, "web").await;
        assert_eq!(code, status, "{behaviour:?}");
        assert!(answer.contains(part), "{behaviour:?}: {answer}");
    }
    hook.answer_with(Behaviour::Empty);
    assert_eq!(text(&hook, "web").await, (200, String::new()));
}

#[tokio::test]
async fn headers_of_a_response_are_sent() {
    let hook = SnapHook::start().await.unwrap();
    let headers = vec![("Retry-After".to_owned(), "7".to_owned())];
    hook.answer_with(Behaviour::Status { code: 503, headers, body: String::new() });
    assert_eq!(send(&hook, "web").await.unwrap().headers()["retry-after"], "7");
    hook.answer_with(Behaviour::Redirect { to: "http://b.invalid/".to_owned() });
    let redirect = send(&hook, "web").await.unwrap();
    assert_eq!(
        (redirect.status().as_u16(), redirect.headers()["location"].to_str().unwrap()),
        (307, "http://b.invalid/")
    );
}

#[tokio::test]
async fn a_delayed_response_takes_its_time() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::Delay(Duration::from_millis(300)));
    let started = Instant::now();
    assert_eq!(text(&hook, "web").await.0, 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_hanging_request_is_recorded_and_never_answered() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::Hang);
    let recorded = async {
        while hook.requests_for("shop", "web").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // An answer would come at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    tokio::select! {
        answer = send(&hook, "web") => panic!("{answer:?}"),
        () = recorded => {}
    }
}

#[tokio::test]
async fn half_a_body_ends_before_its_announced_length() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::HalfBody);
    let (received, _) = raw(&hook).await;
    assert!(received.starts_with("HTTP/1.1 200") && received.contains("\"checkpoint_path\""), "{received}");
    assert!(!received.ends_with('}'), "{received}");
    assert!(send(&hook, "web").await.unwrap().text().await.is_err());
}

#[tokio::test]
async fn a_reset_comes_after_the_request_was_read() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::Reset);
    let (received, end) = raw(&hook).await;
    assert_eq!((received.as_str(), end.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
    assert_eq!(hook.requests_for("shop", "web").len(), 1);
}

#[tokio::test]
async fn a_huge_answer_has_its_full_size() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::Huge);
    let mut answer = send(&hook, "web").await.unwrap();
    let announced = answer.content_length().unwrap();
    assert!(announced > (HUGE - 128 * 1024) as u64);
    let mut received = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        received += piece.len() as u64;
    }
    assert_eq!(received, announced);
}

#[tokio::test]
async fn a_closed_port_refuses_until_it_is_opened_again() {
    let hook = SnapHook::start().await.unwrap();
    hook.close_port().await;
    let refused = TcpStream::connect(hook.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    hook.reopen_port().await.unwrap();
    assert_eq!(text(&hook, "web").await.0, 200);
}

#[tokio::test]
async fn a_pods_behaviour_comes_before_the_next_and_the_general_one() {
    let hook = SnapHook::start().await.unwrap();
    hook.answer_with(Behaviour::status(500));
    hook.answer_next_with(1, &Behaviour::status(503));
    hook.answer_pod_with("db", Behaviour::Succeed);
    let mut seen = Vec::new();
    for pod in ["db", "web", "web", "db"] {
        seen.push(text(&hook, pod).await.0);
    }
    assert_eq!(seen, [200, 503, 500, 200]);
}
