//! The phase of a Snapshot.

use serde::{Deserialize, Serialize};

/// Pending: the node of the origin has not unpacked the archive yet. Local: nodes hold it, and the registry does not. Saved: the
/// registry holds it. Rejected: it is not used, and the condition `Accepted` says why. Expired: its revision is gone, and it is about
/// to be deleted.
// The schema has no description for each value, so the type describes them all.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SnapshotPhase {
    /// The node of the origin has not unpacked the archive yet.
    #[default]
    Pending,
    /// Nodes hold it, and the registry does not.
    Local,
    /// The registry holds it.
    Saved,
    /// It is not used. The condition `Accepted` says why.
    Rejected,
    /// Its revision is gone, and it is about to be deleted.
    Expired,
}

impl SnapshotPhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Local => "Local",
            Self::Saved => "Saved",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
        }
    }
}
