//! Requests to one registry: with its credentials, through redirects, and repeated where that is safe.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::time::{Instant, sleep};

use crate::auth::{Access, Authorizer, Keychain};
use crate::error::Cause;
use crate::http::{self, HopRule, Outgoing, Oversized, Pace, is_same_origin, shown_host};
use crate::patience::{Next, Patience};
use crate::refusal::Refusals;
use crate::repository_name::RepositoryName;
use crate::secret::Secret;
use crate::settings::{RegistrySettings, RegistryTimes, SettingsError};

/// The most redirects of one request.
const MOST_HOPS: usize = 5;

/// The registry, and all that requests to it need.
pub(crate) struct Server {
    client: Client,
    /// Its URL without a path.
    root: Url,
    hops: HopRule,
    authorizer: Authorizer,
    refusals: Refusals,
    pace: Arc<Mutex<Pace>>,
    pub(crate) times: RegistryTimes,
    pub(crate) chunk_bytes: usize,
}

/// A request to a registry.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) access: Access,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long nothing may be sent, nor arrive.
    pub(crate) silence: Duration,
}

/// A response, whatever its status is.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// Where it comes from: the URL of the request, or the last one of its redirects.
    pub(crate) url: Url,
    /// What is removed from its text.
    secrets: Vec<Secret>,
}

impl Server {
    pub(crate) fn new(settings: &RegistrySettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let client = http::client(settings)?;
        let plain_http = settings.plain_http();
        let root = format!("{}://{}/", plain_http.scheme(), settings.repository.server());
        let root: Url = root.parse().map_err(|_| SettingsError::Registry)?;
        let hops = HopRule { plain_http };
        let refusals = Refusals { redact: settings.redact, silence: settings.times.silence };
        let keychain = Keychain::new(settings.credentials_file.clone());
        let authorizer = Authorizer::new(client.clone(), root.clone(), hops, keychain, refusals);
        let pace = Arc::new(Mutex::new(Pace::new(settings.upload_bytes_per_second)));
        let (times, chunk_bytes) = (settings.times, settings.chunk_bytes);
        Ok(Self { client, root, hops, authorizer, refusals, pace, times, chunk_bytes })
    }

    /// A call without headers and body; `tail` is the path behind the name of the repository.
    pub(crate) fn call(&self, method: Method, repository: &RepositoryName, tail: &str, access: Access) -> Call {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{tail}", repository.path()));
        self.call_to(method, url, access)
    }

    /// A call to a URL that the registry has named.
    pub(crate) fn call_to(&self, method: Method, url: Url, access: Access) -> Call {
        Call { method, url, access, headers: HeaderMap::new(), body: Bytes::new(), silence: self.times.silence }
    }

    /// The registry, for messages.
    pub(crate) fn host(&self) -> String {
        shown_host(&self.root)
    }

    /// The URL that the registry names in a response that came from `from`.
    pub(crate) fn resolved(&self, from: &Url, location: &str) -> Result<Url, Cause> {
        self.hops.resolve(from, location).map_err(|why| Cause::Hop { host: shown_host(from), why })
    }

