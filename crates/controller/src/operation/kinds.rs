//! Which operations there are, and how they end.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

use super::claim_error::ClaimError;
use crate::record::transitions::{Holder, RetryPolicy};

/// How long after the start of its write an attempt may still be sent. Later, another process may already have marked
/// it Interrupted, so it is cancelled instead.
pub(crate) const SEND_WINDOW: Duration = Duration::from_secs(15);

/// The number of an operation, unique within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub u64);

/// An operation.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Finds the workload of a pod that will be claimed.
    FindWorkload { pod: Box<PodFacts> },
    /// Creates the Checkpoint of a container, and makes its first attempt if it has a slot.
    Claim(Box<Claim>),
    /// Makes an attempt of a Checkpoint, which has a slot.
    Attempt(Box<Attempt>),
    /// Writes why a Checkpoint is not attempted, without a look at a pod.
    WriteUnmet { checkpoint: Arc<Checkpoint>, reason: Reason, message: String },
    /// Writes that the attempt in a Checkpoint was interrupted.
    MarkInterrupted(Arc<Checkpoint>),
    /// Writes a Checkpoint back to Pending, whose attempt this process wrote and never sent.
    Cancel(Arc<Checkpoint>),
}

/// What [`Operation::Claim`] does.
#[derive(Debug, Clone)]
pub struct Claim {
    pub pod: PodFacts,
    pub container: String,
    pub target: CheckpointTarget,
    pub workload: Workload,
    /// The name of the Checkpoint.
    pub name: String,
    /// Whether the claim is also the first attempt.
    pub attempts: bool,
}

/// What [`Operation::Attempt`] does.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub checkpoint: Arc<Checkpoint>,
    pub pod: PodName,
    /// The node for which the attempt has a slot, as a label value; `None`: the pod is not known to the watch.
    pub node: Option<String>,
    /// `None`: the watch does not show the container.
    pub shown: Option<ShownContainer>,
}

/// What the watch shows of the container of an attempt.
#[derive(Debug, Clone)]
pub struct ShownContainer {
    /// A digest. With another one, the pod has just been updated in place, and the container may still run this image.
    pub image: u64,
    /// The instance of the container that still runs the image before, see
    /// [`ContainerFacts::instance`](snapwatcher_api::pod::ContainerFacts::instance).
    pub outdated: Option<u64>,
}

/// What an operation reports before it ends.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The claim is the first: it has created this Checkpoint.
    Claimed(Arc<Checkpoint>),
    /// The request leaves now.
    Requested(Arc<Checkpoint>),
    /// The back-end has responded, or it never will. The deadline is that of the attempt.
    Responded { outcome: Outcome, deadline: Option<Timestamp> },
}

/// How an operation ended.
#[derive(Debug)]
pub enum OperationResult {
    Workload(Result<Workload, WorkloadError>),
    Claim(Result<ClaimResult, ClaimError>),
    Attempt(Result<AttemptResult, CallError>),
    /// `None`: another process has changed the Checkpoint first.
    Written(Result<Option<Arc<Checkpoint>>, CallError>),
}

/// How a claim ended.
#[derive(Debug)]
pub enum ClaimResult {
    /// It created the Checkpoint, and made no attempt.
    Created,
    /// It created the Checkpoint, and made its first attempt.
    Attempted(AttemptResult),
    /// The container has a Checkpoint already.
    AlreadyClaimed,
    /// A Checkpoint of another target has the name.
    NameTaken,
    /// The process stops, and created nothing.
    Stopped,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum AttemptResult {
    /// The request was sent, and its outcome is written, if [`SentAttempt::written`] says so.
    Sent(Box<SentAttempt>),
    /// No request was sent: a precondition is not met, as the status now says.
    Unmet(Box<UnmetAttempt>),
    /// No request was sent. Another process has changed the Checkpoint, or writing the attempt took too long.
    NotSent { written: Option<Arc<Checkpoint>> },
    /// No request was sent: the pod is on this node, for which the attempt has no slot.
    OtherNode(String),
    /// No request was sent: the pod belongs to another workload than the Checkpoint of the revision. `workload_uid` is empty
    /// if its controller is gone.
    OtherWorkload { pod: PodName, uid: String, workload_uid: String },
}

/// An attempt whose request was sent.
#[derive(Debug)]
pub struct SentAttempt {
    pub pod: PodFacts,
    pub container: String,
    pub outcome: Outcome,
    /// The Checkpoint after it, as written or as it would have been written.
    pub checkpoint: Arc<Checkpoint>,
    pub written: OutcomeWrite,
}

/// Whether the outcome of an attempt was written.
#[derive(Debug)]
pub enum OutcomeWrite {
    Done,
    /// No: the Checkpoint was deleted, or belongs to another process.
    Superseded,
    /// No: the API server has rejected it again and again. The Checkpoint stays InProgress until it is marked Interrupted.
    Rejected(CallError),
}

impl OutcomeWrite {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// A precondition that is not met.
#[derive(Debug)]
pub struct UnmetAttempt {
    pub outcome: Outcome,
    /// The pod, if there is one that the Checkpoint names.
    pub pod: Option<PodFacts>,
    /// The Checkpoint as written; `None`: its status said so already, or another process has changed it.
    pub written: Option<Arc<Checkpoint>>,
}

/// The settings of all operations.
#[derive(Debug, Clone)]
pub struct OperationSettings {
    pub holder: Holder,
    pub policy: RetryPolicy,
    /// How many pods of a revision are attempted, one after another, before its Checkpoint is final.
    pub max_pods_per_revision: usize,
    /// The longest time that one request to the back-end can take.
    pub longest_request: Duration,
}

impl OperationSettings {
    /// How long an attempt can take, from its write on.
    pub(crate) fn longest_attempt(&self) -> SignedDuration {
        SignedDuration::try_from(SEND_WINDOW + self.longest_request).unwrap_or(SignedDuration::MAX)
    }
}
