//! Asks SnapHook, or SnapApi, for a checkpoint: one `POST` an attempt.
//!
//! A request that may have had its effect must never be made twice by itself, so everything that would repeat one
//! quietly is off: retries, redirects, kept connections (a request on one that the server just closed is sent again).
//! For the same reason it matters when an attempt failed: before the connection stood nothing was asked, after it
//! nobody knows. The connector itself tells which it was.

mod answer;
mod contract;
#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Url};
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;

use crate::checkpoint::ask::{Ask, Backend};
use crate::checkpoint::outcome::{Outcome, Reason};
use crate::clock;

use self::answer::Answer;
use self::contract::Body;
pub use self::contract::Contract;
use super::redact;

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

/// How SnapHook is reached and asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http` or `https`; a path in it is kept and the contract's path appended.
    pub url: Url,
    pub contract: Contract,
    /// Address of the API server, as told to SnapHook by [`Contract::KubeletCheckpoint`].
    pub kube_api_address: String,
    /// Name of the cluster; [`Contract::SnapapiKubelet`] can't do without.
    pub cluster_name: Option<String>,
    /// For resolving the name, connecting and TLS.
    pub request_timeout: Duration,
    /// From the connection to the end of the answer.
    pub answer_timeout: Duration,
    /// Holds a bearer token; read anew for each attempt, because such files are rotated.
    pub token_file: Option<PathBuf>,
    /// Holds the certificates (PEM) that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why settings can't be worked with.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("the URL of SnapHook begins with `{0}:`; it has to be `http:` or `https:`")]
    Scheme(String),
    #[error("the contract `{0}` needs the name of the cluster: set `--cluster-name`")]
    NoClusterName(Contract),
    #[error("SnapHook gets a bearer token from a file, and its URL has a user and password: take one of them")]
    TwoCredentials,
    #[error("could not read the CA file `{path}` for SnapHook")]
    CaUnreadable { path: PathBuf, source: io::Error },
    #[error("the CA file `{path}` for SnapHook is not a list of PEM certificates")]
    CaUnusable { path: PathBuf, source: Option<reqwest::Error> },
    #[error("could not set up the HTTP client for SnapHook")]
    Client(#[source] reqwest::Error),
}

/// The back-end `snaphook`.
#[derive(Debug)]
pub struct SnapHook {
    settings: Settings,
    client: Client,
    endpoint: Url,
    /// The endpoint for people: without user, password and query.
    shown: String,
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
    pub fn new(settings: Settings) -> Result<Self, BackendError> {
        let scheme = settings.url.scheme();
        if !matches!(scheme, "http" | "https") {
            return Err(BackendError::Scheme(scheme.to_owned()));
        }
        if settings.contract == Contract::SnapapiKubelet && settings.cluster_name.is_none() {
            return Err(BackendError::NoClusterName(settings.contract));
        }
        let has_user_info = !settings.url.username().is_empty() || settings.url.password().is_some();
        if has_user_info && settings.token_file.is_some() {
            return Err(BackendError::TwoCredentials);
        }
        let endpoint = endpoint(&settings);
        Ok(Self { client: client(&settings)?, shown: shown(&endpoint), endpoint, settings })
    }

    async fn attempt(&self, ask: &Ask) -> Outcome {
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

impl Backend for SnapHook {
    fn needs_pod(&self) -> bool {
        self.settings.contract.needs_pod()
    }

    fn longest_attempt(&self) -> Duration {
        self.settings.request_timeout + self.settings.answer_timeout
    }

    fn checkpoint<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Outcome> {
        self.attempt(ask).boxed()
    }
}

fn endpoint(settings: &Settings) -> Url {
    let mut endpoint = settings.url.clone();
    let base = settings.url.path().trim_end_matches('/');
    endpoint.set_path(&format!("{base}{}", settings.contract.path()));
    endpoint.set_fragment(None);
    endpoint
}

fn shown(endpoint: &Url) -> String {
    format!("{}{}", endpoint.origin().ascii_serialization(), endpoint.path())
}

fn client(settings: &Settings) -> Result<Client, BackendError> {
    let builder = Client::builder()
        .user_agent(concat!("snapwatcher/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        // `out_of_time` has the last word; this one divides the time among the addresses of the host.
        .connect_timeout(settings.request_timeout)
        .connector_layer(MapResponseLayer::new(|connection| {
            // Outside an attempt there is nobody to tell.
            let _nobody = CONNECTED.try_with(CancellationToken::cancel);
            connection
        }));
    let builder = match &settings.ca_file {
        Some(path) => builder.tls_certs_only(certificates(path)?),
        // Plain HTTP has to work in an image without any certificates, which is an error otherwise.
        None if settings.url.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(BackendError::Client)
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate>, BackendError> {
    let pem = std::fs::read(path).map_err(|source| BackendError::CaUnreadable { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        other => Err(BackendError::CaUnusable { path: path.clone(), source: other.err() }),
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
