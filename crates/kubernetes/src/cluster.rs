//! The way to the API server: two clients, calls that end in time, watches that recover by themselves.
//!
//! kube has no time-out on ordinary calls and retries 429, 503 and 504 by itself, POST and PUT too; a claim or a
//! status that was written and answered 504 would then meet its own conflict. So retries are off here, and every call
//! goes through [`call`].

mod live;
mod stream;
mod waits;

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::core::Status;
use kube::{Client, Config};
use tower::limit::RateLimitLayer;

pub use live::{LivePod, read_pod};
pub use stream::{Scope, WatchFault, watch};
pub use waits::waits;

/// The longest an ordinary call may take; the API server's own limit is 60 s, far beyond what is useful here.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server keeps a watch open.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection on which nothing is read for this much longer is dead, even if no FIN came: the server ends a watch
/// before. Well below the 5 s after which kube's watcher takes a silent watch for ended, since it begins the next one
/// without a word: only a read that fails is a fault that can be told and counted.
const READ_SLACK: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Watch and list requests a second. A server that closes each watch at once makes kube's watcher ask thousands of
/// times a second without an error; a listing of 10,000 pods is 20 requests.
const WATCH_RATE: u64 = 10;

/// Clients for one API server; cloning is cheap.
#[derive(Clone)]
pub struct Cluster {
    /// For ordinary calls, each of them through [`call`].
    pub calls: Client,
    /// For watches and the listings before them: rate-limited.
    pub watches: Client,
    /// How long the server keeps a watch open; [`WATCH_TIMEOUT`] outside tests.
    pub watch_timeout: Duration,
    /// The CA certificates (DER) by which the API server is trusted; `None`: those of the system.
    pub trusted: Option<Vec<Vec<u8>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no cluster to connect to: set KUBECONFIG, or run in a pod with a service account")]
    NoCluster { source: kube::config::InferConfigError },
    #[error("could not set up a client for the API server at {url}")]
    Client { url: String, source: kube::Error },
}

impl Cluster {
    /// Sets up the clients from KUBECONFIG, the default kubeconfig, or the pod's service account; asks nothing yet.
    pub async fn connect(watch_timeout: Duration) -> Result<Self, ConnectError> {
        let mut config = Config::infer().await.map_err(|source| ConnectError::NoCluster { source })?;
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(watch_timeout + READ_SLACK);
        config.write_timeout = Some(watch_timeout + READ_SLACK);
        let url = config.cluster_url.to_string();
        let build = || ClientBuilder::try_from(config.clone());
        let failed = |source| ConnectError::Client { url: url.clone(), source };
        let limit = RateLimitLayer::new(WATCH_RATE, Duration::from_secs(1));
        Ok(Self {
            calls: build().map_err(failed)?.build(),
            watches: build().map_err(failed)?.with_layer(&limit).build(),
            watch_timeout,
            trusted: config.root_cert,
        })
    }
}

/// Where [`Cluster::connect`] looks for the API server, for people.
pub async fn address() -> Option<String> {
    Config::infer().await.ok().map(|config| config.cluster_url.to_string())
}

/// Why a call to the API server has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("could not {what}: no answer from the API server within {} s", CALL_TIMEOUT.as_secs())]
    NoAnswer { what: String },
    #[error("could not {what}")]
    Failed { what: String, source: Box<kube::Error> },
}

impl CallError {
    /// The API server's answer, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Failed { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::NoAnswer { .. } => None,
        }
    }

    /// 404.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// 409 because of another resourceVersion.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// 409 because an object of that name exists.
    pub fn already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    /// 403 because the namespace is being deleted, see `NamespaceTerminatingCause` of k8s.io/api.
    pub fn is_namespace_terminating(&self) -> bool {
        let causes =
            |status: &Status| status.details.iter().flat_map(|details| details.causes.clone()).collect::<Vec<_>>();
        self.status().is_some_and(|status| causes(status).iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// Whether the request may have had its effect: no answer, a broken connection, or an error of the server's.
    pub fn is_ambiguous(&self) -> bool {
        self.status().is_none_or(|status| status.code >= 500)
    }
}

/// Makes one call that ends within [`CALL_TIMEOUT`]; `what` completes the sentence "could not ...".
pub async fn call<T>(what: impl Into<String>, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(CallError::Failed { what: what.into(), source: Box::new(source) }),
        Err(_) => Err(CallError::NoAnswer { what: what.into() }),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher;
    use snapwatcher_daemon::telemetry::error_chain;

    use super::*;

    #[test]
    fn an_error_of_kube_is_not_told_twice() {
        let broken = serde_json::from_str::<u8>("{").unwrap_err();
        let words = broken.to_string();
        let line = error_chain(&kube::Error::SerdeError(broken));
        assert_eq!(line.matches(&words).count(), 1, "{line}");
    }

    #[test]
    fn an_answer_of_the_api_server_is_told_as_message_and_code() {
        let status = Status::failure("leases is forbidden", "Forbidden").with_code(403);
        let api = || kube::Error::Api(Box::new(status.clone()));
        assert_eq!(error_chain(&api()), "leases is forbidden (403)");
        let call = CallError::Failed { what: "read the Lease".to_owned(), source: Box::new(api()) };
        assert_eq!(error_chain(&call), "could not read the Lease: leases is forbidden (403)");
        let listing = WatchFault::Interrupted { source: watcher::Error::InitialListFailed(api()) };
        let expected = "watch interrupted: failed to perform initial object list: leases is forbidden (403)";
        assert_eq!(error_chain(&listing), expected);
        let watch = watcher::Error::WatchError(Box::new(status.clone()));
        assert_eq!(error_chain(&watch), "error returned by apiserver during watch: leases is forbidden (403)");
    }
}