    /// Whether a URL is of the registry itself.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        is_same_origin(url, &self.root)
    }

    /// Sends a call once, through its redirects.
    pub(crate) async fn send(&self, repository: &RepositoryName, call: &Call) -> Result<Reply, Cause> {
        let mut url = call.url.clone();
        for _ in 0..=MOST_HOPS {
            let reply = self.exchange(repository, call, url).await?;
            if !is_redirect(&call.method, reply.response.status()) {
                return Ok(reply);
            }
            url = self.location(&reply)?;
        }
        Err(self.protocol(&format!("more than {MOST_HOPS} redirects")))
    }

    /// Sends a call once. A response with another status than these is an error.
    pub(crate) async fn expect(
        &self,
        repository: &RepositoryName,
        call: &Call,
        expected: &[StatusCode],
    ) -> Result<Reply, Cause> {
        let reply = self.send(repository, call).await?;
        if expected.contains(&reply.response.status()) { Ok(reply) } else { Err(self.refusal(repository, reply).await) }
    }

    /// Sends a call once, and reads a body of at most `limit` bytes, which is `what`.
    pub(crate) async fn read(
        &self,
        repository: &RepositoryName,
        call: &Call,
        what: &'static str,
        limit: usize,
    ) -> Result<(Reply, Vec<u8>), Cause> {
        let mut reply = self.expect(repository, call, &[StatusCode::OK]).await?;
        let read = http::read_at_most(&mut reply.response, limit, self.times.silence).await;
        match read.map_err(|failure| Cause::of_failure(&shown_host(&reply.url), &failure))? {
            Oversized::Whole(body) => Ok((reply, body)),
            Oversized::Yes(_) => Err(Cause::TooLong { what, limit }),
        }
    }

    /// The cause that a response with an unexpected status is.
    pub(crate) async fn refusal(&self, repository: &RepositoryName, mut reply: Reply) -> Cause {
        let host = shown_host(&reply.url);
        let status = reply.response.status();
        if self.is_own(&reply.url) && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return self.authorizer.refused(repository, &mut reply.response, &reply.secrets).await;
        }
        Cause::of_answer(&host, self.refusals.read(&mut reply.response, &reply.secrets).await)
    }

    /// The address in a response.
    pub(crate) fn location(&self, reply: &Reply) -> Result<Url, Cause> {
        let location = reply.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.protocol("a response has no valid `Location`"))?;
        self.resolved(&reply.url, location)
    }

    pub(crate) fn protocol(&self, why: &str) -> Cause {
        Cause::Protocol { host: self.host(), why: why.to_owned() }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.times, Instant::now())
    }

    /// Repeats an attempt that changes nothing if it is repeated, until it succeeds, fails for good or has failed too often.
    pub(crate) async fn patiently<T, F>(&self, attempt: impl Fn() -> F + Send) -> Result<T, Cause>
    where
        F: Future<Output = Result<T, Cause>> + Send,
    {
        let mut patience = self.patience();
        loop {
            match attempt().await {
                Err(cause) if cause.is_worth_repeating() => self.wait_after(cause, &mut patience).await?,
                result => return result,
            }
        }
    }

    /// Waits before the repeat that follows a failure, or fails if there was enough of them.
    pub(crate) async fn wait_after(&self, cause: Cause, patience: &mut Patience) -> Result<(), Cause> {
        let retry_after = cause.answer().and_then(|answer| answer.retry_after);
        match patience.failed(retry_after, Instant::now(), fastrand::f64()) {
            Next::Wait(wait) => {
                sleep(wait).await;
                Ok(())
            }
            Next::Stop { failures, time } => Err(Cause::Repeated { last: Box::new(cause), failures, time }),
        }
    }

    /// Sends a call to one URL, and again after a 401 with what the registry then requires.
    async fn exchange(&self, repository: &RepositoryName, call: &Call, url: Url) -> Result<Reply, Cause> {
        let Call { method, access, headers, body, silence, .. } = call.clone();
        let host = shown_host(&url);
        let outgoing = Outgoing { method, url: url.clone(), headers, body, silence };
        let failed = |failure| Cause::of_failure(&host, &failure);
        if !self.is_own(&url) {
            let response = http::send(&self.client, &outgoing, None, &self.pace).await.map_err(failed)?;
            return Ok(Reply { response, url, secrets: Vec::new() });
        }
        let mut sent = self.authorizer.known(repository, access).await?;
        let value = sent.as_ref().map(|sent| sent.value.clone());
        let mut response = http::send(&self.client, &outgoing, value, &self.pace).await.map_err(failed)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let required = self.authorizer.challenged(repository, access, response, sent.as_ref()).await?;
            let value = Some(required.value.clone());
            response = http::send(&self.client, &outgoing, value, &self.pace).await.map_err(failed)?;
            sent = Some(required);
        }
        Ok(Reply { response, url, secrets: sent.map(|sent| sent.secrets).unwrap_or_default() })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("root", &self.root.as_str()).finish_non_exhaustive()
    }
}

/// RFC 9110, 15.4. Only 307 and 308 keep method and body of a request that changes something.
fn is_redirect(method: &Method, status: StatusCode) -> bool {
    let reads = *method == Method::GET || *method == Method::HEAD;
    matches!(status.as_u16(), 307 | 308) || (reads && matches!(status.as_u16(), 301..=303))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_read_follow_every_redirect() {
        for (method, status, expected) in [
            (Method::GET, 302, true),
            (Method::HEAD, 301, true),
            (Method::GET, 304, false),
            (Method::GET, 200, false),
            (Method::PATCH, 307, true),
            (Method::PUT, 308, true),
            (Method::PUT, 302, false),
            (Method::POST, 303, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_redirect(&method, status), expected, "{method} {status}");
        }
    }
}
