//! The phase of a Checkpoint.

use serde::{Deserialize, Serialize};

/// Pending: no request was sent yet, or another one follows. InProgress: an attempt may be under way. Succeeded: the checkpoint
/// exists. Failed: there is no checkpoint, and no further attempt follows. Unknown: a request was sent, its result is unknown,
/// and no further attempt follows.
// The schema has no description for each value, so the type describes them all.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No request was sent yet, or another one follows.
    Pending,
    /// An attempt may be under way.
    InProgress,
    /// The checkpoint exists.
    Succeeded,
    /// There is no checkpoint, and no further attempt follows.
    Failed,
    /// A request was sent, its result is unknown, and no further attempt follows.
    Unknown,
}

impl Phase {
    /// No further attempt follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Unknown)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}
