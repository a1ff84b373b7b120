//! A stand-in for SnapHook: a server on this machine that speaks all three contracts and fails on request.
//!
//! It records each request before it answers, so that a test can say "asked exactly once" even where the answer never
//! arrived. A body that a real server would not understand is a *violation*: answered 422 and kept apart, whatever
//! behaviour is set.

mod behaviour;
pub(crate) mod connection;
mod contract;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use behaviour::{Behaviour, Gate, HUGE, UnknownBehaviour};
use connection::{Connection, ResettableListener};
pub use contract::{Contract, Subject};

/// How long `accept_again` tries to get its port back.
const REBIND: Duration = Duration::from_secs(5);

/// Room for a whole pod: the API server stores no object above 1.5 MB.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// A running stand-in; its port closes when it is dropped.
#[derive(Debug)]
pub struct SnapHook {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// One request, as it was received.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub at: Timestamp,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Null where the body was not JSON.
    pub body: Value,
    /// None where no contract has this path.
    pub contract: Option<Contract>,
    /// Empty where the body could not be understood.
    pub subject: Subject,
    /// What was wrong with the request, if anything.
    pub violation: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the SnapHook stand-in could not listen on {address}")]
pub struct SnapHookError {
    address: SocketAddr,
    source: io::Error,
}

/// Called with each request as it comes in.
type Listener = Box<dyn Fn(&Recorded) + Send>;

#[derive(Default)]
struct Shared {
    requests: Vec<Recorded>,
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
    /// The behaviour for a request: a pod's own, else the next in line, else the general one.
    fn choose(&mut self, pod: &str) -> Behaviour {
        let own = self.by_pod.get(pod).cloned();
        own.or_else(|| self.next.pop_front()).or_else(|| self.always.clone()).unwrap_or(Behaviour::Succeed)
    }
}

impl Recorded {
    pub fn idempotency_key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }
}

impl SnapHook {
    /// Starts on a free port of 127.0.0.1, answering success.
    pub async fn start() -> Result<Self, SnapHookError> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts on this address.
    pub async fn listen(address: SocketAddr) -> Result<Self, SnapHookError> {
        let failed = |source| SnapHookError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let accepting = Mutex::new(Some(serve(listener, Arc::clone(&shared))));
        Ok(Self { address, shared, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to give to SnapWatcher as SNAP_BACK_API_URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, violations included.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared).requests.clone()
    }

    /// The valid requests for this pod.
    pub fn requests_for(&self, namespace: &str, pod: &str) -> Vec<Recorded> {
        let requests = &lock(&self.shared).requests;
        let is_meant = |request: &&Recorded| {
            request.violation.is_none() && request.subject.namespace == namespace && request.subject.pod == pod
        };
        requests.iter().filter(is_meant).cloned().collect()
    }

    /// What was wrong with requests; empty if SnapWatcher keeps to the contracts.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared).requests.iter().filter_map(|request| request.violation.clone()).collect()
    }

    /// From now on, behaves so for all requests; what was said for pods or for the next requests is forgotten.
    pub fn answer_with(&self, behaviour: Behaviour) {
        let mut shared = lock(&self.shared);
        shared.always = Some(behaviour);
        shared.next.clear();
        shared.by_pod.clear();
    }

    /// Behaves so for the next `count` requests that come to no pod with a behaviour of its own.
    pub fn answer_next_with(&self, count: usize, behaviour: &Behaviour) {
        lock(&self.shared).next.extend(std::iter::repeat_n(behaviour.clone(), count));
    }

    /// Behaves so for each request about pods of this name.
    pub fn answer_pod_with(&self, pod: &str, behaviour: Behaviour) {
        lock(&self.shared).by_pod.insert(pod.to_owned(), behaviour);
    }

    /// Calls `listener` with each request as it comes in, before it is answered.
    pub fn on_request(&self, listener: impl Fn(&Recorded) + Send + 'static) {
        lock(&self.shared).on_request = Some(Box::new(listener));
    }

    /// Closes the port: further connections are refused. Those that stand stay.
    pub async fn refuse(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // Its end is the moment at which the listener is dropped.
            drop(accepting.await);
        }
    }

    /// Opens the same port again.
    pub async fn accept_again(&self) -> Result<(), SnapHookError> {
        if lock(&self.accepting).is_some() {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + REBIND;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(source) if tokio::time::Instant::now() > deadline => {
                    return Err(SnapHookError { address: self.address, source });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        *lock(&self.accepting) = Some(serve(listener, Arc::clone(&self.shared)));
        Ok(())
    }
}

impl Drop for SnapHook {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
    }
}

/// Locks; a test that panicked while it held the lock has left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) -> JoinHandle<()> {
    let app = Router::new().fallback(receive).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(shared);
    let app = app.into_make_service_with_connect_info::<Connection>();
    tokio::spawn(async move {
        // Accepts until the task is aborted; it does not end with an error.
        drop(axum::serve(ResettableListener(listener), app).await);
    })
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
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
        // As SNAP's servers do, whose routes know their methods.
        (Some(_), None) if method != Method::POST => refusal(StatusCode::METHOD_NOT_ALLOWED, violation.as_deref()),
        (Some(_), None) => refusal(StatusCode::UNPROCESSABLE_ENTITY, violation.as_deref()),
    }
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Recorded {
    let pairs = headers.iter();
    let headers: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let contract = Contract::of_path(uri.path());
    let is_json = headers.get("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let outcome = match (contract, &body) {
        (None, _) => Err(format!("no contract has the path `{}`", uri.path())),
        _ if method != Method::POST => Err(format!("method {method} in place of POST")),
        _ if !is_json => Err("content-type is not application/json".to_owned()),
        (_, None) => Err("the body is not JSON".to_owned()),
        (Some(contract), Some(body)) => contract.read(body),
    };
    Recorded {
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
