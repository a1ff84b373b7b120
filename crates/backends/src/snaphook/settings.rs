//! Settings of the back-end `snaphook`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::ca_file::CaFileError;
use crate::http::RequestTimeouts;

use super::contract::Contract;

/// How SnapHook is reached.
#[derive(Debug, Clone)]
pub struct SnapHookSettings {
    /// `http` or `https`. The path of the contract is appended to its path.
    pub url: Url,
    pub contract: Contract,
    /// URL of the API server, sent to SnapHook by [`Contract::KubeletCheckpoint`].
    pub kube_api_address: String,
    /// Name of the cluster, required by [`Contract::SnapapiKubelet`].
    pub cluster_name: Option<String>,
    /// For resolving the name, connecting and TLS.
    pub request_timeout: Duration,
    /// From the connection to the end of the response.
    pub response_timeout: Duration,
    /// Holds a bearer token. It is read for each attempt, because such files are rotated.
    pub token_file: Option<PathBuf>,
    /// Holds the certificates (PEM) that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapHookError {
    #[error("the URL of SnapHook has the scheme `{0}`; use `http` or `https`")]
    Scheme(String),
    #[error("the contract `{0}` needs the name of the cluster: set `--cluster-name`")]
    NoClusterName(Contract),
    #[error("the URL of SnapHook has a user and password, and a token file is set; use one of them")]
    TwoCredentials,
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("could not set up the HTTP client for SnapHook")]
    Client(#[source] reqwest::Error),
}

impl SnapHookSettings {
    pub(super) fn check(&self) -> Result<(), SnapHookError> {
        let scheme = self.url.scheme();
        if !matches!(scheme, "http" | "https") {
            return Err(SnapHookError::Scheme(scheme.to_owned()));
        }
        if self.contract == Contract::SnapapiKubelet && self.cluster_name.is_none() {
            return Err(SnapHookError::NoClusterName(self.contract));
        }
        if self.has_user_info() && self.token_file.is_some() {
            return Err(SnapHookError::TwoCredentials);
        }
        Ok(())
    }

    /// What anyone on the way to SnapHook can read, because the URL is `http` and its host is another machine; `None` if
    /// nothing is secret.
    pub fn exposed_by_plain_http(&self) -> Option<&'static str> {
        if self.url.scheme() != "http" || self.is_loopback() {
            return None;
        }
        match (self.has_credentials(), self.contract.needs_pod()) {
            (true, true) => Some("the credentials for SnapHook and the environment variables of pods"),
            (true, false) => Some("the credentials for SnapHook"),
            (false, true) => Some("the environment variables of pods"),
            (false, false) => None,
        }
    }

    /// What is in the query is a key nearly always: `?code=...` of Azure, `?token=...`.
    fn has_credentials(&self) -> bool {
        let has_query = self.url.query().is_some_and(|query| !query.is_empty());
        self.has_user_info() || self.token_file.is_some() || has_query
    }

    fn has_user_info(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The URL that takes checkpoints.
    pub(super) fn endpoint(&self) -> Url {
        let mut endpoint = self.url.clone();
        let base = self.url.path().trim_end_matches('/');
        endpoint.set_path(&format!("{base}{}", self.contract.path()));
        endpoint.set_fragment(None);
        endpoint
    }

    pub(super) fn timeouts(&self) -> RequestTimeouts {
        RequestTimeouts { connect: self.request_timeout, response: self.response_timeout }
    }
}
