//! Carries out what the engine starts: operations, each of a few calls to the API server and at most one request to a back-end.
//!
//! An operation is an async function over [`OperationIo`], so that a simulation can run it on a simulated API server.

mod attempt;
mod claim;
mod claim_error;
mod cluster_io;
mod io;
mod kinds;
mod request;
mod status_writer;
#[cfg(test)]
mod test_io;

pub(crate) use attempt::INTERRUPTED;
pub use claim_error::ClaimError;
pub use cluster_io::ClusterIo;
pub(crate) use cluster_io::labeled_pods;
pub use io::OperationIo;
pub(crate) use kinds::SEND_WINDOW;
pub use kinds::{
    Attempt, AttemptResult, Claim, ClaimResult, Operation, OperationId, OperationResult, OperationSettings,
    OutcomeWrite, Progress, SentAttempt, ShownContainer, UnmetAttempt,
};

/// Runs an operation to its end. `report` receives its progress.
pub async fn run<I: OperationIo>(
    io: &I,
    settings: &OperationSettings,
    operation: Operation,
    report: impl Fn(Progress) + Send + Sync,
) -> OperationResult {
    match operation {
        Operation::FindWorkload { pod } => OperationResult::Workload(io.workload(&pod).await),
        Operation::Claim(claim) => OperationResult::Claim(claim::run(io, settings, &claim, &report).await),
        Operation::Attempt(attempt) => OperationResult::Attempt(attempt::run(io, settings, &attempt, &report).await),
        Operation::WriteUnmet { checkpoint, reason, message } => {
            OperationResult::Attempt(attempt::write_only(io, settings, &checkpoint, reason, &message).await)
        }
        Operation::MarkInterrupted(checkpoint) => {
            OperationResult::Written(attempt::mark_interrupted(io, settings, &checkpoint).await)
        }
        Operation::Cancel(checkpoint) => {
            OperationResult::Written(attempt::cancel_unsent(io, settings, &checkpoint).await)
        }
    }
}
