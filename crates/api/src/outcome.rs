//! What came of an attempt, in closed words that status, metrics, Events and the log share.

use std::fmt;

/// Why an attempt did not succeed, or why a record waits; the CamelCase word of its conditions.
///
/// The table of answers in docs/contracts.md says which answer leads to which reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Connection refused, no such host, TLS failed: the back-end never saw the request.
    Unreachable,
    /// 401 or 403.
    Unauthorized,
    /// 404: SnapHook has no such path.
    EndpointNotFound,
    /// 404 or 405: the kubelet does not serve the checkpoint API, since its feature gate is off.
    CheckpointApiDisabled,
    /// 404: the kubelet does not know the pod yet.
    PodNotOnNode,
    /// 429 or 503.
    Busy,
    /// The node has DiskPressure: no archive is put on its disk.
    DiskPressure,
    /// The node's container runtime could take checkpoints, were there a CRIU that it can use.
    NodeNotPrepared,
    /// The kubelet's serving certificate is not trusted.
    KubeletUntrusted,
    /// The node's container runtime takes no checkpoints.
    CheckpointUnsupported,
    /// The node's container runtime tried and failed.
    CheckpointFailed,
    /// The back-end tried and says that it failed.
    BackendFailed,
    /// 408, 425, or 5xx other than 503.
    BackendError,
    /// The request is wrong in the back-end's eyes; repeating it changes nothing.
    Rejected,
    /// 2xx whose body can't be understood.
    InvalidResponse,
    /// The connection stood, and no complete answer came.
    NoResponse,
    /// The process ended in the middle of the attempt.
    Interrupted,
    /// The pod is gone, replaced by another of its name, or terminating.
    PodGone,
    /// The pod no longer carries the label: its owner's consent is gone.
    NotLabelled,
    /// The pod is a static pod: only its kubelet knows its containers.
    StaticPod,
    /// The pod runs from a checkpoint image.
    AlreadyRestored,
    /// The pod has no container of that name.
    NoSuchContainer,
    /// The pod is not Ready (any more).
    NotReady,
    /// `spec` can't be understood.
    InvalidSpec,
}

impl Reason {
    pub const ALL: [Self; 24] = [
        Self::Unreachable,
        Self::Unauthorized,
        Self::EndpointNotFound,
        Self::CheckpointApiDisabled,
        Self::PodNotOnNode,
        Self::Busy,
        Self::DiskPressure,
        Self::NodeNotPrepared,
        Self::KubeletUntrusted,
        Self::CheckpointUnsupported,
        Self::CheckpointFailed,
        Self::BackendFailed,
        Self::BackendError,
        Self::Rejected,
        Self::InvalidResponse,
        Self::NoResponse,
        Self::Interrupted,
        Self::PodGone,
        Self::NotLabelled,
        Self::StaticPod,
        Self::AlreadyRestored,
        Self::NoSuchContainer,
        Self::NotReady,
        Self::InvalidSpec,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Unauthorized => "Unauthorized",
            Self::EndpointNotFound => "EndpointNotFound",
            Self::CheckpointApiDisabled => "CheckpointApiDisabled",
            Self::PodNotOnNode => "PodNotOnNode",
            Self::Busy => "Busy",
            Self::DiskPressure => "DiskPressure",
            Self::NodeNotPrepared => "NodeNotPrepared",
            Self::KubeletUntrusted => "KubeletUntrusted",
            Self::CheckpointUnsupported => "CheckpointUnsupported",
            Self::CheckpointFailed => "CheckpointFailed",
            Self::BackendFailed => "BackendFailed",
            Self::BackendError => "BackendError",
            Self::Rejected => "Rejected",
            Self::InvalidResponse => "InvalidResponse",
            Self::NoResponse => "NoResponse",
            Self::Interrupted => "Interrupted",
            Self::PodGone => "PodGone",
            Self::NotLabelled => "NotLabelled",
            Self::StaticPod => "StaticPod",
            Self::AlreadyRestored => "AlreadyRestored",
            Self::NoSuchContainer => "NoSuchContainer",
            Self::NotReady => "NotReady",
            Self::InvalidSpec => "InvalidSpec",
        }
    }

    /// The reason that is written so.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// What this reason makes of a record.
    pub fn retry_class(self) -> RetryClass {
        match self {
            Self::Unreachable
            | Self::Unauthorized
            | Self::EndpointNotFound
            | Self::CheckpointApiDisabled
            | Self::PodNotOnNode
            | Self::Busy
            | Self::DiskPressure
            | Self::NodeNotPrepared
            | Self::NotReady => RetryClass::NotTried,
            Self::CheckpointFailed | Self::BackendFailed | Self::BackendError => RetryClass::TriedAndFailed,
            Self::KubeletUntrusted
            | Self::CheckpointUnsupported
            | Self::Rejected
            | Self::PodGone
            | Self::NotLabelled
            | Self::StaticPod
            | Self::AlreadyRestored
            | Self::NoSuchContainer
            | Self::InvalidSpec => RetryClass::Final,
            Self::InvalidResponse | Self::NoResponse | Self::Interrupted => RetryClass::Unknown,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What follows from a [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// The back-end was not asked in earnest: the record stays Pending and costs no failure.
    NotTried,
    /// The back-end tried: the record stays Pending and a failure is counted.
    TriedAndFailed,
    /// Failed for good.
    Final,
    /// The request may have had its effect.
    Unknown,
}

/// Where the checkpoint is, as far as the back-end said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// Path of the archive.
    pub archive: Option<String>,
    /// Node on which the archive lies; set with `archive`.
    pub node: Option<String>,
    /// Image that holds the checkpoint.
    pub image: Option<String>,
}

/// A text that came from a back-end, without its secrets and cut to [`Redacted::LIMIT`] characters.
///
/// Made by `backend::redact` of what a back-end said, so that no other text of one can reach a log, status or metric; and
/// by [`Redacted::own`] of our own words.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// The longest text that is kept, in characters; status.message has the same limit in the CRD.
    pub const LIMIT: usize = 1024;

    /// Takes a text whose secrets were removed. Only the back-ends' `redact` may call this; clippy forbids it elsewhere.
    pub fn assume_redacted(text: String) -> Self {
        Self(text)
    }

    /// Words of this program, which hold nothing that a back-end said; cut to the limit.
    pub fn own(words: &str) -> Self {
        Self(words.chars().take(Self::LIMIT).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Succeeded(Location),
    /// `message` is for people: what the back-end said or what went wrong.
    Failed {
        reason: Reason,
        message: Redacted,
        retry_after: Option<std::time::Duration>,
    },
}

impl Outcome {
    /// One word for metrics and logs: `Succeeded` or the reason.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "Succeeded",
            Self::Failed { reason, .. } => reason.as_str(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(_) => f.write_str("Succeeded"),
            Self::Failed { reason, message, .. } => write!(f, "{reason}: {message}"),
        }
    }
}
