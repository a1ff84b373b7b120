//! The responses to requests that no API server sends, over the real port: TLS that trusts the stored caBundle, and
//! malformed HTTP requests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::objects::pod;
use lab::webhooks::{ADMISSION, MUTATED, SNAP};
use lab::{Namespace, Snapwatcher, WebhookClient, in_namespace, review_of_creation};
use serde_json::{Value, json};
use snapwatcher_admission::{HEALTH, MUTATE, REVIEW_LIMIT, VALIDATE};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");
const JSON: &str = "application/json";

async fn webhook_client(ns: &Namespace) -> (Arc<Snapwatcher>, WebhookClient) {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
    let webhook_client = WebhookClient::of(ns, &watcher).await.unwrap();
    (watcher, webhook_client)
}

fn review(uid: &str) -> Value {
    review_of_creation(uid, "shop", &pod("web").labelled().build())
}

/// The `response` of a body that is a valid AdmissionReview with this uid.
fn response_of(body: &str, uid: &str, case: &str) -> Value {
    let review: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&review["apiVersion"], &review["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = review["response"].clone();
    assert_eq!((&response["uid"], &response["allowed"]), (&json!(uid), &json!(true)), "{case}");
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "{case}: both or neither");
    response
}

/// The paths of the patch in a response.
fn patched_paths(response: &Value) -> Vec<String> {
    let Some(patch) = response.get("patch").and_then(Value::as_str) else { return Vec::new() };
    assert_eq!(response["patchType"], json!("JSONPatch"));
    let operations: Vec<Value> = serde_json::from_slice(&BASE64.decode(patch).unwrap()).unwrap();
    assert!(operations.iter().all(|operation| operation["op"] == "add"), "{operations:?}");
    operations.iter().map(|operation| operation["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_request_that_is_no_review_gets_a_status_and_the_cause() {
    in_namespace("a_request_that_is_no_review_gets_a_status", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let good = review("uid-1").to_string();
        let old = good.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
        let truncated = good[..good.len() / 2].to_owned();
        for path in [MUTATE, VALIDATE] {
            for (case, content_type, body, status, words) in [
                ("another type", "text/plain", good.clone(), 415, "application/json"),
                ("YAML", "application/yaml", good.clone(), 415, "application/json"),
                ("no type", "", good.clone(), 415, "application/json"),
                ("v1beta1", JSON, old.clone(), 400, "admission.k8s.io/v1"),
                ("empty", JSON, String::new(), 400, "empty"),
                ("truncated", JSON, truncated.clone(), 400, "ends too early"),
                ("no JSON", JSON, "uid=1".to_owned(), 400, "not JSON"),
                ("another object", JSON, "{}".to_owned(), 400, "not an AdmissionReview"),
                ("too deep", JSON, "[".repeat(100_000), 400, "at line"),
                ("a response", JSON, good.replace("\"request\"", "\"response\""), 400, "no request"),
                ("parameters", "application/json; charset=utf-8", good.clone(), 200, "uid-1"),
            ] {
                let reply = webhook_client.post(path, content_type, body).await.unwrap();
                assert_eq!(reply.status, status, "{path}, {case}: {}", reply.body);
                assert!(reply.body.contains(words), "{path}, {case}: {}", reply.body);
                assert!(status == 200 || reply.body.lines().count() == 1, "{path}, {case}: {}", reply.body);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_rejected() {
    in_namespace("a_body_over_the_limit_is_rejected", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let good = review("uid-1").to_string();
        for path in [MUTATE, VALIDATE] {
            for (size, status) in [(REVIEW_LIMIT, 200), (REVIEW_LIMIT + 1, 413)] {
                let padded = format!("{good}{}", " ".repeat(size - good.len()));
                let reply = webhook_client.post(path, JSON, padded).await.unwrap();
                assert_eq!(reply.status, status, "{path}, {size} bytes: {}", reply.body);
                if status == 413 {
                    assert!(reply.body.contains("7 MiB"), "{}", reply.body);
                } else {
                    response_of(&reply.body, "uid-1", path);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn each_response_is_a_valid_review_with_the_same_uid() {
    in_namespace("each_response_is_a_valid_review", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut changed = review("-");
            change(&mut changed["request"]);
            changed
        };
        let mutated = "/metadata/labels/snap.weaversoft.io~1mutated";
        let annotations = "/metadata/annotations";
        let admission = "/metadata/annotations/snap.weaversoft.io~1admission";
        let all = vec![mutated, annotations, admission];
        for (case, review, paths) in [
            ("labelled", changed(&|_| ()), all.clone()),
            ("a dry run", changed(&|request| request["dryRun"] = json!(true)), all.clone()),
            ("no spec", changed(&|request| request["object"]["spec"] = Value::Null), all.clone()),
            (
                "annotations null",
                changed(&|request| request["object"]["metadata"]["annotations"] = Value::Null),
                all.clone(),
            ),
            (
                "annotated",
                changed(&|request| request["object"]["metadata"]["annotations"] = json!({"a": "b"})),
                vec![mutated, admission],
            ),
            (
                "a copy of a labeled pod",
                changed(&|request| {
                    request["object"]["metadata"]["annotations"] = json!({ADMISSION: "earlier"});
                    request["object"]["metadata"]["labels"][MUTATED] = json!("junk");
                }),
                vec![admission],
            ),
            ("no labels", changed(&|request| request["object"]["metadata"]["labels"] = Value::Null), vec![]),
            ("not opted in", changed(&|request| request["object"]["metadata"]["labels"][SNAP] = json!("True")), vec![]),
            (
                "a mirror pod",
                changed(&|request| {
                    request["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "hash"});
                }),
                vec![],
            ),
            ("an update", changed(&|request| request["operation"] = json!("UPDATE")), vec![]),
            ("a deletion", changed(&|request| request["object"] = Value::Null), vec![]),
            ("a subresource", changed(&|request| request["subResource"] = json!("status")), vec![]),
            ("another kind", changed(&|request| request["resource"]["resource"] = json!("services")), vec![]),
        ] {
            for path in [MUTATE, VALIDATE] {
                let uid = format!("{path} \"{case}\" \u{1F600}\n");
                let mut review = review.clone();
                review["request"]["uid"] = json!(uid);
                let reply = webhook_client.review(path, &review).await.unwrap();
                assert_eq!(reply.status, 200, "{path}, {case}: {}", reply.body);
                let response = response_of(&reply.body, &uid, case);
                let expected = if path == MUTATE { paths.clone() } else { Vec::new() };
                assert_eq!(patched_paths(&response), expected, "{path}, {case}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn health_and_unknown_paths_need_no_review() {
    in_namespace("health_and_unknown_paths_need_no_review", |ns| async move {
        let (_watcher, webhook_client) = webhook_client(&ns).await;
        let health = webhook_client.get(HEALTH).await.unwrap();
        assert_eq!((health.status, health.body.as_str()), (200, "ok"));
        for (path, status) in [("/", 404), ("/mutate/", 404), ("/metrics", 404), ("/readyz", 404), (MUTATE, 405)] {
            assert_eq!(webhook_client.get(path).await.unwrap().status, status, "{path}");
        }
        let unknown = webhook_client.review("/convert", &review("uid-1")).await.unwrap();
        assert_eq!(unknown.status, 404);
    })
    .await;
}
