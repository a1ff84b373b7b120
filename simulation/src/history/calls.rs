//! The calls of operations, and their answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::core::Status;
use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::keys::ATTEMPT;
use snapwatcher_api::outcome::Outcome;
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_backends::backend::CheckpointRequest;
use snapwatcher_controller::operation::OperationId;
use snapwatcher_kubernetes::cluster::{CallError, LivePod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

/// What an operation asks of its surroundings.
#[derive(Debug, Clone)]
pub(super) enum Request {
    ReadPod(PodName),
    ListPods { namespace: String, revision: String },
    Workload(Box<PodFacts>),
    Create(Box<Checkpoint>),
    Read { namespace: String, name: String },
    ReplaceStatus(Box<Checkpoint>),
    Backend(CheckpointRequest),
    Sleep(Duration),
}

/// The kinds of calls, as coverage counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum CallKind {
    ReadPod,
    ListPods,
    Workload,
    CreateAttempt,
    CreatePending,
    Read,
    WriteAttempt,
    WritePending,
    WriteFinal,
    Backend,
}

impl CallKind {
    pub(super) const ALL: [Self; 10] = [
        Self::ReadPod,
        Self::ListPods,
        Self::Workload,
        Self::CreateAttempt,
        Self::CreatePending,
        Self::Read,
        Self::WriteAttempt,
        Self::WritePending,
        Self::WriteFinal,
        Self::Backend,
    ];

    pub(super) fn is_write(self) -> bool {
        use CallKind::{CreateAttempt, CreatePending, WriteAttempt, WriteFinal, WritePending};
        matches!(self, CreateAttempt | CreatePending | WriteAttempt | WritePending | WriteFinal)
    }
}

impl Request {
    /// `None` for a sleep, which is no call.
    pub(super) fn kind(&self) -> Option<CallKind> {
        Some(match self {
            Self::ReadPod(_) => CallKind::ReadPod,
            Self::ListPods { .. } => CallKind::ListPods,
            Self::Workload(_) => CallKind::Workload,
            Self::Create(object) if has_annotation(object) => CallKind::CreateAttempt,
            Self::Create(_) => CallKind::CreatePending,
            Self::Read { .. } => CallKind::Read,
            Self::ReplaceStatus(object) => match object.phase() {
                Phase::InProgress => CallKind::WriteAttempt,
                Phase::Pending => CallKind::WritePending,
                Phase::Succeeded | Phase::Failed | Phase::Unknown => CallKind::WriteFinal,
            },
            Self::Backend(_) => CallKind::Backend,
            Self::Sleep(_) => return None,
        })
    }
}

fn has_annotation(object: &Checkpoint) -> bool {
    object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ATTEMPT))
}

/// What an operation gets.
pub(super) enum Answer {
    Pod(Result<Option<LivePod>, CallError>),
    Pods(Result<Vec<PodFacts>, CallError>),
    Workload(Result<Workload, WorkloadError>),
    Stored(Result<Checkpoint, CallError>),
    Found(Result<Option<Checkpoint>, CallError>),
    Outcome(Outcome),
    Slept,
}

/// Where the answer of one call arrives.
#[derive(Clone, Default)]
pub(super) struct AnswerSlot(Arc<Mutex<Option<Answer>>>);

impl AnswerSlot {
    pub(super) fn put(&self, answer: Answer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    pub(super) fn take(&self) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the operation still waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A call under way.
pub(super) struct Call {
    pub(super) process: usize,
    /// Of the process: a later process in the same place has another one.
    pub(super) generation: u64,
    pub(super) operation: OperationId,
    pub(super) request: Request,
    pub(super) answer: AnswerSlot,
    /// When the client gives up.
    pub(super) times_out_at: Duration,
}

/// Why a client has no result.
pub(super) fn error(code: Option<u16>) -> CallError {
    match code {
        Some(code) => {
            let reason = if code == 429 { "TooManyRequests" } else { "" };
            let status = Status::failure("simulated", reason).with_code(code);
            CallError::Failed { what: String::new(), source: Box::new(kube::Error::Api(Box::new(status))) }
        }
        None => CallError::TimedOut { what: String::new() },
    }
}

/// The answer to a call without a result.
pub(super) fn failed(request: &Request, error: CallError) -> Answer {
    match request {
        Request::ReadPod(_) => Answer::Pod(Err(error)),
        Request::ListPods { .. } => Answer::Pods(Err(error)),
        Request::Workload(pod) => {
            let pod = pod.name.to_string();
            Answer::Workload(Err(WorkloadError::Lookup { pod, source: Arc::new(error) }))
        }
        Request::Create(_) | Request::ReplaceStatus(_) => Answer::Stored(Err(error)),
        Request::Read { .. } => Answer::Found(Err(error)),
        Request::Backend(_) | Request::Sleep(_) => Answer::Slept,
    }
}
