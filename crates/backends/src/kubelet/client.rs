//! Sends a checkpoint request to the kubelet of a node.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, StatusCode};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};

use snapwatcher_api::outcome::{Outcome, Reason, Redacted, RetryClass};
use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::Cluster;
use snapwatcher_kubernetes::tls::trusting;

use crate::backend::{CheckpointBackend, CheckpointRequest, LONGEST_RETRY_AFTER};
use crate::ca_file;
use crate::failure::{NotSent, failed};
use crate::http::{self, BackendResponse};
use crate::redact::KnownSecrets;

use super::archive_budget::ArchiveBudget;
use super::archive_size::ArchiveSize;
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
    budget: ArchiveBudget,
    started: Instant,
}

impl Kubelet {
    /// `namespace` is the namespace of the service account in `settings`.
    pub fn new(settings: KubeletSettings, namespace: &str, cluster: &Cluster) -> Result<Self, KubeletError> {
        let client = client(&settings, cluster.ca_certificates.as_deref())?;
        let tokens = TokenCache::new(cluster.calls.clone(), namespace.to_owned(), settings.service_account.clone());
        let nodes = Nodes::new(cluster.calls.clone(), settings.address_types.clone());
        let budget = ArchiveBudget::new(settings.archive_bytes_per_day);
        Ok(Self { nodes, tokens, client, settings, budget, started: Instant::now() })
    }

    async fn attempt(&self, request: &CheckpointRequest) -> Outcome {
        let CheckpointRequest { pod, node, container, pod_object, .. } = request;
        let size = ArchiveSize::of(pod_object.as_ref(), container);
        let mut taken = None;
        let take = |endpoint: &KubeletEndpoint| {
            let bytes = size.bytes(endpoint.memory());
            let elapsed = self.started.elapsed();
            self.budget
                .take(&pod.namespace, node, bytes, elapsed)
                .map_err(|wait| too_soon(pod, node, size.is_limited(), wait))?;
            taken = Some(bytes);
            Ok(())
        };
        let outcome = match self.request(node, [&pod.namespace, &pod.name, container], take).await {
            Ok((response, request)) => response::outcome(&response, &request, clock::now()),
            Err(outcome) => outcome,
        };
        if let Some(bytes) = taken.filter(|_| is_without_archive(&outcome)) {
            self.budget.put_back(&pod.namespace, node, bytes);
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
    fn needs_pod(&self) -> bool {
        self.settings.archive_bytes_per_day > 0
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

/// Whether the kubelet has certainly written no archive.
fn is_without_archive(outcome: &Outcome) -> bool {
    let Outcome::Failed { reason, .. } = outcome else { return false };
    matches!(reason.retry_class(), RetryClass::NotTried | RetryClass::Final)
}

fn too_soon(pod: &PodName, node: &str, is_limited: bool, wait: Duration) -> Outcome {
    let remedy = if is_limited {
        "raise `--kubelet-archive-budget`"
    } else {
        "give the container a memory limit (without one it counts as large as the memory of the node), or raise \
         `--kubelet-archive-budget`"
    };
    let message = format!(
        "the archives of namespace `{}` on node `{node}` have reached the limit of a day; there is space for this one in {} min. \
         To have it sooner, {remedy}",
        pod.namespace,
        wait.as_secs().div_ceil(60)
    );
    Outcome::Failed {
        reason: Reason::TooSoon,
        message: Redacted::own(&message),
        retry_after: Some(wait.min(LONGEST_RETRY_AFTER)),
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
