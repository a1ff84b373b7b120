//! Why a step of the work on a Checkpoint or Snapshot failed, and what follows for its next try.

use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::workload::WorkloadError;
use snapwatcher_registry::RegistryError;

use crate::keys::KeyError;
use crate::work_queue::End;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Registry(#[from] Box<RegistryError>),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<RegistryError> for StepError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl StepError {
    /// How the work ended.
    pub(crate) fn end(&self) -> End {
        let failed = |is_rejected, least| End::Failed { is_rejected, least };
        let of_call = |error: &CallError| {
            if error.is_conflict() { End::Overtaken } else { failed(error.is_about_object(), None) }
        };
        match self {
            Self::Call(error) | Self::Key(KeyError::Call(error)) => of_call(error),
            Self::Workload(WorkloadError::Lookup { source, .. }) => of_call(source),
            Self::Workload(WorkloadError::Gone { .. }) | Self::Key(_) => failed(false, None),
            Self::Registry(error) => failed(false, error.retry_after()),
        }
    }
}
