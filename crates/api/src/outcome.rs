//! The outcome of an attempt, in closed words that status, metrics, Events and logs share.

mod reason;
mod redacted;

use std::fmt;
use std::time::Duration;

pub use reason::{Reason, RetryClass};
pub use redacted::Redacted;

/// Where a checkpoint is, if the back-end reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// The path of the archive.
    pub archive: Option<String>,
    /// The node that holds the archive; set together with `archive`.
    pub node: Option<String>,
    /// The image that holds the checkpoint.
    pub image: Option<String>,
    /// The bytes of the archive, as a back-end counted it that limits how many are written.
    pub counted_bytes: Option<u64>,
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Succeeded(Location),
    Failed {
        reason: Reason,
        /// What happened, to which object, why, and what to do.
        message: Redacted,
        /// The wait that the back-end requests before the next attempt.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// `Succeeded` or the reason, for metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "Succeeded",
            Self::Failed { reason, .. } => reason.as_str(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(_) => f.write_str("Succeeded"),
            Self::Failed { reason, message, .. } => write!(f, "{reason}: {message}"),
        }
    }
}
