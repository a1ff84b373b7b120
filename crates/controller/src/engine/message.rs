//! What goes into the engine and comes out of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::watcher::Event;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::eligibility::Ineligible;
use snapwatcher_api::outcome::Outcome;
use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_kubernetes::workload::Workload;

use super::circuit_breaker::EndpointSignal;
use crate::log_block::BlockEvent;
use crate::operation::{ClaimError, Operation, OperationId, OperationResult, Progress, SentAttempt, UnmetAttempt};

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub wall: Timestamp,
    /// The time since the machine started, suspension included. It is never set.
    pub boot: Duration,
}

impl Now {
    /// The time of the clock since boot at which the wall clock will show `at`, if it is not set. It is now if `at` has passed.
    pub(super) fn boot_at(self, at: Timestamp) -> Duration {
        self.boot.saturating_add(Duration::try_from(at.duration_since(self.wall)).unwrap_or_default())
    }
}

/// What the engine learns.
#[derive(Debug)]
pub enum Input {
    /// This replica has become the leader, or is no longer.
    Leads(bool),
    /// The process stops: nothing new is started.
    Stop,
    /// An event of the watch of pods in the scope of that number.
    Pods {
        scope: usize,
        event: Box<Event<WatchedPod>>,
    },
    /// An event of the watch of Checkpoints in the scope of that number.
    Checkpoints {
        scope: usize,
        event: Box<Event<Checkpoint>>,
    },
    Progress {
        id: OperationId,
        progress: Progress,
    },
    Finished {
        id: OperationId,
        result: OperationResult,
    },
    /// A round of retention has ended.
    Retained,
    /// The time of [`Engine::next_wakeup`](super::Engine::next_wakeup) has come.
    Wakeup,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Effect {
    /// Run this operation, and report its progress and its end.
    Start(OperationId, Operation),
    /// Delete old Checkpoints. The pods of these UIDs exist.
    Retain {
        known_pods: HashSet<String>,
    },
    Report(Box<Report>),
}

/// What happened, for logs, Events, metrics, health checks and timelines.
#[derive(Debug)]
pub enum Report {
    PodSeen(PodFacts),
    PodBlocked {
        pod: PodFacts,
        cause: Ineligible,
    },
    PodUnblocked(PodFacts),
    /// So many pods are watched.
    PodsWatched(usize),
    /// The claim of a container starts.
    ClaimStarted {
        pod: PodFacts,
        container: String,
    },
    Claimed(Box<ClaimReport>),
    /// The container has a Checkpoint already, of this name if it is known.
    AlreadyClaimed {
        pod: PodName,
        uid: String,
        container: String,
        checkpoint: Option<String>,
    },
    ClaimFailed {
        pod: PodFacts,
        container: String,
        error: ClaimError,
    },
    /// The watch has delivered a Checkpoint.
    CheckpointSeen(Arc<Checkpoint>),
    /// The annotation of a Checkpoint names a first attempt that does not count.
    AttemptIgnored,
    Requested(Arc<Checkpoint>),
    /// The back-end has responded. `signal`: what this says of its endpoint; `others_reachable`: no circuit breaker of another endpoint
    /// is open.
    Responded {
        outcome: Outcome,
        signal: EndpointSignal,
        others_reachable: bool,
    },
    AttemptEnded(Box<SentAttempt>),
    Unmet {
        checkpoint: Arc<Checkpoint>,
        unmet: Box<UnmetAttempt>,
    },
    Interrupted(Arc<Checkpoint>),
    /// The API server did not accept a write of this Checkpoint.
    AttemptFailed {
        checkpoint: Arc<Checkpoint>,
        error: CallError,
        retry_after: Duration,
    },
    /// Claims and attempts pause, because of this error.
    OutageStarted(String),
    OutageEnded,
    AttemptsQueued(usize),
    BreakersOpen(usize),
    /// No circuit breaker is open any more.
    EndpointsReachable,
}

/// A claim that is the first of its container.
#[derive(Debug)]
pub struct ClaimReport {
    pub event: BlockEvent,
    pub pod: PodFacts,
    pub container: String,
    pub workload: Workload,
    /// The name of the Checkpoint; `None` with back-end `log`.
    pub checkpoint: Option<String>,
}
