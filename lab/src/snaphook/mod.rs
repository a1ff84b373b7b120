//! A stand-in for SnapHook: a server on this machine with SNAP's three checkpoint APIs.
//!
//! The stand-in records each request before it answers, so that a test can count requests whose response was lost. A
//! request that a real server would reject is a *violation*. The stand-in answers it with 404, 405 or 422, whatever
//! behaviour is set.

mod behaviour;
mod contract;
mod kubelets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::Value;

use crate::lock::lock;
use crate::server::{BODY_LIMIT, ResetHandle, Server};

pub use behaviour::{Behaviour, Gate, HUGE, UnknownBehaviour};
pub use contract::{Contract, Subject};
pub use kubelets::Kubelets;

/// A running stand-in. Dropping it closes its port.
#[derive(Debug)]
pub struct SnapHook {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

/// A request as the stand-in received it.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    pub at: Timestamp,
    pub path: String,
    /// Names are in lower case.
    pub headers: BTreeMap<String, String>,
    /// Null if the body is not JSON.
    pub body: Value,
    /// None if no contract has this path.
    pub contract: Option<Contract>,
    /// Empty if the request is a violation.
    pub subject: Subject,
    /// What is wrong with the request, if it is a violation.
    pub violation: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the SnapHook stand-in could not listen on {address}")]
pub struct SnapHookError {
    address: SocketAddr,
    source: io::Error,
}

/// Called with each request.
type Listener = Box<dyn Fn(&RecordedRequest) + Send>;

#[derive(Default)]
struct Shared {
    requests: Vec<RecordedRequest>,
    always: Option<Behaviour>,
    next: VecDeque<Behaviour>,
    by_pod: HashMap<String, Behaviour>,
    on_request: Option<Listener>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("requests", &self.requests.len())
            .field("always", &self.always)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The behaviour for a request: the pod's own, else the next one, else the general one.
    fn choose(&mut self, pod: &str) -> Behaviour {
        let own = self.by_pod.get(pod).cloned();
        own.or_else(|| self.next.pop_front()).or_else(|| self.always.clone()).unwrap_or(Behaviour::Succeed)
    }
}

impl RecordedRequest {
    pub fn idempotency_key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }
}

impl SnapHook {
    /// Starts on a free port of 127.0.0.1. All requests succeed until a test sets another behaviour.
    pub async fn start() -> Result<Self, SnapHookError> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts on this address.
    pub async fn listen(address: SocketAddr) -> Result<Self, SnapHookError> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let app = Router::new().fallback(receive).layer(DefaultBodyLimit::max(BODY_LIMIT));
        let server = Server::start(address, app.with_state(Arc::clone(&shared))).await;
        Ok(Self { server: server.map_err(|source| SnapHookError { address, source })?, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL for SNAP_BACK_API_URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// All requests so far, including violations.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.shared).requests.clone()
    }

    /// The valid requests for this pod.
    pub fn requests_for(&self, namespace: &str, pod: &str) -> Vec<RecordedRequest> {
        let requests = &lock(&self.shared).requests;
        let is_meant = |request: &&RecordedRequest| {
            request.violation.is_none() && request.subject.namespace == namespace && request.subject.pod == pod
        };
        requests.iter().filter(is_meant).cloned().collect()
    }

    /// What is wrong with requests. Empty if SnapWatcher keeps to the contracts.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared).requests.iter().filter_map(|request| request.violation.clone()).collect()
    }

    /// Sets the behaviour for all requests and removes those for pods and for next requests.
    pub fn answer_with(&self, behaviour: Behaviour) {
        let mut shared = lock(&self.shared);
        shared.always = Some(behaviour);
        shared.next.clear();
        shared.by_pod.clear();
    }

    /// Sets the behaviour for the next `count` requests. Pods with a behaviour of their own do not count.
    pub fn answer_next_with(&self, count: usize, behaviour: &Behaviour) {
        lock(&self.shared).next.extend(std::iter::repeat_n(behaviour.clone(), count));
    }

    /// Sets the behaviour for requests for pods of this name.
    pub fn answer_pod_with(&self, pod: &str, behaviour: Behaviour) {
        lock(&self.shared).by_pod.insert(pod.to_owned(), behaviour);
    }

    /// Calls `listener` with each request before the stand-in answers it.
    pub fn on_request(&self, listener: impl Fn(&RecordedRequest) + Send + 'static) {
        lock(&self.shared).on_request = Some(Box::new(listener));
    }

    /// Closes the port: new connections are refused, open ones stay.
    pub async fn close_port(&self) {
        self.server.close().await;
    }

    /// Opens the same port again.
    pub async fn reopen_port(&self) -> Result<(), SnapHookError> {
        self.server.reopen().await.map_err(|source| SnapHookError { address: self.address(), source })
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    ConnectInfo(connection): ConnectInfo<ResetHandle>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let request = read(&method, &uri, &headers, &body);
    let (contract, subject, violation) = (request.contract, request.subject.clone(), request.violation.clone());
    let behaviour = {
        let mut shared = lock(&shared);
        if let Some(listener) = &shared.on_request {
            listener(&request);
        }
        shared.requests.push(request);
        violation.is_none().then(|| shared.choose(&subject.pod))
    };
    match (contract, behaviour) {
        (Some(contract), Some(behaviour)) => behaviour.answer(contract, &subject, &connection).await,
        (None, _) => refusal(StatusCode::NOT_FOUND, violation.as_deref()),
        // SNAP's servers answer other methods the same way.
        (Some(_), None) if method != Method::POST => refusal(StatusCode::METHOD_NOT_ALLOWED, violation.as_deref()),
        (Some(_), None) => refusal(StatusCode::UNPROCESSABLE_ENTITY, violation.as_deref()),
    }
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> RecordedRequest {
    let pairs = headers.iter();
    let headers: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let contract = Contract::of_path(uri.path());
    let is_json = headers.get("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let outcome = match (contract, &body) {
        (None, _) => Err(format!("no contract has the path `{}`", uri.path())),
        _ if method != Method::POST => Err(format!("the method is {method}, not POST")),
        _ if !is_json => Err("content-type is not application/json".to_owned()),
        (_, None) => Err("the body is not JSON".to_owned()),
        (Some(contract), Some(body)) => contract.read(body),
    };
    RecordedRequest {
        at: Timestamp::now(),
        path: uri.path().to_owned(),
        headers,
        body: body.unwrap_or_default(),
        contract,
        violation: outcome.as_ref().err().cloned(),
        subject: outcome.unwrap_or_default(),
    }
}

fn refusal(status: StatusCode, violation: Option<&str>) -> Response<Body> {
    let mut answer = behaviour::json_answer(serde_json::json!({"detail": violation}).to_string());
    *answer.status_mut() = status;
    answer
}
