//! Back-end `kubelet`: asks the kubelet of each pod's own node, without any other part of SNAP, see
//! <https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/>.
//!
//! Straight to the node, never through the API server's proxy, which needs `nodes/proxy` and with it nearly everything. A
//! kubelet takes tokens without asking for an audience, so a hostile one can use elsewhere what it is sent: it is sent a
//! token of ten minutes, of an account that may do nothing but this.

mod answer;
mod node;
mod probe;
mod runtime;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::{Certificate, Client, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::ca_file::{self, CaFileError};
use crate::exchange::{self, Answer, Times};
use crate::request::{Backend, CheckpointRequest};
use crate::{NotSent, stopped};
use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::Cluster;

use self::answer::Asked;
use self::node::{Nodes, Place};
pub use self::probe::{Probed, Verdict, probe, token};
use self::token::Tokens;

/// How much longer than its runtime a kubelet may take: what it does before and after is little.
const BEYOND_RUNTIME: Duration = Duration::from_secs(10);

/// How kubelets are reached and asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For reading the node, for the token, for connecting and TLS, all together.
    pub request_timeout: Duration,
    /// How long the node's container runtime may take; told to the kubelet, in whole seconds.
    pub checkpoint_timeout: Duration,
    pub trust: Trust,
    /// Name of the service account whose token is sent.
    pub service_account: String,
}

/// By what a kubelet's serving certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The CA by which the API server is trusted.
    ClusterCa,
    /// The certificates in this PEM file.
    CaFile(PathBuf),
    /// Not at all: whoever answers at a node's address gets the token.
    Unverified,
}

/// Why settings can't be worked with.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("the CA of the cluster can't verify kubelets; give one by `--kubelet-ca-file`")]
    ClusterCa(#[source] reqwest::Error),
    #[error("could not set up the HTTP client for kubelets; with a kubeconfig without a CA set `--kubelet-ca-file`")]
    Client(#[source] reqwest::Error),
}

impl Settings {
    /// The longest one attempt can take.
    pub fn longest_attempt(&self) -> Duration {
        let Times { connect, answer } = self.times();
        connect + answer
    }

    /// How long a kubelet may take to answer once it is connected.
    pub fn response_timeout(&self) -> Duration {
        self.checkpoint_timeout + BEYOND_RUNTIME
    }

    fn times(&self) -> Times {
        Times { connect: self.request_timeout, answer: self.response_timeout() }
    }

    /// What is told to the kubelet, which knows whole seconds; 0 would be its own default.
    fn seconds(&self) -> u64 {
        self.checkpoint_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }
}

/// The back-end `kubelet`.
pub struct Kubelet {
    settings: Settings,
    nodes: Nodes,
    tokens: Tokens,
    client: Client,
}

impl Kubelet {
    /// The service account of `settings` is that of this namespace.
    pub fn new(settings: Settings, namespace: &str, cluster: &Cluster) -> Result<Self, KubeletError> {
        let client = client(&settings, cluster.ca_certificates.as_deref())?;
        let tokens = Tokens::new(cluster.calls.clone(), namespace.to_owned(), settings.service_account.clone());
        Ok(Self { nodes: Nodes::new(cluster.calls.clone()), tokens, client, settings })
    }

    async fn attempt(&self, ask: &CheckpointRequest) -> Outcome {
        match self.ask(&ask.node, [&ask.pod.namespace, &ask.pod.name, &ask.container]).await {
            Ok((answer, asked)) => answer::judge(&answer, &asked, clock::now()),
            Err(outcome) => outcome,
        }
    }

    /// Asks a node's kubelet for a checkpoint of a container, given as namespace, pod and container.
    async fn ask<'a>(&'a self, node: &'a str, container: [&str; 3]) -> Result<(Answer, Asked<'a>), Outcome> {
        let begun = Instant::now();
        let prepared = self.prepared(node, begun).await;
        let (place, token) = prepared.map_err(|NotSent(reason, message)| stopped(reason, &message))?;
        let asked = Asked { whom: place.whom(), node, identity: self.tokens.identity() };
        let authorization = exchange::bearer(&token).map_err(|error| {
            stopped(Reason::Unauthorized, &format!("the token for {} can't be sent: {error}", asked.whom))
        })?;
        let url = place.url(container, self.settings.seconds());
        let request = self.client.post(url).header(AUTHORIZATION, authorization);
        let answered = exchange::exchange(request, Some(&token), self.settings.times(), begun).await;
        let answer = answered.map_err(|broken| answer::failed(&broken, &asked, &place.shown()))?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // The account may have been made anew, and tokens are bound to its UID.
            self.tokens.forget(&token).await;
        }
        Ok((answer, asked))
    }

    /// Where the node's kubelet listens, and a token for it, within the time for connecting.
    async fn prepared(&self, node: &str, begun: Instant) -> Result<(Place, String), NotSent> {
        let limit = self.settings.request_timeout;
        let prepared = async {
            let place = self.nodes.place(node).await?;
            Ok((place, self.tokens.get().await?))
        };
        timeout_at(begun + limit, prepared).await.unwrap_or_else(|_| {
            let words = "did not answer when asked for the node and a token of the service account";
            let message =
                format!("could not ask the kubelet of node `{node}`: the API server {words} within {limit:?}");
            Err(NotSent(Reason::Unreachable, message))
        })
    }
}

impl Backend for Kubelet {
    fn needs_pod(&self) -> bool {
        false
    }

    fn longest_attempt(&self) -> Duration {
        self.settings.longest_attempt()
    }

    fn address<'a>(&self, node: Option<&'a str>) -> Option<&'a str> {
        node
    }

    fn checkpoint<'a>(&'a self, ask: &'a CheckpointRequest) -> BoxFuture<'a, Outcome> {
        self.attempt(ask).boxed()
    }
}

fn client(settings: &Settings, trusted: Option<&[Vec<u8>]>) -> Result<Client, KubeletError> {
    let builder = exchange::client(settings.request_timeout);
    let builder = match (&settings.trust, trusted) {
        (Trust::CaFile(path), _) => builder.tls_certs_only(ca_file::read(path, "kubelets")?),
        (Trust::ClusterCa, Some(trusted)) => {
            let certificates: Result<Vec<_>, _> = trusted.iter().map(|der| Certificate::from_der(der)).collect();
            builder.tls_certs_only(certificates.map_err(KubeletError::ClusterCa)?)
        }
        // As the API server is trusted then: by the system's certificates.
        (Trust::ClusterCa, None) => builder,
        (Trust::Unverified, _) => builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true),
    };
    builder.build().map_err(KubeletError::Client)
}
