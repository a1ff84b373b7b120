//! Sends a checkpoint request to the kubelet of a node.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, StatusCode};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};

use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{Cluster, PodNeed, limit_responses};
use snapwatcher_kubernetes::tls::trusting;

use crate::backend::{CheckpointBackend, CheckpointRequest, TakenCheckpoint};
use crate::ca_file;
use crate::failure::{NotSent, failed};
use crate::http::{self, BackendResponse};
use crate::redact::KnownSecrets;

use super::archive_limits::ArchiveLimits;
use super::endpoint::{KubeletEndpoint, Nodes};
use super::response::{self, Request};
use super::settings::{KubeletError, KubeletSettings, KubeletTrust};
use super::token_cache::TokenCache;

/// The back-end `kubelet`.
pub struct Kubelet {
    settings: KubeletSettings,
    nodes: Nodes,
    pub(super) tokens: TokenCache,
    client: Client,
    archives: Option<ArchiveLimits>,
}

impl Kubelet {
    /// `namespace` is the namespace of the service account in `settings`.
    pub fn new(settings: KubeletSettings, namespace: &str, cluster: &Cluster) -> Result<Self, KubeletError> {
        let client = client(&settings, cluster.ca_certificates.as_deref())?;
        let calls = limit_responses(&cluster.calls);
        let tokens = TokenCache::new(calls.clone(), namespace.to_owned(), settings.service_account.clone());
        let nodes = Nodes::new(calls, settings.address_types.clone());
        let archives = ArchiveLimits::new(settings.archive_bytes_per_day);
        Ok(Self { settings, nodes, tokens, client, archives })
    }

    async fn attempt(&self, request: &CheckpointRequest) -> Outcome {
        let CheckpointRequest { pod, node, container, .. } = request;
        let mut counted = None;
        let take = |endpoint: &KubeletEndpoint| {
            if let Some(archives) = &self.archives {
                counted = Some((archives, archives.take(request, endpoint.memory())?));
            }
            Ok(())
        };
        let mut outcome = match self.request(node, [&pod.namespace, &pod.name, container], take).await {
            Ok((response, request)) => response::outcome(&response, &request, clock::now()),
            Err(outcome) => outcome,
        };
        if let Some((archives, bytes)) = counted {
            archives.ended(request, bytes, &mut outcome);
        }
        outcome
    }

    /// Requests a checkpoint of a container, given as namespace, pod and container, from the kubelet of this node, unless
    /// `check` finds that it may not receive one.
    pub(super) async fn request<'a>(
        &'a self,
        node: &'a str,
        container: [&str; 3],
        check: impl FnOnce(&KubeletEndpoint) -> Result<(), Outcome> + Send,
    ) -> Result<(BackendResponse, Request<'a>), Outcome> {
        let started = Instant::now();
        let (endpoint, token) = self.prepare(node, started).await?;
        check(&endpoint)?;
        let request = Request { kubelet: endpoint.label(), node, identity: self.tokens.identity() };
        let authorization = http::bearer(&token).map_err(|error| {
            failed(Reason::Unauthorized, &format!("the token for {} is no header value: {error}", request.kubelet))
        })?;
        let url = endpoint.checkpoint_url(container, self.settings.timeout_seconds());
        let post = self.client.post(url).header(AUTHORIZATION, authorization);
        let sent = http::send_once(post, &KnownSecrets::of_token(&token), self.settings.timeouts(), started).await;
        let response = sent.map_err(|failure| response::request_failed(&failure, &request, &endpoint))?;
        if response.status == StatusCode::UNAUTHORIZED {
            // Tokens are bound to the UID of their account, and the account may have been deleted and created again.
            self.tokens.forget(&token).await;
        }
        Ok((response, request))
    }

    /// The endpoint of the node's kubelet and a token for it, within the time for connecting.
    async fn prepare(&self, node: &str, started: Instant) -> Result<(KubeletEndpoint, String), NotSent> {
        let limit = self.settings.request_timeout;
        let prepare = async {
            let endpoint = self.nodes.endpoint(node).await?;
            Ok((endpoint, self.tokens.get().await?))
        };
        timeout_at(started + limit, prepare).await.unwrap_or_else(|_| {
            let message = format!(
                "no request sent to the kubelet of node `{node}`: the API server did not answer with the Node and a \
                 token within {limit:?}"
            );
            Err(NotSent::new(Reason::Unreachable, message))
        })
    }
}

impl CheckpointBackend for Kubelet {
    fn pod_need(&self) -> PodNeed {
        if self.archives.is_some() { PodNeed::Limits } else { PodNeed::Nothing }
    }

    fn recall(&self, taken: &TakenCheckpoint) {
        if let Some(archives) = &self.archives {
            archives.recall(taken);
        }
    }

    fn longest_attempt(&self) -> Duration {
        self.settings.longest_attempt()
    }

    fn endpoint<'a>(&self, node: Option<&'a str>) -> Option<&'a str> {
        node
    }

    fn checkpoint<'a>(&'a self, request: &'a CheckpointRequest) -> BoxFuture<'a, Outcome> {
        self.attempt(request).boxed()
    }
}

fn client(settings: &KubeletSettings, cluster_ca: Option<&[Vec<u8>]>) -> Result<Client, KubeletError> {
    let builder = http::client(settings.request_timeout);
    let builder = match (&settings.trust, cluster_ca) {
        (KubeletTrust::CaFile(path), _) => builder.tls_backend_preconfigured(ca_file::tls(path, "kubelets")?),
        (KubeletTrust::ClusterCa, Some(cluster_ca)) => {
            let certificates = cluster_ca.iter().map(|der| CertificateDer::from(der.clone())).collect();
            builder.tls_backend_preconfigured(trusting(certificates).map_err(KubeletError::ClusterCa)?)
        }
        // Without a CA in the kubeconfig, the system's certificates verify the API server, and so also kubelets.
        (KubeletTrust::ClusterCa, None) => builder,
        (KubeletTrust::Unverified, _) => builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true),
    };
    builder.build().map_err(KubeletError::Client)
}
