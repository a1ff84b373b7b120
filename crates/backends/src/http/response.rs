//! The response of a back-end.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;

use snapwatcher_daemon::retry_after::retry_after;

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

    /// The wait that the server requests, at most [`LONGEST_RETRY_AFTER`].
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after(self.retry_after_header.as_deref()?, now, LONGEST_RETRY_AFTER)
    }
}
