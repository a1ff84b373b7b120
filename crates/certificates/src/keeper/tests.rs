//! Faults that a real API server does not have on demand; its ordinary ways are tested against a real one.

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
use crate::bundle::bundle_pem;
use crate::{Authority, Kind};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::WATCH_TIMEOUT;

const BUNDLE: &str = "PEM";
const NAME: &str = "snapwatcher";
/// No wait of a test's is longer.
const SOON: Duration = Duration::from_secs(10);

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
    looks: usize,
    applies: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    Away,
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
        timeout(SOON, reached).await.expect(what);
    }

    fn cluster(&self) -> Cluster {
        let api = self.clone();
        let client = Client::new(
            service_fn(move |request: Request<kube::client::Body>| {
                let api = api.clone();
                async move { api.answer(request).await }
            }),
            "default",
        );
        Cluster { calls: client.clone(), watches: client, watch_timeout: WATCH_TIMEOUT, ca_certificates: None }
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, std::io::Error> {
        let fault = self.read(|state| state.fault);
        if fault == Fault::Away {
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
                Ok(json_answer(&self.read(|state| state.configuration.clone()).unwrap_or_default()))
            }
            (_, true) => {
                let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
                Ok(self.watch(fault, version.and_then(|version| version.parse().ok()).unwrap_or_default()))
            }
            (_, false) => {
                let items: Vec<_> = self.read(|state| state.configuration.clone()).into_iter().collect();
                self.state.lock().unwrap_or_else(PoisonError::into_inner).looks += 1;
                let version = self.changes.borrow().to_string();
                Ok(json_answer(&json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfigurationList",
                    "metadata": {"resourceVersion": version}, "items": items,
                })))
            }
        }
    }

    /// Tells the first change since that version, or ends at once.
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

fn json_answer(value: &Value) -> Response<Body> {
    Response::new(Body::from(value.to_string()))
}

fn forbidden() -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "snapwatcher may not patch",
    });
    let mut answer = json_answer(&status);
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
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

/// A configuration that trusts this.
fn trusting(bundle: &str) -> Value {
    let mut configuration = configuration();
    let bundle = ByteString(bundle.as_bytes().to_vec());
    configuration["webhooks"][0]["clientConfig"]["caBundle"] = json!(bundle);
    configuration
}

/// Runs a keeper against the server while `scenario` looks on.
async fn kept<S: Future<Output = ()>>(api: &FakeApi, scenario: impl FnOnce(Observer) -> S) {
    kept_with(api, Bundle { text: BUNDLE.into(), serving: None, shared_until: None }, Arc::default(), scenario).await;
}

/// The same with another bundle, and word of whether the Secret can't be read.
async fn kept_with<S: Future<Output = ()>>(
    api: &FakeApi,
    bundle: Bundle,
    unread: Arc<AtomicBool>,
    scenario: impl FnOnce(Observer) -> S,
) {
    let status = watch::Sender::new(BundleStatus { mutating: Some(Keeping::Unknown), validating: None });
    let observer = Observer(status.subscribe());
    let (_keep_open, bundle) = watch::channel(Some(bundle));
    let (look, metrics) = (Arc::default(), CertificateMetrics::default());
    let parts = Parts { cluster: api.cluster(), bundle, status, look, unread, metrics, tell: Arc::new(|_, _| ()) };
    let keeper = Keeper::<MutatingWebhookConfiguration>::new(NAME.to_owned(), parts);
    tokio::select! {
        never = keeper.keep() => match never {},
        () = scenario(observer) => {}
    }
}

struct Observer(watch::Receiver<BundleStatus>);

impl Observer {
    /// Waits for it; returns the bundle that is trusted then.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Keeping) -> bool) -> Option<String> {
        let is_wanted = |status: &BundleStatus| status.of(Kind::Mutating).is_some_and(&wanted);
        if let Ok(Ok(found)) = timeout(SOON, self.0.wait_for(is_wanted)).await {
            return found.trusts().next().map(|(_, trust)| trust.bundle.to_string());
        }
        panic!("waited for {what}, last was: {}", *self.0.borrow());
    }

    fn is_settled(&self) -> bool {
        self.0.borrow().is_settled()
    }
}

fn failed(keeping: &Keeping) -> bool {
    matches!(keeping, Keeping::Failed(_))
}

fn in_sync(keeping: &Keeping) -> bool {
    matches!(keeping, Keeping::InSync(_))
}

fn changed(keeping: &Keeping) -> bool {
    matches!(keeping, Keeping::Changed(_))
}

#[tokio::test]
async fn a_bundle_is_put_in_and_put_back() {
    let api = FakeApi::new(Some(configuration()), Fault::None);
    kept(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        api.change(|state| state.configuration = Some(configuration()));
        api.until("the bundle is applied again", |state| state.applies == 2).await;
    })
    .await;
}

/// The CA that signs, it and another one, and a bundle of it.
fn authorities() -> (String, String, Bundle) {
    let certificate = |content: &str| format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
    let (ours, both) = (certificate("AAAA"), certificate("AAAA") + &certificate("BBBB"));
    let bundle = Bundle { text: ours.as_str().into(), serving: Some(ours.as_str().into()), shared_until: None };
    (ours, both, bundle)
}

