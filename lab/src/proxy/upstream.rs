//! The proxy's client of the API server. It applies the action of a rule to each request.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use reqwest::Certificate;
use serde_json::json;
use tokio::time::sleep;

use super::call::{Call, Verb};
use super::response_body::{corrupted, passed_on};
use super::rule::{Fault, status_body, status_code};
use super::rules::{Action, Decision, HoldPoint, Rules};
use crate::access::{Access, Credentials, install_crypto_provider};

/// The API server, as the administrator's kubeconfig describes it.
pub(super) struct Upstream {
    client: reqwest::Client,
    server: String,
    token: String,
}

/// A request that the proxy has received.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Upstream {
    pub(super) fn of(access: &Access) -> Result<Self, Cause> {
        install_crypto_provider();
        let Credentials { server, authority, token } = access.credentials()?;
        let client = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .retry(reqwest::retry::never())
            .tls_certs_only(Certificate::from_pem_bundle(&authority)?)
            .build()?;
        Ok(Self { client, server, token })
    }

    /// The response to a request. None: the proxy resets the connection.
    pub(super) async fn answer(
        &self,
        request: Request,
        call: Call,
        action: Option<Action>,
        rules: Arc<Rules>,
    ) -> Option<Response<Body>> {
        match action {
            None => self.forward(request, call, rules).await,
            Some(Action::Hold(hold)) => {
                if hold.point == HoldPoint::Request {
                    return match hold.decision(&call).await {
                        Decision::Deliver => self.forward(request, call, rules).await,
                        Decision::Lose => None,
                    };
                }
                let answer = self.forward(request, call.clone(), rules).await;
                match hold.decision(&call).await {
                    Decision::Deliver => answer,
                    Decision::Lose => None,
                }
            }
            Some(Action::Fail(fault)) => match fault {
                Fault::BlackHole => std::future::pending().await,
                Fault::Reset => None,
                Fault::LoseAnswer => {
                    drop(self.forward(request, call, rules).await);
                    None
                }
                Fault::Answer(code) => Some(response(code, status_body(code))),
                Fault::EndAtOnce => Some(response(200, String::new())),
                Fault::ErrorEvent(code) => {
                    Some(response(200, format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status_body(code))))
                }
                Fault::OnlyBookmarks | Fault::Corrupt(_) => self.forward(request, call, rules).await,
                Fault::Delay(pause) => {
                    sleep(pause).await;
                    self.forward(request, call, rules).await
                }
            },
        }
    }

    /// None: the API server does not answer.
    async fn forward(&self, request: Request, call: Call, rules: Arc<Rules>) -> Option<Response<Body>> {
        let Request { method, uri, headers, body } = request;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut forwarded = self.client.request(method, format!("{}{path}", self.server)).bearer_auth(&self.token);
        for name in [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT] {
            if let Some(value) = headers.get(&name) {
                forwarded = forwarded.header(name, value);
            }
        }
        let answer = forwarded.body(body).send().await.ok()?;
        let mut passed = Response::new(Body::empty());
        *passed.status_mut() = answer.status();
        for name in [header::CONTENT_TYPE, header::RETRY_AFTER, header::DATE] {
            if let Some(value) = answer.headers().get(&name) {
                passed.headers_mut().insert(name, value.clone());
            }
        }
        if call.verb == Verb::Watch {
            *passed.body_mut() = Body::from_stream(passed_on(call, answer, rules));
            return Some(passed);
        }
        let body = answer.bytes().await.ok()?;
        let faults = rules.lasting_faults(&call);
        *passed.body_mut() = corrupted(&body, &call, &faults).map_or_else(|| Body::from(body), Body::from);
        Some(passed)
    }
}

/// A kubeconfig for a proxy at this address. It has no credentials.
pub(super) fn kubeconfig(address: SocketAddr) -> String {
    let name = "proxy";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    });
    format!("{config:#}\n")
}

fn response(code: u16, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status_code(code);
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}
