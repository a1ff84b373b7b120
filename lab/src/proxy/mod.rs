//! The tests' own proxy in front of the API server: it stops a request or its answer, loses them, or lies.
//!
//! A process started with [`Proxy::kubeconfig`] reaches the API server through it, over plain HTTP on loopback; the proxy
//! adds TLS and the administrator's token. Each request is noted, so that a test can count them. Rules are tried in the
//! order in which they were made; the first that meets a request decides.
//!
//! ```ignore
//! let proxy = Proxy::start(ns.access()).await;
//! let stop = proxy.stop_before(When::call(Verb::Create, "checkpoints"));
//! stop.reached().await;      // the claim is on its way and not at the API server yet
//! watcher.kill().await?;
//! stop.deliver();            // it arrives after all
//! let rule = proxy.fail(When::call(Verb::Watch, "pods"), Fault::EndAtOnce);
//! proxy.lift(rule);
//! proxy.count(&When::call(Verb::Create, "checkpoints"));
//! ```

mod call;
mod events;
mod rule;
#[cfg(test)]
mod tests;
mod upstream;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::namespace::must;
use crate::snaphook::connection::{Connection, ResettableListener};
use crate::until::until;

pub use call::{Call, Verb};
use rule::{Action, Decision, Hold, Place, Rule};
pub use rule::{Fault, When};
use upstream::{Request, Upstream};

/// Room for any object: the API server stores none above 1.5 MB.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// A running proxy; its connections close when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    rules: Arc<Rules>,
    kubeconfig: NamedTempFile,
    accepting: JoinHandle<()>,
}

/// Names a rule, for [`Proxy::lift`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

/// One request that was, or will be, held.
#[derive(Debug)]
pub struct Stop {
    what: String,
    reached: watch::Receiver<Option<Call>>,
    decide: watch::Sender<Option<Decision>>,
}

impl Stop {
    /// Waits until the request (or its answer) is held, and returns it.
    pub async fn reached(&self) -> Call {
        until(&format!("the proxy holds {}", self.what), async || self.reached.borrow().clone()).await
    }

    /// Whether a request has come that is held, or was.
    pub fn is_reached(&self) -> bool {
        self.reached.borrow().is_some()
    }

    /// Lets it go on, also where whoever sent it has gone.
    pub fn deliver(&self) {
        self.decide.send_replace(Some(Decision::Deliver));
    }

    /// Loses it: the connection is reset. What was held as an answer has had its effect.
    pub fn lose(&self) {
        self.decide.send_replace(Some(Decision::Lose));
    }
}

impl Proxy {
    /// Starts one in front of this control plane's API server.
    pub async fn start(access: &Access) -> Self {
        let upstream = must("make a client for the API server", Upstream::of(access));
        let listener = must("listen for the proxy", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await);
        let address = must("find the proxy's address", listener.local_addr());
        let mut kubeconfig = must("make a kubeconfig", NamedTempFile::with_prefix("proxy-kubeconfig-"));
        must("write a kubeconfig", kubeconfig.write_all(upstream::kubeconfig(address).as_bytes()));
        let rules = Arc::new(Rules::default());
        let app = Router::new().fallback(pass).layer(DefaultBodyLimit::max(BODY_LIMIT));
        let app = app.with_state((Arc::new(upstream), Arc::clone(&rules)));
        let app = app.into_make_service_with_connect_info::<Connection>();
        let accepting = tokio::spawn(async move {
            // Accepts until the task is aborted; it does not end with an error.
            drop(axum::serve(ResettableListener(listener), app).await);
        });
        Self { rules, kubeconfig, accepting }
    }

    /// A kubeconfig that leads through the proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.path().to_owned()
    }

    /// From now on this goes wrong with such requests.
    pub fn fail(&self, when: When, fault: Fault) -> RuleId {
        self.rules.add(when, Action::Fail(fault), None)
    }

    /// This goes wrong with the next `times` such requests.
    pub fn fail_times(&self, times: usize, when: When, fault: Fault) -> RuleId {
        self.rules.add(when, Action::Fail(fault), Some(times))
    }

    /// Holds the next such request before it reaches the API server.
    pub fn stop_before(&self, when: When) -> Stop {
        self.stop(when, Place::Request)
    }

    /// Holds the answer to the next such request, which has had its effect by then.
    pub fn stop_after(&self, when: When) -> Stop {
        self.stop(when, Place::Answer)
    }

    /// Takes a rule away; a request in a black hole stays there.
    pub fn lift(&self, rule: RuleId) {
        self.rules.change(|rules| rules.retain(|other| other.id != rule.0));
    }

    /// Takes all rules away.
    pub fn lift_all(&self) {
        self.rules.change(Vec::clear);
    }

    /// All requests so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.rules.calls).clone()
    }

    /// How many such requests there were so far.
    pub fn count(&self, when: &When) -> usize {
        lock(&self.rules.calls).iter().filter(|call| when.meets(call)).count()
    }

    fn stop(&self, when: When, place: Place) -> Stop {
        let (reached, is_reached) = watch::channel(None);
        let (decide, decided) = watch::channel(None);
        let what = format!("{place:?} of {when:?}");
        self.rules.add(when, Action::Hold(Hold { place, reached, decided }), Some(1));
        Stop { what, reached: is_reached, decide }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What is shared with the requests on their way.
#[derive(Debug, Default)]
struct Rules {
    made: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
    /// Counts changes, so that watches under way look again.
    version: watch::Sender<u64>,
}

impl Rules {
    fn add(&self, when: When, action: Action, left: Option<usize>) -> RuleId {
        let id = *self.version.borrow() + 1;
        self.change(|rules| rules.push(Rule { id, when, action, left }));
        RuleId(id)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Rule>)) {
        change(&mut lock(&self.made));
        self.version.send_modify(|version| *version += 1);
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Notes a request and takes what is to be done with it.
    fn take(&self, call: &Call) -> Option<Action> {
        lock(&self.calls).push(call.clone());
        let mut rules = lock(&self.made);
        let found = rules.iter_mut().find(|rule| rule.when.meets(call) && rule.left != Some(0))?;
        found.left = found.left.map(|left| left - 1);
        Some(found.action.clone())
    }

    /// The faults that hold for such requests until they are lifted, watches under way included.
    fn standing(&self, call: &Call) -> Vec<Fault> {
        let rules = lock(&self.made);
        let met = rules.iter().filter(|rule| rule.left.is_none() && rule.when.meets(call));
        met.filter_map(|rule| if let Action::Fail(fault) = &rule.action { Some(fault.clone()) } else { None }).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass(
    State((upstream, rules)): State<(Arc<Upstream>, Arc<Rules>)>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::read(&method, &uri, &body);
    let action = rules.take(&call);
    let request = Request { method, uri, headers, body };
    // A task of its own: what was held is delivered also after whoever sent it was killed.
    let answered = tokio::spawn(async move { upstream.answer(request, call, action, rules).await });
    match answered.await {
        Ok(Some(answer)) => answer,
        _ => connection.reset().await,
    }
}
