//! One attempt: token, request, both time-outs, and what a failure on the way means.
//!
//! The connector runs inside the future of its request (nothing is pooled), so it can tell that request's attempt that
//! the connection stands. Errors alone can't: a time-out looks the same before and after.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use tokio_util::sync::CancellationToken;

use crate::backend::redact;
use crate::checkpoint::ask::Ask;
use crate::checkpoint::outcome::{Outcome, Reason};
use crate::clock;

use super::answer::{self, Answer};
use super::contract::{Body, Contract};
use super::{Settings, SnapHook};

/// Names the attempt, the same for repeats of one that may have had its effect, as in
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How much of an answer is read.
const ANSWER_LIMIT: usize = redact::INPUT_LIMIT;

/// Shortest token that is looked for in an answer: shorter ones would blot out ordinary words.
const SHORTEST_TOKEN: usize = 8;

tokio::task_local! {
    /// Cancelled when the connection of this attempt stands, TLS included.
    static CONNECTED: CancellationToken;
}

/// Tells the attempt in whose future this runs that its connection stands.
pub(super) fn note_connection() {
    // Outside an attempt there is nobody to tell.
    let _nobody = CONNECTED.try_with(CancellationToken::cancel);
}

/// Why no answer can be judged.
enum Fault {
    /// The request was never written, for this reason.
    NotAsked(Reason, String),
    /// It failed on the way; what that means depends on whether the connection stood.
    Failed(reqwest::Error),
    OutOfTime(Duration),
}

impl SnapHook {
    pub(super) async fn attempt(&self, ask: &Ask) -> Outcome {
        let token = match self.token().await {
            Ok(token) => token,
            Err(fault) => return self.outcome(fault, false),
        };
        let connected = CancellationToken::new();
        let exchange = CONNECTED.scope(connected.clone(), self.exchange(ask, token.as_deref()));
        let answered = tokio::select! {
            biased;
            answered = exchange => answered,
            fault = self.out_of_time(&connected) => Err(fault),
        };
        match answered {
            Ok(answer) => answer::judge(&answer, &self.shown, &ask.node, clock::now()),
            Err(fault) => self.outcome(fault, connected.is_cancelled()),
        }
    }

    /// Waits until the attempt has taken too long.
    async fn out_of_time(&self, connected: &CancellationToken) -> Fault {
        let Settings { request_timeout, answer_timeout, .. } = self.settings;
        if tokio::time::timeout(request_timeout, connected.cancelled()).await.is_err() {
            return Fault::OutOfTime(request_timeout);
        }
        tokio::time::sleep(answer_timeout).await;
        Fault::OutOfTime(answer_timeout)
    }

    async fn token(&self) -> Result<Option<String>, Fault> {
        let Some(path) = &self.settings.token_file else { return Ok(None) };
        let refused = |why: String| {
            let path = path.display();
            Fault::NotAsked(Reason::Unauthorized, format!("did not ask SnapHook: the token file `{path}` {why}"))
        };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| refused(format!("can't be read: {error}")))?;
        match text.trim() {
            "" => Err(refused("is empty".to_owned())),
            token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(refused("holds no token".to_owned())),
            token => Ok(Some(token.to_owned())),
        }
    }

    async fn exchange(&self, ask: &Ask, token: Option<&str>) -> Result<Answer, Fault> {
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .header(IDEMPOTENCY_KEY, &ask.idempotency_key)
            .json(&self.body(ask)?);
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|error| Fault::NotAsked(Reason::Unauthorized, format!("did not ask SnapHook: {error}")))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let mut response = request.send().await.map_err(Fault::Failed)?;
        let mut body = Vec::new();
        while body.len() <= ANSWER_LIMIT
            && let Some(chunk) = response.chunk().await.map_err(Fault::Failed)?
        {
            body.extend_from_slice(&chunk);
        }
        let is_whole = body.len() <= ANSWER_LIMIT;
        body.truncate(ANSWER_LIMIT);
        let is_legible = is_whole && str::from_utf8(&body).is_ok();
        let text = String::from_utf8_lossy(&body);
        let text = if is_whole { &text } else { redact::without_last_word(&text) };
        Ok(Answer {
            status: response.status(),
            retry_after: response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: without(token, text),
            is_legible,
        })
    }

    fn body<'a>(&'a self, ask: &'a Ask) -> Result<Body<'a>, Fault> {
        let Settings { contract, kube_api_address, cluster_name, .. } = &self.settings;
        match contract {
            Contract::KubeletCheckpoint => Ok(Body::Container { container: ask.into(), kube_api_address }),
            Contract::SnapapiKubelet => Ok(Body::ContainerOfCluster {
                container: ask.into(),
                cluster_name: cluster_name.as_deref().unwrap_or_default(),
            }),
            Contract::SnapapiPodSpec => {
                ask.whole_pod.as_ref().map(|pod_spec| Body::Pod { pod_spec }).ok_or_else(|| {
                    Fault::NotAsked(Reason::Rejected, format!("did not ask SnapHook: pod `{}` was not read", ask.pod))
                })
            }
        }
    }

    fn outcome(&self, fault: Fault, has_connected: bool) -> Outcome {
        let url = &self.shown;
        let fault = match fault {
            // The client's own limit for connecting is the same and may be the first to notice.
            Fault::Failed(error) if !has_connected && error.is_timeout() => {
                Fault::OutOfTime(self.settings.request_timeout)
            }
            other => other,
        };
        let (reason, message) = match fault {
            Fault::NotAsked(reason, message) => (reason, message),
            Fault::Failed(error) if error.is_builder() => {
                (Reason::Rejected, format!("could not write the request for SnapHook at {url}: {}", cause(&error)))
            }
            Fault::Failed(error) if has_connected => {
                (Reason::NoAnswer, format!("no complete answer from SnapHook at {url}: {}", cause(&error)))
            }
            Fault::Failed(error) if error.is_dns() => {
                (Reason::Unreachable, format!("could not find the host of SnapHook at {url}: {}", cause(&error)))
            }
            Fault::Failed(error) => {
                (Reason::Unreachable, format!("could not connect to SnapHook at {url}: {}", cause(&error)))
            }
            Fault::OutOfTime(limit) if has_connected => (
                Reason::NoAnswer,
                format!("no complete answer from SnapHook at {url} within {limit:?} after connecting"),
            ),
            Fault::OutOfTime(limit) => {
                (Reason::Unreachable, format!("could not connect to SnapHook at {url} within {limit:?}"))
            }
        };
        Outcome::Stopped { reason, message: redact::redact(&message), retry_after: None }
    }
}

/// The text without our own token: a server may quote it without any word that gives it away.
fn without(token: Option<&str>, text: &str) -> String {
    match token {
        Some(token) if token.len() >= SHORTEST_TOKEN => text.replace(token, redact::MARK),
        _ => text.to_owned(),
    }
}

/// The innermost cause in words: reqwest's own only say that sending failed, and repeat the URL with its password.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    match cause {
        None => error.to_string(),
        Some(cause) => match cause.downcast_ref::<io::Error>() {
            Some(io) if io.raw_os_error().is_some() => io.kind().to_string(),
            _ => cause.to_string(),
        },
    }
}