#[tokio::test]
async fn a_bundle_that_somebody_changed_does_not_count_as_ours_until_it_is_read_back() {
    let api = FakeApi::new(Some(configuration()), Fault::None);
    let (ours, both, bundle) = authorities();
    kept_with(&api, bundle, Arc::default(), async |mut status| {
        status.until("in sync", in_sync).await;
        api.change(|state| state.configuration = Some(trusting(&both)));
        assert_eq!(status.until("the change", changed).await, Some(both), "what the API server verifies us by");
        assert_eq!(status.until("in sync again", in_sync).await, Some(ours));
    })
    .await;
}

#[tokio::test]
async fn a_bundle_that_trusts_what_is_served_stays_while_nothing_tells_why_it_was_changed() {
    let (api, unread) = (FakeApi::new(Some(configuration()), Fault::None), Arc::<AtomicBool>::default());
    let (_, both, bundle) = authorities();
    kept_with(&api, bundle, unread.clone(), async |mut status| {
        status.until("in sync", in_sync).await;
        unread.store(true, Ordering::Relaxed);
        let applies = api.read(|state| state.applies);
        api.change(|state| state.configuration = Some(trusting(&both)));
        status.until("the change", changed).await;
        // Longer than a bundle is doubted.
        tokio::time::sleep(3 * BETWEEN_LOOKS).await;
        assert_eq!(api.read(|state| state.applies), applies, "another replica may serve by the other CA");
        unread.store(false, Ordering::Relaxed);
        api.change(|_| ());
        status.until("in sync again", in_sync).await;
    })
    .await;
}

#[tokio::test]
async fn what_other_replicas_may_serve_by_stays_beside_ours_for_its_time() {
    let ca = || Authority::generate(Duration::from_secs(600), clock::now()).unwrap().certificate().pem().to_owned();
    let (old, new) = (ca(), ca());
    let (both, junk) = (bundle_pem([&*old, &*new]), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let api = FakeApi::new(Some(trusting(&format!("{junk}{old}"))), Fault::None);
    let until = Instant::now() + 5 * BETWEEN_LOOKS;
    let bundle = Bundle { text: new.as_str().into(), serving: Some(new.as_str().into()), shared_until: Some(until) };
    kept_with(&api, bundle, Arc::default(), async |mut status| {
        assert_eq!(status.until("in sync", in_sync).await.as_ref(), Some(&both), "beside what can be used");
        // As a replica does that has not read the new files.
        api.change(|state| state.configuration = Some(trusting(&old)));
        api.until("it is put back", |state| state.applies == 2).await;
        assert_eq!(status.until("in sync again", in_sync).await, Some(both));
        sleep_until(until).await;
        api.change(|_| ());
        let is_alone = |keeping: &Keeping| matches!(keeping, Keeping::InSync(trust) if *trust.bundle == *new);
        status.until("ours alone", is_alone).await;
    })
    .await;
}

#[tokio::test]
async fn a_configuration_without_webhooks_counts_as_none() {
    let mut empty = configuration();
    empty["webhooks"] = json!([]);
    let api = FakeApi::new(Some(empty), Fault::None);
    kept(&api, async |mut status| {
        status.until("missing", |keeping| *keeping == Keeping::Missing).await;
        api.change(|state| state.configuration = Some(configuration()));
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test]
async fn an_api_server_that_is_away_at_first_is_waited_for() {
    let api = FakeApi::new(Some(configuration()), Fault::Away);
    kept(&api, async |mut status| {
        status.until("a failure", failed).await;
        assert!(!status.is_settled());
        api.change(|state| state.fault = Fault::None);
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_and_its_return_noticed() {
    let api = FakeApi::new(Some(configuration()), Fault::ForbidsApply);
    kept(&api, async |mut status| {
        status.until("the server's words", |keeping| keeping.to_string().ends_with("snapwatcher may not patch")).await;
        assert!(!status.is_settled());
        api.change(|state| state.fault = Fault::None);
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_appears_later_gets_its_bundle() {
    let api = FakeApi::new(None, Fault::None);
    kept(&api, async |mut status| {
        status.until("missing", |keeping| *keeping == Keeping::Missing).await;
        assert!(status.is_settled());
        api.change(|state| state.configuration = Some(configuration()));
        status.until("in sync", in_sync).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_read_stands_while_the_api_server_is_away() {
    let api = FakeApi::new(Some(configuration()), Fault::None);
    kept(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        api.change(|state| state.fault = Fault::Away);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(status.is_settled());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_ends_each_watch_at_once_is_not_flooded() {
    let api = FakeApi::new(Some(configuration()), Fault::EndsWatches);
    kept(&api, async |mut status| {
        status.until("in sync", in_sync).await;
        let before = api.read(|state| state.looks);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let looks = api.read(|state| state.looks) - before;
        assert!((1..=3).contains(&looks), "{looks} looks in 2.5 s");
    })
    .await;
}
