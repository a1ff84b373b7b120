//! Checks whether SnapHook can be reached and knows the path of the contract, without a checkpoint: by a `GET` of the path
//! to which checkpoint requests are posted.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::Instant;

use snapwatcher_api::outcome::Reason;

use crate::http::{RequestTimeouts, send_once};
use crate::redact::redact;

use super::client::SnapHook;

/// The longest time for connecting, and for the response: an operator waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// The result of a probe. Messages are redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapHookProbe {
    Answered(StatusCode),
    /// The token file can't be used.
    BadToken(String),
    /// Its certificate is not trusted.
    Untrusted(String),
    /// No connection could be established.
    Unreachable(String),
    /// The connection was established, but there is no complete response.
    NoResponse(String),
}

impl SnapHook {
    /// Sends one request.
    pub async fn probe(&self) -> SnapHookProbe {
        let redacted = |text: &str| redact(text).to_string();
        let (request, sent) = match self.get().await {
            Ok(get) => get,
            Err(not_sent) => return SnapHookProbe::BadToken(redacted(&not_sent.message)),
        };
        let timeouts = RequestTimeouts { connect: self.timeouts().connect.min(LIMIT), response: LIMIT };
        match send_once(request, &sent, timeouts, Instant::now()).await {
            Ok(response) => SnapHookProbe::Answered(response.status),
            Err(failure) => match self.classify(&failure) {
                (Reason::SnapHookUntrusted, message) => SnapHookProbe::Untrusted(redacted(&message)),
                (Reason::NoResponse, message) => SnapHookProbe::NoResponse(redacted(&message)),
                (_, message) => SnapHookProbe::Unreachable(redacted(&message)),
            },
        }
    }
}
