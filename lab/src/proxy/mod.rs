//! A proxy in front of the API server that holds, loses and falsifies requests and responses.
//!
//! A process that uses [`Proxy::kubeconfig`] reaches the API server through the proxy, by plain HTTP on loopback. The
//! proxy adds TLS and the administrator's token. It records each request, so that a test can count them. The proxy
//! tries its rules in the order in which they were added. The first rule that matches a request applies.
//!
//! ```ignore
//! let proxy = Proxy::start(ns.access()).await;
//! let held = proxy.hold_request(When::call(Verb::Create, "checkpoints"));
//! held.received().await;     // the proxy has the request, the API server does not
//! watcher.kill().await?;
//! held.deliver();            // the API server receives the request after all
//! let rule = proxy.fail(When::call(Verb::Watch, "pods"), Fault::EndAtOnce);
//! proxy.remove_rule(rule);
//! proxy.count(&When::call(Verb::Create, "checkpoints"));
//! ```

mod call;
mod response_body;
mod rule;
mod rules;
mod upstream;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use tempfile::NamedTempFile;
use tokio::sync::watch;

use crate::access::Access;
use crate::must::must;
use crate::server::{BODY_LIMIT, ResetHandle, Server};
use crate::until::until;

pub use call::{Call, Verb};
pub use rule::{Fault, When};
pub use rules::RuleId;
use rules::{Action, Decision, Hold, HoldPoint, Rules};
use upstream::{Request, Upstream};

/// A running proxy. Dropping it closes its port.
#[derive(Debug)]
pub struct Proxy {
    rules: Arc<Rules>,
    kubeconfig: NamedTempFile,
    // Only held: dropping it closes the port.
    _server: Server,
}

/// A call that the proxy holds, or will hold as soon as it comes.
#[derive(Debug)]
pub struct HeldCall {
    description: String,
    received: watch::Receiver<Option<Call>>,
    decide: watch::Sender<Option<Decision>>,
}

impl HeldCall {
    /// Waits until the proxy holds the request (or its response) and returns the call.
    pub async fn received(&self) -> Call {
        until(&format!("the proxy holds {}", self.description), async || self.received.borrow().clone()).await
    }

    /// Lets the call continue, even if its client has gone.
    pub fn deliver(&self) {
        self.decide.send_replace(Some(Decision::Deliver));
    }

    /// Resets the connection. A call that was held at its response has had its effect.
    pub fn lose(&self) {
        self.decide.send_replace(Some(Decision::Lose));
    }
}

impl Proxy {
    /// Starts a proxy in front of this control plane's API server.
    pub async fn start(access: &Access) -> Self {
        let upstream = must("make a client for the API server", Upstream::of(access));
        let rules = Arc::new(Rules::default());
        let app = Router::new().fallback(pass).layer(DefaultBodyLimit::max(BODY_LIMIT));
        let app = app.with_state((Arc::new(upstream), Arc::clone(&rules)));
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = must("listen for the proxy", Server::start(any_port, app).await);
        let mut kubeconfig = must("make a kubeconfig", NamedTempFile::with_prefix("proxy-kubeconfig-"));
        must("write a kubeconfig", kubeconfig.write_all(upstream::kubeconfig(server.address()).as_bytes()));
        Self { rules, kubeconfig, _server: server }
    }

    /// A kubeconfig whose server is the proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.path().to_owned()
    }

    /// Makes matching requests fail until the rule is removed.
    pub fn fail(&self, when: When, fault: Fault) -> RuleId {
        self.rules.add(when, Action::Fail(fault), None)
    }

    /// Makes the next `times` matching requests fail.
    pub fn fail_times(&self, times: usize, when: When, fault: Fault) -> RuleId {
        self.rules.add(when, Action::Fail(fault), Some(times))
    }

    /// Holds the next matching request before the API server receives it.
    pub fn hold_request(&self, when: When) -> HeldCall {
        self.hold(when, HoldPoint::Request)
    }

    /// Holds the response to the next matching request. The request has had its effect by then.
    pub fn hold_response(&self, when: When) -> HeldCall {
        self.hold(when, HoldPoint::Response)
    }

    /// Removes a rule. A request that is in a black hole stays there.
    pub fn remove_rule(&self, rule: RuleId) {
        self.rules.remove(rule);
    }

    pub fn remove_all_rules(&self) {
        self.rules.clear();
    }

    /// All requests so far.
    pub fn calls(&self) -> Vec<Call> {
        self.rules.calls()
    }

    /// Number of matching requests so far.
    pub fn count(&self, when: &When) -> usize {
        self.calls().iter().filter(|call| when.matches(call)).count()
    }

    fn hold(&self, when: When, point: HoldPoint) -> HeldCall {
        let (received, is_received) = watch::channel(None);
        let (decide, decided) = watch::channel(None);
        let description = format!("{point:?} of {when:?}");
        self.rules.add(when, Action::Hold(Hold { point, received, decided }), Some(1));
        HeldCall { description, received: is_received, decide }
    }
}

async fn pass(
    State((upstream, rules)): State<(Arc<Upstream>, Arc<Rules>)>,
    ConnectInfo(connection): ConnectInfo<ResetHandle>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::read(&method, &uri, &body);
    let action = rules.apply(&call);
    let request = Request { method, uri, headers, body };
    // In a task of its own, a held request is delivered even if its client was killed.
    let answered = tokio::spawn(async move { upstream.answer(request, call, action, rules).await });
    match answered.await {
        Ok(Some(answer)) => answer,
        _ => connection.reset().await,
    }
}
