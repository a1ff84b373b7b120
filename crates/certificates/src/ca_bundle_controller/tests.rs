//! Faults that a real API server does not have on demand, in simulated time. `tests/certificates.rs` uses a real one.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use futures::stream;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::service_fn;

use super::*;
use crate::bundle_status::ConfigurationKind;
use crate::certificate_authority::CertificateAuthority;
use snapwatcher_kubernetes::cluster::WATCH_TIMEOUT;

const NAME: &str = "snapwatcher";
/// The longest wait of a test, in simulated time.
const DEADLINE: Duration = Duration::from_secs(60);

/// An API server with one configuration, or none, and faults.
#[derive(Clone)]
struct FakeApi {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    configuration: Option<Value>,
    fault: Fault,
    reads: usize,
    applies: usize,
    refused: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    Unreachable,
    ForbidsApply,
    EndsWatches,
}

impl FakeApi {
    fn new(configuration: Option<Value>, fault: Fault) -> Self {
        let state = State { configuration, fault, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::Sender::new(1) }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|version| *version += 1);
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let reached = async {
            while !self.read(&wanted) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, reached).await.expect(what);
    }

    fn cluster(&self) -> Cluster {
        let api = self.clone();
        let client = Client::new(
            service_fn(move |request: Request<kube::client::Body>| {
                let api = api.clone();
                async move { api.respond(request).await }
            }),
            "default",
        );
        Cluster {
            calls: client.clone(),
            watches: client,
            watch_timeout: WATCH_TIMEOUT,
            ca_certificates: None,
            proxy: None,
        }
    }

    async fn respond(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, std::io::Error> {
        let fault = self.read(|state| state.fault);
        if fault == Fault::Unreachable {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
            return Err(std::io::Error::other("connection refused"));
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_watch = query.contains("watch=true");
        match (request.method(), is_watch) {
            (&Method::PATCH, _) => {
                self.change(|state| state.applies += 1);
                if fault == Fault::ForbidsApply {
                    return Ok(forbidden());
                }
                let body = request.into_body().collect_bytes().await.map_err(std::io::Error::other)?;
                let patch: Value = serde_json::from_slice(&body)?;
                let bundle = patch["webhooks"][0]["clientConfig"]["caBundle"].clone();
                self.change(|state| {
                    if let Some(configuration) = &mut state.configuration {
                        configuration["webhooks"][0]["clientConfig"]["caBundle"] = bundle;
                    }
                });
                Ok(json_response(&self.read(|state| state.configuration.clone()).unwrap_or_default()))
            }
            (_, true) => {
                let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
                Ok(self.watch(fault, version.and_then(|version| version.parse().ok()).unwrap_or_default()))
            }
            (_, false) => {
                let items: Vec<_> = self.read(|state| state.configuration.clone()).into_iter().collect();
                self.state.lock().unwrap_or_else(PoisonError::into_inner).reads += 1;
                let version = self.changes.borrow().to_string();
                Ok(json_response(&json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfigurationList",
                    "metadata": {"resourceVersion": version}, "items": items,
                })))
            }
        }
    }

    /// Sends the first change since that version, or ends at once.
    fn watch(&self, fault: Fault, since: u64) -> Response<Body> {
        if fault == Fault::EndsWatches {
            return Response::new(Body::empty());
        }
        let mut changes = self.changes.subscribe();
        let event = async move {
            let _ = changes.wait_for(|version| *version > since).await.map_err(std::io::Error::other)?;
            let object = json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": NAME},
            });
            Ok::<_, std::io::Error>(format!("{}\n", json!({"type": "MODIFIED", "object": object})))
        };
        Response::new(Body::from_stream(stream::once(event)))
    }
}

fn json_response(value: &Value) -> Response<Body> {
    Response::new(Body::from(value.to_string()))
}

fn forbidden() -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "snapwatcher may not patch",
    });
    let mut response = json_response(&status);
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

fn configuration() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "uid": "u-1"},
        "webhooks": [{
            "name": "pods.snap.weaversoft.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:8443/mutate"},
        }],
    })
}

