//! What was written and what was requested, as the server and the back-end know it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use snapwatcher_api::outcome::{Outcome, Reason, RetryClass};

use super::facts::AttemptId;

/// One request that was decided.
#[derive(Debug, Clone)]
pub(super) struct RequestEntry {
    /// UID of the Checkpoint.
    pub(super) record: String,
    pub(super) attempt: AttemptId,
    pub(super) pod: String,
    pub(super) container: String,
    /// Of the process.
    pub(super) generation: u64,
    pub(super) is_sent: bool,
    /// The process was paused between its last check and the send.
    pub(super) was_paused: bool,
    /// What the back-end does.
    pub(super) result: Option<Outcome>,
    /// The checkpoint exists.
    pub(super) has_effect: bool,
    /// What the process got.
    pub(super) delivered: Option<Outcome>,
}

impl RequestEntry {
    /// The process knows that there is no checkpoint.
    pub(super) fn is_known_to_have_failed(&self) -> bool {
        let Some(Outcome::Failed { reason, .. }) = &self.delivered else { return false };
        !matches!(reason.retry_class(), RetryClass::Unknown)
    }
}

/// One written attempt.
#[derive(Debug, Clone)]
pub(super) struct WrittenAttempt {
    pub(super) attempt: AttemptId,
    pub(super) at: Duration,
}

#[derive(Default)]
pub(super) struct Evidence {
    pub(super) requests: Vec<RequestEntry>,
    /// By UID of the Checkpoint.
    pub(super) attempts: HashMap<String, Vec<WrittenAttempt>>,
    /// UIDs of Checkpoints that were Succeeded once.
    pub(super) succeeded: HashSet<String>,
    /// Generations of processes that were killed.
    pub(super) killed: HashSet<u64>,
    /// The instance and the generation of each holder.
    pub(super) holders: HashMap<String, (String, u64)>,
}

/// The reason of an outcome that only a request can have.
pub(super) fn is_of_request(reason: Reason) -> bool {
    use Reason::{
        AlreadyRestored, FromBackup, ImageChanged, Interrupted, InvalidSpec, NoSuchContainer, NotLabelled, NotReady,
        NotSent, PodGone, StaticPod, TooManyCheckpoints,
    };
    !matches!(
        reason,
        ImageChanged
            | Interrupted
            | InvalidSpec
            | NoSuchContainer
            | NotLabelled
            | NotReady
            | NotSent
            | PodGone
            | AlreadyRestored
            | StaticPod
            | TooManyCheckpoints
            | FromBackup
    )
}
