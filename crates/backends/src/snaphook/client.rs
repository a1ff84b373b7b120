//! Sends a checkpoint request to SnapHook.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, RequestBuilder, Url};
use tokio::time::Instant;

use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::PodNeed;
use snapwatcher_kubernetes::tls::certificate_error;

use crate::backend::{CheckpointBackend, CheckpointRequest};
use crate::ca_file;
use crate::failure::{NotSent, failed};
use crate::http::{self, BackendResponse, EndpointLabel, RequestFailure, RequestTimeouts};
use crate::redact::KnownSecrets;

use super::repeated_404::Repeated404;
use super::request::{body, pod_text};
use super::response;
use super::settings::{SnapHookError, SnapHookSettings};

/// The header that identifies an attempt. Attempts have the same until a failure counts, see
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One endpoint takes the requests for the pods of all nodes.
const THE_ENDPOINT: &str = "";

/// The back-end `snaphook`.
#[derive(Debug)]
pub struct SnapHook {
    settings: SnapHookSettings,
    client: Client,
    endpoint: Url,
    /// The endpoint without user, password and query, for messages.
    display_url: String,
    repeated_404: Repeated404,
}

impl SnapHook {
    pub fn new(settings: SnapHookSettings) -> Result<Self, SnapHookError> {
        settings.check()?;
        let endpoint = settings.endpoint();
        let display_url = format!("{}{}", endpoint.origin().ascii_serialization(), endpoint.path());
        Ok(Self { client: client(&settings)?, display_url, endpoint, settings, repeated_404: Repeated404::default() })
    }

    /// The URL that requests are sent to, for messages: without user, password and query.
    pub fn display_url(&self) -> &str {
        &self.display_url
    }

    async fn attempt(&self, request: &CheckpointRequest) -> Outcome {
        let (post, sent) = match self.post(request).await {
            Ok(post) => post,
            Err(not_sent) => return not_sent.into(),
        };
        let timeouts = self.settings.timeouts();
        match http::send_once(post, &sent, timeouts, Instant::now()).await {
            Ok(response) => {
                let is_about_url = self.is_about_url(&response, request);
                response::outcome(&response, is_about_url, &self.display_url, &request.node, clock::now())
            }
            Err(failure) => {
                let (reason, message) = self.classify(&failure);
                failed(reason, &message)
            }
        }
    }

    /// Whether a 404 is about the URL, since other pods got the same text. Each response is noted once.
    fn is_about_url(&self, response: &BackendResponse, request: &CheckpointRequest) -> bool {
        if let Some(text) = response::unknown_pod(response) {
            return self.repeated_404.is_about_url(&text, &request.pod);
        }
        self.repeated_404.reset();
        false
    }

    /// The request, and the secrets in it.
    async fn post(&self, request: &CheckpointRequest) -> Result<(RequestBuilder, KnownSecrets), NotSent> {
        let token = self.token().await?;
        let post = self
            .client
            .post(self.endpoint.clone())
            .header(IDEMPOTENCY_KEY, &request.idempotency_key)
            .json(&body(&self.settings, request)?);
        let (post, secrets) = self.authorized(post, token)?;
        if !self.settings.contract.needs_pod() {
            return Ok((post, secrets));
        }
        let CheckpointRequest { pod, node, container, .. } = request;
        let secrets = secrets.with_pod(pod_text(request)?, &[&*pod.namespace, &*pod.name, node, container]);
        // Without its values, a response that quotes them would be shown.
        let secrets = secrets.map_err(|_| {
            let message = format!("no request sent to SnapHook: a variable of pod `{pod}` has a value that is no text");
            NotSent::new(Reason::Rejected, message)
        })?;
        Ok((post, secrets))
    }

    /// A request for the headers of the endpoint, which takes no checkpoint, and the secrets in it.
    pub(super) async fn get(&self) -> Result<(RequestBuilder, KnownSecrets), NotSent> {
        let token = self.token().await?;
        self.authorized(self.client.get(self.endpoint.clone()), token)
    }

    /// The request with the token, if there is one, and the secrets that it then holds.
    fn authorized(
        &self,
        request: RequestBuilder,
        token: Option<String>,
    ) -> Result<(RequestBuilder, KnownSecrets), NotSent> {
        let secrets = KnownSecrets::of_request(&self.endpoint, token.as_deref());
        let Some(token) = token else { return Ok((request, secrets)) };
        let value = http::bearer(&token)
            .map_err(|error| NotSent::new(Reason::Unauthorized, format!("no request sent to SnapHook: {error}")))?;
        Ok((request.header(AUTHORIZATION, value), secrets))
    }

    pub(super) fn timeouts(&self) -> RequestTimeouts {
        self.settings.timeouts()
    }

    /// The reason and the message of a request without a complete response.
    pub(super) fn classify(&self, failure: &RequestFailure) -> (Reason, String) {
        if let Some(why) = failure.certificate_error() {
            let (url, cause) = (&self.display_url, certificate_error::cause(why));
            let remedy = certificate_error::remedy(why).unwrap_or(
                "name its CA, or the certificate itself, by `--snap-back-api-ca-file`, and a host in `--snap-back-api-url` that it is \
                 valid for",
            );
            return (
                Reason::SnapHookUntrusted,
                format!("the certificate of SnapHook at {url} is not trusted ({cause}): {remedy}"),
            );
        }
        let remedy = "check that SnapHook runs and that `--snap-back-api-url` is its URL";
        failure.classify(EndpointLabel { name: "SnapHook", url: &self.display_url, remedy })
    }

    async fn token(&self) -> Result<Option<String>, NotSent> {
        let Some(path) = &self.settings.token_file else { return Ok(None) };
        let unusable = |why: String| {
            let path = path.display();
            NotSent::new(
                Reason::Unauthorized,
                format!("no request sent to SnapHook: the token file `{path}` {why}; write a bearer token to it"),
            )
        };
        let text =
            tokio::fs::read_to_string(path).await.map_err(|error| unusable(format!("could not be read: {error}")))?;
        match text.trim() {
            "" => Err(unusable("is empty".to_owned())),
            token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(unusable("holds no valid token".to_owned()))
            }
            token => Ok(Some(token.to_owned())),
        }
    }
}

impl CheckpointBackend for SnapHook {
    fn pod_need(&self) -> PodNeed {
        if self.settings.contract.needs_pod() { PodNeed::Text } else { PodNeed::Nothing }
    }

    fn longest_attempt(&self) -> Duration {
        self.settings.timeouts().total()
    }

    fn endpoint<'a>(&self, _node: Option<&'a str>) -> Option<&'a str> {
        Some(THE_ENDPOINT)
    }

    fn checkpoint<'a>(&'a self, request: &'a CheckpointRequest) -> BoxFuture<'a, Outcome> {
        self.attempt(request).boxed()
    }
}

fn client(settings: &SnapHookSettings) -> Result<Client, SnapHookError> {
    let builder = http::client(settings.request_timeout);
    let builder = match &settings.ca_file {
        Some(path) => builder.tls_backend_preconfigured(ca_file::tls(path, "SnapHook")?),
        // Without this, a client for plain HTTP could not be built in an image that has no certificates.
        None if settings.url.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(SnapHookError::Client)
}