/// A configuration with this bundle.
fn configuration_with(bundle: &str) -> Value {
    let mut configuration = configuration();
    let bundle = ByteString(bundle.as_bytes().to_vec());
    configuration["webhooks"][0]["clientConfig"]["caBundle"] = json!(bundle);
    configuration
}

fn certificate(content: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
}

/// The CA in the bundle of the tests. It has no generation.
fn own_ca() -> String {
    certificate("AAAA")
}

/// A bundle with that CA and another one.
fn both_cas() -> String {
    own_ca() + &certificate("BBBB")
}

/// Runs a controller against the server during `scenario`.
async fn run_with<S: Future<Output = ()>>(api: &FakeApi, scenario: impl FnOnce(Observer) -> S) {
    run_with_secret_reads(api, SecretReads::default(), scenario).await;
}

async fn run_with_secret_reads<S: Future<Output = ()>>(
    api: &FakeApi,
    secret_reads: SecretReads,
    scenario: impl FnOnce(Observer) -> S,
) {
    let status = watch::Sender::new(BundleStatus { mutating: Some(BundleState::Unknown), validating: None });
    let observer = Observer(status.subscribe());
    let bundle = CaBundle { pem: own_ca().into(), signing_ca: own_ca().into() };
    let (_keep_open, bundle) = watch::channel(Some(bundle));
    let (metrics, events) = (CertificateMetrics::default(), OwnPodEvents::default());
    let context = BundleControllerContext { cluster: api.cluster(), bundle, status, secret_reads, metrics, events };
    let controller = CaBundleController::<MutatingWebhookConfiguration>::new(NAME.to_owned(), context);
    tokio::select! {
        never = controller.run() => match never {},
        () = scenario(observer) => {}
    }
}

struct Observer(watch::Receiver<BundleStatus>);

impl Observer {
    /// Waits for a state and returns the bundle that is trusted then.
    async fn until(&mut self, what: &str, wanted: impl Fn(&BundleState) -> bool) -> Option<String> {
        let is_wanted = |status: &BundleStatus| status.get(ConfigurationKind::Mutating).is_some_and(&wanted);
        if let Ok(Ok(found)) = timeout(DEADLINE, self.0.wait_for(is_wanted)).await {
            return found.trusts().next().map(|(_, trust)| trust.ca_bundle.to_string());
        }
        panic!("waited for {what}, last was: {}", *self.0.borrow());
    }

    fn is_known(&self) -> bool {
        self.0.borrow().is_known()
    }
}

fn failed(state: &BundleState) -> bool {
    matches!(state, BundleState::Failed(_))
}

fn in_sync(state: &BundleState) -> bool {
    matches!(state, BundleState::InSync(_))
}

fn changed(state: &BundleState) -> bool {
    matches!(state, BundleState::Changed(_))
}

