//! Properties of the webhook's routes for all inputs; no API server is needed.
//!
//! The tests apply the patches by a strict implementation of RFC 6902, as the API server does: `add` into a missing map
//! fails.
#![expect(clippy::unwrap_used, reason = "outside a `#[test]` function too, a failed step fails the test")]

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use snapwatcher_admission::{AdmissionHandler, AdmissionMetrics, MUTATE, VALIDATE, ValidationMode, router};
use snapwatcher_api::keys;
use snapwatcher_state::PodTimelines;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

fn webhook(validation: ValidationMode) -> Router {
    let metrics = AdmissionMetrics::register(&mut prometheus_client::registry::Registry::default());
    router(AdmissionHandler::new(PodTimelines::new(), metrics, validation))
}

fn post(webhook: &Router, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body)).unwrap();
    let response = async {
        let response = webhook.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
    };
    runtime().block_on(response)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn review(uid: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "operation": "CREATE", "namespace": "default",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": pod,
        },
    })
}

/// The pod after the API server has applied the response.
fn admitted(webhook: &Router, uid: &str, mut pod: Value) -> Value {
    let (status, body) = post(webhook, MUTATE, review(uid, &pod).to_string().into_bytes());
    assert_eq!(status, StatusCode::OK);
    let review: Value = serde_json::from_slice(&body).unwrap();
    let response = &review["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!(uid), &json!(true)));
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some());
    if let Some(patch) = response["patch"].as_str() {
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

/// The annotation with the UID of the request.
const ADMISSION_POINTER: &str = "/metadata/annotations/snap.weaversoft.io~1admission";

/// Our own keys and keys with characters that JSON pointers escape; any text as values.
fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
    let ours = prop::sample::select(vec![
        keys::SNAP,
        keys::MUTATED,
        keys::ADMISSION,
        keys::MIRROR,
        keys::CONTAINERS,
        keys::DELAY,
        keys::ONCE_PER,
        keys::REVISION_LABEL,
        "snap.weaversoft.io~1mutated",
        "~0~1/",
    ]);
    let key = prop_oneof![ours.prop_map(str::to_owned), "[a-z/~.\"\\\\]{0,12}"];
    let value = prop_oneof![Just("true".to_owned()), Just("false".to_owned()), ".{0,16}"];
    btree_map(key, value, 0..8)
}

/// Metadata whose maps are absent, null, empty or filled; most pods are labeled.
fn any_pod() -> impl Strategy<Value = Value> {
    let labels = prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        2 => map().prop_map(|labels| Some(json!(labels))),
        6 => map().prop_map(|mut labels| {
            labels.insert(keys::SNAP.to_owned(), keys::OPTED_IN.to_owned());
            Some(json!(labels))
        }),
    ];
    let annotations = prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        4 => map().prop_map(|annotations| Some(json!(annotations))),
    ];
    (labels, annotations).prop_map(|(labels, annotations)| {
        let mut metadata = json!({"generateName": "web-"});
        for (key, map) in [("labels", labels), ("annotations", annotations)] {
            if let Some(map) = map {
                metadata[key] = map;
            }
        }
        json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}})
    })
}

/// JSON of any shape, with the keys of a review, so that the webhook reads some of it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["true", "CREATE", "pods", "v1", "windows", "/dev/kvm", "Socket"])
            .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "labels",
        "annotations",
        "spec",
        "os",
        "name",
        "hostIPC",
        "containers",
        "volumes",
        "hostPath",
        "path",
        "type",
        "resources",
        "limits",
        "claims",
        "volumeDevices",
        "volumeMounts",
        "ports",
        "protocol",
        keys::SNAP,
        keys::MUTATED,
        keys::CONTAINERS,
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let object = btree_map(key.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![vec(inner, 0..4).prop_map(Value::from), object.prop_map(|object| json!(object))]
    })
}

