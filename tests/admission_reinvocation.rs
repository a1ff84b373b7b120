//! Admission beside another webhook: a second call about the same pod, which has another UID, changes the annotation alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;

use axum::routing::post;
use axum::{Json, Router};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use lab::objects::pod;
use lab::webhooks::{self, ADMISSION, MUTATED, Scope};
use lab::{Namespace, Snapwatcher, in_namespace, install_crypto_provider};
use serde_json::{Value, json};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The annotation that the other webhook adds to a pod, once.
const MARK: &str = "other.example/was-here";

/// Another webhook. The API server calls it after ours, and it changes the pod, so the API server calls ours again.
struct OtherWebhook {
    name: String,
    configurations: Api<MutatingWebhookConfiguration>,
    handle: Handle<std::net::SocketAddr>,
}

impl OtherWebhook {
    async fn start(ns: &Namespace) -> Self {
        install_crypto_provider();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = RustlsConfig::from_pem(certificate.clone().into_bytes(), key.into_bytes()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, tls).unwrap().handle(handle.clone());
        let router = Router::new().route("/mutate", post(async |Json(review): Json<Value>| Json(marked(&review))));
        #[expect(clippy::disallowed_methods, reason = "the test ends it by its handle")]
        tokio::spawn(server.serve(router.into_make_service()));

        // The API server calls webhooks in the order of their configurations' names.
        let name = format!("{}-z-other", ns.name());
        let configurations = Api::all(ns.client());
        let scope = Scope::Namespace(ns.name().to_owned());
        let mut configuration = webhooks::mutating(&name, &scope, &address.to_string());
        let webhook = &mut configuration.webhooks.as_mut().unwrap()[0];
        webhook.client_config.ca_bundle = Some(ByteString(certificate.into_bytes()));
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        let other = Self { name, configurations, handle };
        let (pods, probe) = (ns.api::<Pod>(), pod("other-probe").labelled().build());
        ns.until("the API server calls the other webhook too", async || {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            pods.create(&dry_run, &probe).await.unwrap().annotations().contains_key(MARK)
        })
        .await;
        other
    }

    async fn end(self) {
        self.configurations.delete(&self.name, &DeleteParams::default()).await.unwrap();
        self.handle.shutdown();
    }
}

/// The response that adds the mark to a pod with annotations and no mark.
fn marked(review: &Value) -> Value {
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    let annotations = &request["object"]["metadata"]["annotations"];
    if annotations.is_object() && annotations.get(MARK).is_none() {
        let pointer = format!("/metadata/annotations/{}", MARK.replace('/', "~1"));
        let operations = json!([{"op": "add", "path": pointer, "value": "yes"}]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64.encode(operations.to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

/// How many reviews had this decision.
async fn reviews(watcher: &Snapwatcher, decision: &str) -> u64 {
    let series = format!("snapwatcher_admission_requests_total{{webhook=\"mutate\",decision=\"{decision}\"}} ");
    let metrics = watcher.metrics().await.unwrap();
    metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_second_call_about_the_same_pod_changes_the_uid_of_its_admission_alone() {
    in_namespace("a_second_call_about_the_same_pod_changes_the_uid_alone", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let other = OtherWebhook::start(&ns).await;
        let before = (reviews(&watcher, "patched").await, reviews(&watcher, "left").await);

        let stored = ns.create_object(&pod("web").labelled().hold().build()).await;

        let after = (reviews(&watcher, "patched").await, reviews(&watcher, "left").await);
        assert_eq!(after, (before.0 + 2, before.1), "called twice, each time with another UID");
        assert_eq!(stored.labels().get(MUTATED).map(String::as_str), Some("false"));
        assert!(stored.annotations().contains_key(MARK), "{:?}", stored.annotations());
        assert_eq!(stored.annotations().get(ADMISSION).map(String::len), Some(36));
        // The annotation has the UID of the last call, which this process has stored.
        ns.until("the pod's timeline has its admission", async || {
            let shown = watcher.pod_timelines().await.unwrap();
            let timelines = shown["pods"].as_array().cloned().unwrap_or_default();
            let timeline = timelines.iter().find(|timeline| timeline["uid"] == *stored.metadata.uid.as_ref().unwrap());
            timeline.is_some_and(|timeline| timeline["admission"]["by_other_replica"] == false)
        })
        .await;
        other.end().await;
    })
    .await;
}
