//! Requests a token from the service that a registry names. Credentials go to that realm alone: redirects are not followed.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};

use super::authorization::basic;
use super::challenge::BearerChallenge;
use super::docker_config::Credential;
use super::token::{self, Token, TokenRequest};
use crate::error::Cause;
use crate::http::{self, HopRule, Outgoing, Oversized, Pace, shown_host};
use crate::refusal::Refusals;
use crate::secret::Secret;

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// How token services are reached.
pub(super) struct TokenService {
    pub(super) client: Client,
    /// Where the registry is.
    pub(super) registry: Url,
    pub(super) hops: HopRule,
    pub(super) refusals: Refusals,
    /// Where credentials come from, for messages.
    pub(super) origin: String,
}

/// A request, and the secrets in it.
struct Prepared {
    outgoing: Outgoing,
    authorization: Option<HeaderValue>,
    secrets: Vec<Secret>,
}

impl TokenService {
    /// Requests a token with this scope.
    pub(super) async fn token(
        &self,
        challenge: &BearerChallenge,
        scope: &str,
        credential: Option<Credential>,
    ) -> Result<Token, Cause> {
        let realm = &challenge.realm;
        let registry = || shown_host(&self.registry);
        self.hops.check(&self.registry, realm).map_err(|why| Cause::Hop { host: registry(), why })?;
        let host = shown_host(realm);
        let failed = |failure| Cause::of_failure(&host, &failure);
        let has_credentials = credential.is_some();
        let Prepared { outgoing, authorization, secrets } = self.prepared(token::request(challenge, scope, credential));
        // What is sent here is short: the pace of uploads does not apply.
        let pace = Arc::new(Mutex::new(Pace::new(None)));
        let mut response = http::send(&self.client, &outgoing, authorization, &pace).await.map_err(failed)?;
        let status = response.status();
        if status != StatusCode::OK {
            let answer = self.refusals.read(&mut response, &secrets).await;
            let is_unauthorized = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            return Err(if is_unauthorized {
                Cause::of_unauthorized(&host, &self.origin, has_credentials, answer)
            } else {
                Cause::of_answer(&host, answer)
            });
        }
        match http::read_at_most(&mut response, LONGEST_ANSWER, self.refusals.silence).await.map_err(failed)? {
            Oversized::Yes(_) => Err(Cause::TooLong { what: "the answer of the token service", limit: LONGEST_ANSWER }),
            Oversized::Whole(json) => token::token(&json).ok_or_else(|| {
                let why = "the answer of the token service holds no token".to_owned();
                Cause::Protocol { host: host.clone(), why }
            }),
        }
    }

    fn prepared(&self, request: TokenRequest) -> Prepared {
        let outgoing = |method, url, headers, body| {
            let silence = self.refusals.silence;
            Outgoing { method, url, headers, body, silence }
        };
        match request {
            TokenRequest::Get { url, basic: credential } => {
                let credential = credential.map(|(user, password)| Credential::Basic { user, password });
                let authorization = credential.as_ref().and_then(basic);
                let secrets = authorization.as_ref().map(|sent| sent.secrets.clone()).unwrap_or_default();
                let outgoing = outgoing(Method::GET, url, HeaderMap::new(), Bytes::new());
                Prepared { outgoing, authorization: authorization.map(|sent| sent.value), secrets }
            }
            TokenRequest::Post { url, form, token } => {
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, FORM)]);
                let secrets = vec![token, form.clone()];
                let outgoing = outgoing(Method::POST, url, headers, form.reveal().to_owned().into());
                Prepared { outgoing, authorization: None, secrets }
            }
        }
    }
}
