//! How a back-end reports an attempt that failed.

use snapwatcher_api::outcome::{Outcome, Reason};

use crate::redact::redact;

/// Why no request was sent.
#[derive(Debug)]
pub(crate) struct NotSent {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl NotSent {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl From<NotSent> for Outcome {
    fn from(NotSent { reason, message }: NotSent) -> Self {
        failed(reason, &message)
    }
}

/// A failed attempt. The message may hold text of a back-end and is redacted here.
pub(crate) fn failed(reason: Reason, message: &str) -> Outcome {
    Outcome::Failed { reason, message: redact(message), retry_after: None }
}
