//! Asks SnapHook, or SnapApi, for a checkpoint: one `POST` an attempt, made by [`exchange`].

mod answer;
mod attempt;
mod contract;
mod probe;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::{Client, Url};

use crate::ca_file::{self, CaFileError};
use crate::exchange::{self, Times};
use crate::request::{Backend, CheckpointRequest};
use snapwatcher_api::outcome::Outcome;

pub use self::attempt::IDEMPOTENCY_KEY;
pub use self::contract::Contract;
pub use self::probe::Probe;

/// SnapHook is asked for the pods of all nodes.
const ONE_FOR_ALL: &str = "";

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
    pub response_timeout: Duration,
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
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("could not set up the HTTP client for SnapHook")]
    Client(#[source] reqwest::Error),
}

impl Settings {
    fn times(&self) -> Times {
        Times { connect: self.request_timeout, answer: self.response_timeout }
    }
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
}

impl Backend for SnapHook {
    fn needs_pod(&self) -> bool {
        self.settings.contract.needs_pod()
    }

    fn longest_attempt(&self) -> Duration {
        let Times { connect, answer } = self.settings.times();
        connect + answer
    }

    fn address<'a>(&self, _node: Option<&'a str>) -> Option<&'a str> {
        Some(ONE_FOR_ALL)
    }

    fn checkpoint<'a>(&'a self, ask: &'a CheckpointRequest) -> BoxFuture<'a, Outcome> {
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
    let builder = exchange::client(settings.request_timeout);
    let builder = match &settings.ca_file {
        Some(path) => builder.tls_certs_only(ca_file::read(path, "SnapHook")?),
        // Plain HTTP has to work in an image without any certificates, which is an error otherwise.
        None if settings.url.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(BackendError::Client)
}