#[tokio::test(start_paused = true)]
async fn the_bundle_is_written_and_written_again_after_a_change() {
    let api = FakeApi::new(Some(configuration()), Fault::None);
    run_with(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        api.change(|state| state.configuration = Some(configuration()));
        api.until("the bundle is applied again", |state| state.applies == 2).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_bundle_is_not_in_sync_until_it_is_read_back() {
    let api = FakeApi::new(Some(configuration()), Fault::None);
    run_with(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        api.change(|state| state.configuration = Some(configuration_with(&both_cas())));
        let read = status.until("the change", changed).await;
        assert_eq!(read, Some(both_cas()), "the bundle by which the API server verifies this replica");
        assert_eq!(status.until("in sync again", in_sync).await, Some(own_ca()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_bundle_that_trusts_this_replica_stays_while_the_secret_is_unreadable() {
    let (api, secret_reads) = (FakeApi::new(Some(configuration()), Fault::None), SecretReads::default());
    run_with_secret_reads(&api, secret_reads.clone(), async |mut status| {
        status.until("in sync", in_sync).await;
        secret_reads.set_secret_unreadable(true);
        let applies = api.read(|state| state.applies);
        api.change(|state| state.configuration = Some(configuration_with(&both_cas())));
        status.until("the change", changed).await;
        // A changed bundle is overwritten at the second read. Here it is read more often.
        for _ in 0..3 {
            let reads = api.read(|state| state.reads);
            api.change(|_| ());
            api.until("it is read again", |state| state.reads > reads).await;
        }
        assert_eq!(api.read(|state| state.applies), applies, "another replica may serve by the other CA");
        secret_reads.set_secret_unreadable(false);
        api.change(|_| ());
        status.until("in sync again", in_sync).await;
    })
    .await;
}

/// A replica that was paused while its CA was revoked reads the configuration before the Secret.
#[tokio::test(start_paused = true)]
async fn a_bundle_with_a_later_ca_stays_until_the_secret_was_read_after_it() {
    let (api, secret_reads) = (FakeApi::new(Some(configuration()), Fault::None), SecretReads::default());
    run_with_secret_reads(&api, secret_reads.clone(), async |mut status| {
        status.until("in sync", in_sync).await;
        let applies = api.read(|state| state.applies);
        secret_reads.set_secret_read(Instant::now());
        let life = Duration::from_secs(3600);
        let later = CertificateAuthority::generate(life, snapwatcher_daemon::clock::now()).unwrap().certificate_pem();
        api.change(|state| state.configuration = Some(configuration_with(&later)));
        assert_eq!(status.until("the change", changed).await, Some(later));
        secret_reads.secret_reread_requested().await;
        let reads = api.read(|state| state.reads);
        api.until("it is read again and again", |state| state.reads > reads + 3).await;
        assert_eq!(api.read(|state| state.applies), applies, "the Secret may revoke the CA of this replica");
        secret_reads.set_secret_read(Instant::now());
        status.until("in sync again", in_sync).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_without_webhooks_counts_as_missing() {
    let mut empty = configuration();
    empty["webhooks"] = json!([]);
    let api = FakeApi::new(Some(empty), Fault::None);
    run_with(&api, async |mut status| {
        status.until("missing", |state| *state == BundleState::Missing).await;
        api.change(|state| state.configuration = Some(configuration()));
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_api_server_at_the_start_is_retried() {
    let api = FakeApi::new(Some(configuration()), Fault::Unreachable);
    run_with(&api, async |mut status| {
        status.until("a failure", failed).await;
        assert!(!status.is_known());
        api.change(|state| state.fault = Fault::None);
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_apply_is_a_failure_until_it_is_allowed() {
    let api = FakeApi::new(Some(configuration()), Fault::ForbidsApply);
    run_with(&api, async |mut status| {
        status.until("a failure", |state| state.to_string().ends_with("snapwatcher may not patch")).await;
        assert!(!status.is_known());
        api.change(|state| state.fault = Fault::None);
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_created_later_gets_its_bundle() {
    let api = FakeApi::new(None, Fault::None);
    run_with(&api, async |mut status| {
        status.until("missing", |state| *state == BundleState::Missing).await;
        assert!(status.is_known());
        api.change(|state| state.configuration = Some(configuration()));
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_last_state_stays_while_the_api_server_is_unreachable() {
    let api = FakeApi::new(Some(configuration()), Fault::None);
    run_with(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        api.change(|state| state.fault = Fault::Unreachable);
        api.until("the outage is noticed, and tried again", |state| state.refused >= 3).await;
        assert!(status.is_known());
        status.until("in sync still", in_sync).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_each_watch_at_once_is_read_once_a_second() {
    let api = FakeApi::new(Some(configuration()), Fault::EndsWatches);
    run_with(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        let before = api.read(|state| state.reads);
        // In simulated time, so that the number of reads is exact.
        tokio::time::sleep(60 * MIN_INTERVAL).await;
        let reads = api.read(|state| state.reads) - before;
        assert!((59..=61).contains(&reads), "{reads} reads in 60 s");
    })
    .await;
}
