//! A claim whose workload and name are known.

use snapwatcher_api::checkpoint::CheckpointTarget;
use snapwatcher_kubernetes::workload::Workload;

/// What a claim creates.
#[derive(Debug, Clone)]
pub(super) struct PreparedClaim {
    pub(super) target: CheckpointTarget,
    pub(super) workload: Workload,
    /// Of the Checkpoint.
    pub(super) name: String,
    /// Of the pod, as a label value.
    pub(super) node: String,
}
