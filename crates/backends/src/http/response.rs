//! The response of a back-end.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;

use crate::backend::LONGEST_RETRY_AFTER;

/// A response, with as much of its body as is read.
#[derive(Debug)]
pub(crate) struct BackendResponse {
    pub(crate) status: StatusCode,
    /// The value of the header `Retry-After`.
    pub(crate) retry_after_header: Option<String>,
    /// What was read of the body. The token of the request is taken out of it.
    pub(crate) body: String,
    /// Whether the body ended within the limit and is UTF-8. Only such a body is parsed.
    pub(crate) is_readable: bool,
}

impl BackendResponse {
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