/// A review with one part replaced by other JSON.
fn broken_review() -> impl Strategy<Value = Value> {
    let pointers = vec![
        "",
        "/apiVersion",
        "/kind",
        "/request",
        "/request/uid",
        "/request/operation",
        "/request/namespace",
        "/request/resource",
        "/request/object",
        "/request/object/metadata",
        "/request/object/metadata/labels",
        "/request/object/metadata/annotations",
        "/request/object/spec",
        "/request/object/spec/containers",
    ];
    (any_pod(), prop::sample::select(pointers), any_json()).prop_map(|(pod, pointer, junk)| {
        let mut review = review("r-1", &pod);
        if let Some(part) = review.pointer_mut(pointer) {
            *part = junk;
        }
        review
    })
}

fn responds_without_panic(body: &[u8]) -> Result<(), TestCaseError> {
    for (path, mode) in
        [(MUTATE, ValidationMode::Warn), (VALIDATE, ValidationMode::Warn), (VALIDATE, ValidationMode::Deny)]
    {
        let (status, body) = post(&webhook(mode), path, body.to_vec());
        prop_assert!(matches!(status.as_u16(), 200 | 400), "{path}: {status}");
        if status == StatusCode::OK {
            let review: Value = serde_json::from_slice(&body).unwrap();
            prop_assert!(review["response"]["allowed"].is_boolean());
            let warnings = review["response"]["warnings"].as_array().cloned().unwrap_or_default();
            prop_assert!(warnings.iter().all(|warning| warning.as_str().unwrap().chars().count() <= 120));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_second_admission_changes_nothing_but_its_uid(pod in any_pod()) {
        let webhook = webhook(ValidationMode::Warn);
        let once = admitted(&webhook, "first", pod);
        let twice = admitted(&webhook, "first", once.clone());
        prop_assert_eq!(&twice, &once);
        // The API server calls again with another UID.
        let mut again = admitted(&webhook, "second", once.clone());
        if let Some(admission) = again.pointer_mut(ADMISSION_POINTER).filter(|admission| *admission == "second") {
            *admission = "first".into();
        }
        prop_assert_eq!(again, once);
    }

    #[test]
    fn an_admission_only_adds_to_what_others_have_written(pod in any_pod()) {
        let after = admitted(&webhook(ValidationMode::Warn), "first", pod.clone());
        for map in ["labels", "annotations"] {
            let before = pod["metadata"][map].as_object().into_iter().flatten();
            for (key, value) in before.filter(|(key, _)| map == "labels" || *key != keys::ADMISSION) {
                prop_assert_eq!(&after["metadata"][map][key], value);
            }
        }
        let labelled = pod["metadata"]["labels"][keys::SNAP] == keys::OPTED_IN;
        let mirror = pod["metadata"]["annotations"].get(keys::MIRROR).is_some();
        if labelled && !mirror {
            prop_assert!(after["metadata"]["labels"][keys::MUTATED].is_string());
            prop_assert!(after["metadata"]["annotations"][keys::ADMISSION].is_string());
        } else {
            prop_assert_eq!(after, pod);
        }
    }

    #[test]
    fn no_bytes_make_a_handler_panic(body in vec(any::<u8>(), 0..512)) {
        responds_without_panic(&body)?;
    }

    #[test]
    fn no_review_makes_a_handler_panic(review in broken_review()) {
        responds_without_panic(review.to_string().as_bytes())?;
    }

    #[test]
    fn no_damage_to_a_good_review_makes_a_handler_panic(
        pod in any_pod(), cut in option::of(0usize..600), damage in vec((0usize..600, any::<u8>()), 0..4)
    ) {
        let mut body = review("r-1", &pod).to_string().into_bytes();
        for (place, byte) in damage {
            let length = body.len();
            body[place % length] = byte;
        }
        body.truncate(cut.unwrap_or(usize::MAX));
        responds_without_panic(&body)?;
    }
}
