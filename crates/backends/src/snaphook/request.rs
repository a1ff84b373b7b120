//! One attempt: token, request, and what its answer or its failure becomes.

use reqwest::RequestBuilder;
use reqwest::header::AUTHORIZATION;
use tokio::time::Instant;

use crate::exchange::{bearer, exchange};
use crate::request::CheckpointRequest;
use crate::{NotSent, stopped};
use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_daemon::clock;

use super::contract::{Body, Contract};
use super::{Settings, SnapHook, answer};

/// Names the attempt, the same for repeats of one that may have had its effect, as in
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl SnapHook {
    pub(super) async fn attempt(&self, ask: &CheckpointRequest) -> Outcome {
        let (request, token) = match self.request(ask).await {
            Ok(request) => request,
            Err(NotSent(reason, message)) => return stopped(reason, &message),
        };
        match exchange(request, token.as_deref(), self.settings.times(), Instant::now()).await {
            Ok(answer) => answer::judge(&answer, &self.shown, &ask.node, clock::now()),
            Err(broken) => {
                let (reason, message) = broken.told("SnapHook", &self.shown);
                stopped(reason, &message)
            }
        }
    }

    /// The request, and the token that it carries.
    async fn request(&self, ask: &CheckpointRequest) -> Result<(RequestBuilder, Option<String>), NotSent> {
        let token = self.token().await?;
        let request = self
            .client
            .post(self.endpoint.clone())
            .header(IDEMPOTENCY_KEY, &ask.idempotency_key)
            .json(&self.body(ask)?);
        let Some(token) = token else { return Ok((request, None)) };
        let value =
            bearer(&token).map_err(|error| NotSent(Reason::Unauthorized, format!("did not ask SnapHook: {error}")))?;
        Ok((request.header(AUTHORIZATION, value), Some(token)))
    }

    pub(super) async fn token(&self) -> Result<Option<String>, NotSent> {
        let Some(path) = &self.settings.token_file else { return Ok(None) };
        let refused = |why: String| {
            let path = path.display();
            NotSent(Reason::Unauthorized, format!("did not ask SnapHook: the token file `{path}` {why}"))
        };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| refused(format!("can't be read: {error}")))?;
        match text.trim() {
            "" => Err(refused("is empty".to_owned())),
            token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(refused("holds no token".to_owned())),
            token => Ok(Some(token.to_owned())),
        }
    }

    fn body<'a>(&'a self, ask: &'a CheckpointRequest) -> Result<Body<'a>, NotSent> {
        let Settings { contract, kube_api_address, cluster_name, .. } = &self.settings;
        match contract {
            Contract::KubeletCheckpoint => Ok(Body::Container { container: ask.into(), kube_api_address }),
            Contract::SnapapiKubelet => Ok(Body::ContainerOfCluster {
                container: ask.into(),
                cluster_name: cluster_name.as_deref().unwrap_or_default(),
            }),
            Contract::SnapapiPodSpec => {
                ask.pod_object.as_ref().map(|pod_spec| Body::Pod { pod_spec }).ok_or_else(|| {
                    NotSent(Reason::Rejected, format!("did not ask SnapHook: pod `{}` was not read", ask.pod))
                })
            }
        }
    }
}
