//! One request on a fresh connection, and what its failure means.
//!
//! A request that may have had its effect must never be made twice by itself, so everything that would repeat one
//! quietly is off: retries, redirects, kept connections (a request on one that the server just closed is sent again).
//! For the same reason it matters when it failed: before the connection stood nothing was asked, after it nobody knows.
//! The connector runs inside the future of its request (nothing is pooled), so it can tell that the connection stands.
//! Errors alone can't: a time-out looks the same before and after.

mod fault;

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{HeaderValue, InvalidHeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;

use crate::redact;

pub(super) use self::fault::Broken;
use self::fault::Fault;

/// How much of an answer is read.
const ANSWER_LIMIT: usize = redact::INPUT_LIMIT;

/// Shortest token that is looked for in an answer: shorter ones would blot out ordinary words.
const SHORTEST_TOKEN: usize = 8;

/// The longest wait that a server may ask for; as long as our own longest pause.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

tokio::task_local! {
    /// Cancelled when the connection of this request stands, TLS included.
    static CONNECTED: CancellationToken;
}

/// How long one exchange may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the beginning of the attempt until the connection stands, TLS included.
    pub connect: Duration,
    /// From then to the end of the answer.
    pub answer: Duration,
}

/// A complete answer, or as much of it as is read.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// The header `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// What was read, without the secrets that we know ourselves.
    pub body: String,
    /// Whether the body ended within the limit and is UTF-8, so that it may be understood.
    pub is_legible: bool,
}

impl Answer {
    /// Seconds or a date, see RFC 9110 section 10.2.3; what is neither is ignored, and a past date is now.
    pub(super) fn wished_wait(&self, now: Timestamp) -> Option<Duration> {
        let value = self.retry_after.as_deref()?.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number has room for are a very long time.
            let wait = value.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs);
            return Some(wait.min(LONGEST_RETRY_AFTER));
        }
        let at = DateTimeParser::new().parse_timestamp(value).ok()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}

/// A client of which each request is made as this module promises, if it goes through [`exchange`]; what is trusted is
/// the caller's to add.
pub(super) fn client(connect: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("snapwatcher/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        // The exchange keeps the time itself; this one divides the time among the addresses of the host.
        .connect_timeout(connect)
        .connector_layer(MapResponseLayer::new(|connection| {
            note_connection();
            connection
        }))
}

/// The value of `Authorization` for a bearer token, which nothing prints.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Makes the request of an attempt that was begun at `begun`, and reads the answer. `token` is what the request carries,
/// to be taken out of the answer: a server may quote it without any word that gives it away.
pub(super) async fn exchange(
    request: RequestBuilder,
    token: Option<&str>,
    times: Times,
    begun: Instant,
) -> Result<Answer, Broken> {
    let connected = CancellationToken::new();
    let answered = tokio::select! {
        biased;
        answered = CONNECTED.scope(connected.clone(), answer(request, token)) => answered.map_err(Fault::Failed),
        fault = out_of_time(times, begun, &connected) => Err(fault),
    };
    answered.map_err(|fault| Broken::new(fault, connected.is_cancelled(), times))
}

/// Tells the exchange in whose future this runs that its connection stands.
fn note_connection() {
    // Outside an exchange there is nobody to tell.
    let _nobody = CONNECTED.try_with(CancellationToken::cancel);
}

/// Waits until the exchange has taken too long.
async fn out_of_time(times: Times, begun: Instant, connected: &CancellationToken) -> Fault {
    if timeout_at(begun + times.connect, connected.cancelled()).await.is_err() {
        return Fault::OutOfTime(times.connect);
    }
    sleep(times.answer).await;
    Fault::OutOfTime(times.answer)
}

async fn answer(request: RequestBuilder, token: Option<&str>) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while body.len() <= ANSWER_LIMIT
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let is_whole = body.len() <= ANSWER_LIMIT;
    body.truncate(ANSWER_LIMIT);
    let is_legible = is_whole && str::from_utf8(&body).is_ok();
    let text = String::from_utf8_lossy(&body);
    let text = if is_whole { &text } else { redact::without_last_word(&text) };
    Ok(Answer {
        status: response.status(),
        retry_after: response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned),
        body: without(token, text),
        is_legible,
    })
}

fn without(token: Option<&str>, text: &str) -> String {
    match token {
        Some(token) if token.len() >= SHORTEST_TOKEN => text.replace(token, redact::MARK),
        _ => text.to_owned(),
    }
}
