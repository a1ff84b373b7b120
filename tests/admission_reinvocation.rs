//! Admission beside another webhook: asked a second time about the same pod, it changes nothing.

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

/// What the other webhook writes on a pod, once.
const MARK: &str = "stranger.example/was-here";

/// Another webhook, which is asked after ours and changes the pod: so ours is asked again.
struct Stranger {
    name: String,
    configurations: Api<MutatingWebhookConfiguration>,
    handle: Handle<std::net::SocketAddr>,
}

impl Stranger {
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

        // The API server asks in the order of names.
        let name = format!("{}-stranger", ns.name());
        let configurations = Api::all(ns.client());
        let scope = Scope::Namespace(ns.name().to_owned());
        let mut configuration = webhooks::mutating(&name, &scope, &address.to_string());
        let webhook = &mut configuration.webhooks.as_mut().unwrap()[0];
        webhook.client_config.ca_bundle = Some(ByteString(certificate.into_bytes()));
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        let stranger = Self { name, configurations, handle };
        let (pods, probe) = (ns.api::<Pod>(), pod("stranger-probe").labelled().build());
        ns.until("the API server calls the other webhook too", async || {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            pods.create(&dry_run, &probe).await.unwrap().annotations().contains_key(MARK)
        })
        .await;
        stranger
    }

    async fn end(self) {
        self.configurations.delete(&self.name, &DeleteParams::default()).await.unwrap();
        self.handle.shutdown();
    }
}

/// The answer that marks a pod which has annotations and no mark yet.
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

/// How many reviews were answered with this decision.
async fn answered(watcher: &Snapwatcher, decision: &str) -> u64 {
    let series = format!("snapwatcher_admission_requests_total{{webhook=\"mutate\",decision=\"{decision}\"}} ");
    let metrics = watcher.metrics().await.unwrap();
    metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_second_call_about_the_same_pod_changes_nothing() {
    in_namespace("a_second_call_about_the_same_pod_changes_nothing", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let stranger = Stranger::start(&ns).await;
        let before = (answered(&watcher, "patched").await, answered(&watcher, "left").await);

        let stored = ns.create_object(&pod("web").labelled().hold().build()).await;

        let after = (answered(&watcher, "patched").await, answered(&watcher, "left").await);
        assert_eq!(after, (before.0 + 1, before.1 + 1), "called twice, patched once");
        assert_eq!(stored.labels().get(MUTATED).map(String::as_str), Some("false"));
        assert!(stored.annotations().contains_key(MARK), "{:?}", stored.annotations());
        assert_eq!(stored.annotations().get(ADMISSION).map(String::len), Some(36));
        // The annotation is that of the call which wrote it: this process knows it.
        ns.until("the pod's timeline is joined to its admission", async || {
            let shown = watcher.pod_timelines().await.unwrap();
            let timelines = shown["pods"].as_array().cloned().unwrap_or_default();
            let timeline = timelines.iter().find(|timeline| timeline["uid"] == *stored.metadata.uid.as_ref().unwrap());
            timeline.is_some_and(|timeline| timeline["admission"]["by_other_replica"] == false)
        })
        .await;
        stranger.end().await;
    })
    .await;
}
