//! The response of a back-end.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;

use crate::backend::LONGEST_RETRY_AFTER;
use crate::redact::KnownSecrets;

/// A response, with as much of its body as is read.
#[derive(Debug)]
pub(crate) struct BackendResponse {
    pub(crate) status: StatusCode,
    /// The value of the header `Retry-After`.
    pub(crate) retry_after_header: Option<String>,
    /// What was read of the body. The credentials of the request are removed from it.
    pub(crate) body: String,
    /// What the request held. Texts for messages go through [`shown`](Self::shown).
    pub(crate) sent: KnownSecrets,
    /// Whether the body ended within the limit and is UTF-8. Only such a body is parsed.
    pub(crate) is_readable: bool,
}

impl BackendResponse {
    /// A text of the body without the values that the request held.
    pub(crate) fn shown(&self, text: &str) -> String {
        self.sent.without_values(text)
    }

    /// The wait that the server requests: seconds or a date, see RFC 9110 section 10.2.3. Other values are ignored, and a
    /// date in the past means now.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let value = self.retry_after_header.as_deref()?.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number that does not fit is a very long time.
            let wait = value.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs);
            return Some(wait.min(LONGEST_RETRY_AFTER));
        }
        let at = DateTimeParser::new().parse_timestamp(value).ok()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}
