//! Two clients for the API server: one for ordinary calls, one for watches.
//!
//! kube retries 429, 503 and 504 on its own, POST and PUT too. If the server applied a PUT and answered 504, the retry meets
//! its own conflict. So retries are off, and the callers retry where that is safe.

use std::time::Duration;

use kube::Client;

use super::api_client::client;
use super::kubeconfig::{Access, NoCluster, access};
use super::page_limit::limit_pages;
use super::proxy::{self, ProxyEnvironment, ProxyError, proxy};
use super::start_limit::limit_starts;

/// How long the server keeps a watch open.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection is dead if nothing is read for the watch timeout and this much longer, since the server ends a watch before.
/// It is below the 5 s after which kube's watcher restarts a silent watch without an error: only a read that fails can be
/// logged and counted.
const READ_SLACK: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients for one API server; cloning is cheap.
#[derive(Clone)]
pub struct Cluster {
    /// For ordinary calls, each of them through [`call`](super::call). Objects that other people write are read by
    /// [`limit_responses`](super::limit_responses) of it, and listed by [`limit_pages`] of it.
    pub calls: Client,
    /// For watches and the listings before them. How often they start, and the bytes of a page, are limited.
    pub watches: Client,
    /// How long the server keeps a watch open; [`WATCH_TIMEOUT`] outside tests.
    pub watch_timeout: Duration,
    /// The CA certificates (DER) that verify the API server; `None`: those of the system.
    pub ca_certificates: Option<Vec<Vec<u8>>>,
    /// The address of the proxy to the API server, without user info.
    pub proxy: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    NoCluster(#[from] NoCluster),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("could not set up a client for the API server at {url}")]
    Client { url: String, source: kube::Error },
}

impl Cluster {
    /// Sets up the clients from KUBECONFIG, the default kubeconfig, or the pod's service account. It sends no request.
    #[expect(clippy::unused_async, reason = "kube's clients must be built inside a runtime")]
    pub async fn connect(watch_timeout: Duration) -> Result<Self, ConnectError> {
        let Access { mut config, proxy_url } = access()?;
        config.proxy_url = proxy(&config.cluster_url, proxy_url.as_deref(), &ProxyEnvironment::read())?;
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(watch_timeout + READ_SLACK);
        config.write_timeout = Some(watch_timeout + READ_SLACK);
        let url = config.cluster_url.to_string();
        let failed = |source| ConnectError::Client { url: url.clone(), source };
        Ok(Self {
            calls: client(&config).map_err(failed)?,
            watches: limit_starts(&limit_pages(&client(&config).map_err(failed)?)),
            watch_timeout,
            proxy: config.proxy_url.as_ref().map(proxy::shown),
            ca_certificates: config.root_cert,
        })
    }
}

/// The URL that [`Cluster::connect`] uses, for messages.
pub fn address() -> Option<String> {
    access().ok().map(|access| access.config.cluster_url.to_string())
}
