//! Sends one request and reads its response, without any repeat.
//!
//! A request whose result is unknown must never be repeated silently. So everything that would repeat one is off: retries,
//! redirects, kept connections (hyper sends a request again if the server closes a kept connection).
//!
//! The moment of a failure decides about its outcome: before the connection is established the back-end has not seen the
//! request, after it the result is unknown. An error does not show that moment: a timeout looks the same
//! before and after. Nothing is pooled, so the connector runs inside the future of its request and can report the connection.

use std::time::Duration;

use reqwest::header::{HeaderValue, InvalidHeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;

use crate::redact::{self, KnownSecrets};

use super::request_failure::{FailureCause, RequestFailure};
use super::response::BackendResponse;
use super::timeouts::RequestTimeouts;

/// How much of a body is read.
const BODY_LIMIT: usize = redact::INPUT_LIMIT;

tokio::task_local! {
    /// Cancelled when the connection of this request is established, TLS included.
    static CONNECTED: CancellationToken;
}

/// Builds a client for [`send_once`]; the caller adds the trusted certificates.
pub(crate) fn client(connect: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("snapwatcher/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        // `send_once` limits the time itself. This limit divides the time among the addresses of the host.
        .connect_timeout(connect)
        .connector_layer(MapResponseLayer::new(|connection| {
            report_connection();
            connection
        }))
}

/// The value of `Authorization` for a bearer token. Its debug output hides the token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends the request of an attempt that started at `started`, and reads the response. The credentials in `sent`
/// are removed from it, because a server may quote them in a form that [`redact`] can't recognize.
pub(crate) async fn send_once(
    request: RequestBuilder,
    sent: &KnownSecrets,
    timeouts: RequestTimeouts,
    started: Instant,
) -> Result<BackendResponse, RequestFailure> {
    let connected = CancellationToken::new();
    let result = tokio::select! {
        biased;
        result = CONNECTED.scope(connected.clone(), send(request, sent)) => result.map_err(FailureCause::Transport),
        cause = timed_out(timeouts, started, &connected) => Err(cause),
    };
    result.map_err(|cause| RequestFailure::new(cause, connected.is_cancelled(), timeouts))
}

/// Reports to the [`send_once`] in whose future this runs that its connection is established.
fn report_connection() {
    // Outside of `send_once` there is no token to cancel.
    let _outside = CONNECTED.try_with(CancellationToken::cancel);
}

/// Waits until the request has taken too long.
async fn timed_out(timeouts: RequestTimeouts, started: Instant, connected: &CancellationToken) -> FailureCause {
    if timeout_at(started + timeouts.connect, connected.cancelled()).await.is_err() {
        return FailureCause::TimedOut(timeouts.connect);
    }
    sleep(timeouts.response).await;
    FailureCause::TimedOut(timeouts.response)
}

async fn send(request: RequestBuilder, sent: &KnownSecrets) -> Result<BackendResponse, reqwest::Error> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while body.len() <= BODY_LIMIT
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let is_whole = body.len() <= BODY_LIMIT;
    body.truncate(BODY_LIMIT);
    let is_readable = is_whole && str::from_utf8(&body).is_ok();
    let text = String::from_utf8_lossy(&body);
    let text = if is_whole { &text } else { redact::without_last_word(&text) };
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Ok(BackendResponse {
        status: response.status(),
        retry_after_header: retry_after.map(str::to_owned),
        body: sent.without_credentials(text),
        sent: sent.clone(),
        is_readable,
    })
}
