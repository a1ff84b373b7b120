//! Why there is no claim.

use snapwatcher_api::eligibility::Ineligible;
use snapwatcher_api::pod::PodName;
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::workload::WorkloadError;

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// By a live read, the pod is not eligible.
    #[error("pod `{pod}` is not eligible any more: {cause}")]
    Ineligible { pod: PodName, cause: Ineligible },
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The pod will be deleted with its namespace.
    #[error("namespace `{0}` is being deleted")]
    NamespaceTerminating(String),
    #[error("the Checkpoint resource is not installed: run `snapwatcher crd | kubectl apply --server-side -f -`")]
    NoDefinition,
    /// Checkpoints of other pods or revisions have all names that could be derived.
    #[error(
        "could not derive a unique Checkpoint name: `{0}` and all names before it belong to other pods; delete one of them"
    )]
    NoName(String),
    #[error(transparent)]
    Call(CallError),
}

impl ClaimError {
    /// Whether the claim failed for what it is about, so that others can still succeed, and will probably fail again.
    pub(crate) fn is_about_object(&self) -> bool {
        match self {
            Self::NoDefinition | Self::NoName(_) => true,
            _ => self.call().is_some_and(CallError::is_about_object),
        }
    }

    /// Whether the API server has rejected the claim, as it probably will those of other pods of the namespace: by a quota or a
    /// policy, or since the resource is missing.
    pub(crate) fn is_rejection(&self) -> bool {
        match self {
            Self::NoDefinition => true,
            Self::Call(call) => call.is_about_object(),
            Self::Ineligible { .. } | Self::Workload(_) | Self::NamespaceTerminating(_) | Self::NoName(_) => false,
        }
    }

    /// The call that failed because the API server could not be reached. It is reported once for all claims.
    pub(crate) fn unreachable(&self) -> Option<&CallError> {
        self.call().filter(|call| !call.is_about_object())
    }

    fn call(&self) -> Option<&CallError> {
        match self {
            Self::Call(call) => Some(call),
            Self::Workload(WorkloadError::Lookup { source, .. }) => Some(source),
            _ => None,
        }
    }
}

impl From<CallError> for ClaimError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
