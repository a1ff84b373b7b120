//! Why an attempt failed, and what follows from it.

use std::fmt;

/// Why an attempt failed, or why a Checkpoint is not attempted; the CamelCase reason of the conditions.
///
/// docs/contracts.md says which response leads to which reason, docs/troubleshooting.md what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No connection to the back-end: connection refused, unknown host, failed TLS handshake. It received no request.
    Unreachable,
    /// The certificate of SnapHook is not trusted. It received no request.
    SnapHookUntrusted,
    /// 401, or 403 of a kubelet: the credentials are missing, wrong, or lack a right.
    Unauthorized,
    /// 404: SnapHook has no such path.
    EndpointNotFound,
    /// 404 or 405: the kubelet does not serve the checkpoint API, since its feature gate is off.
    CheckpointApiDisabled,
    /// 404: the kubelet does not know the pod yet.
    PodNotOnNode,
    /// 403: SnapHook does not take checkpoints of this pod with these credentials.
    PodForbidden,
    /// 404: SnapHook does not know the pod yet.
    PodNotFound,
    /// 429 or 503: the back-end takes no request now.
    Busy,
    /// The node has DiskPressure, so no archive is written to its disk.
    DiskPressure,
    /// The archives of the namespace on the node have reached the limit of a day, or the last automatic checkpoint of the container was
    /// too short a time ago.
    TooSoon,
    /// The container runtime of the node finds no usable CRIU.
    NodeNotPrepared,
    /// The serving certificate of the kubelet is not trusted.
    KubeletUntrusted,
    /// The container runtime of the node does not support checkpoints.
    CheckpointUnsupported,
    /// The container runtime of the node failed to take the checkpoint.
    CheckpointFailed,
    /// SnapHook reports that it failed to take the checkpoint.
    BackendFailed,
    /// 408, 425, or 5xx other than 503: the back-end failed.
    BackendError,
    /// Another 4xx, or a redirect: the back-end does not accept the request, and repeating it changes nothing.
    Rejected,
    /// 2xx with a body that is no valid response. The checkpoint may exist.
    InvalidResponse,
    /// The request was sent, but there is no complete response. The checkpoint may exist.
    NoResponse,
    /// The SnapWatcher process ended before the outcome was recorded. The checkpoint may exist.
    Interrupted,
    /// The attempt was cancelled before its request was sent.
    NotSent,
    /// The pod was deleted, is terminating, has ended, or another pod has its name.
    PodGone,
    /// The pod does not have the label `snap.weaversoft.io/snap: "true"`.
    NotLabelled,
    /// The pod is a static pod. Only its kubelet knows its containers, so it can't be checkpointed by name.
    StaticPod,
    /// The pod already runs from a checkpoint image.
    AlreadyRestored,
    /// The pod has no container of that name.
    NoSuchContainer,
    /// The container has another image than the Checkpoint names.
    ImageChanged,
    /// The pod is not Ready, or its container has not started.
    NotReady,
    /// The spec, or an annotation of the pod, is invalid.
    InvalidSpec,
    /// The namespace had too many unfinished manual Checkpoints when this one was created.
    TooManyCheckpoints,
    /// The Checkpoint was created from a backup, without the status of the original.
    FromBackup,
}

impl Reason {
    pub const ALL: [Self; 32] = [
        Self::Unreachable,
        Self::SnapHookUntrusted,
        Self::Unauthorized,
        Self::EndpointNotFound,
        Self::CheckpointApiDisabled,
        Self::PodNotOnNode,
        Self::PodForbidden,
        Self::PodNotFound,
        Self::Busy,
        Self::DiskPressure,
        Self::TooSoon,
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
        Self::NotSent,
        Self::PodGone,
        Self::NotLabelled,
        Self::StaticPod,
        Self::AlreadyRestored,
        Self::NoSuchContainer,
        Self::ImageChanged,
        Self::NotReady,
        Self::InvalidSpec,
        Self::TooManyCheckpoints,
        Self::FromBackup,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::SnapHookUntrusted => "SnapHookUntrusted",
            Self::Unauthorized => "Unauthorized",
            Self::EndpointNotFound => "EndpointNotFound",
            Self::CheckpointApiDisabled => "CheckpointApiDisabled",
            Self::PodNotOnNode => "PodNotOnNode",
            Self::PodForbidden => "PodForbidden",
            Self::PodNotFound => "PodNotFound",
            Self::Busy => "Busy",
            Self::DiskPressure => "DiskPressure",
            Self::TooSoon => "TooSoon",
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
            Self::NotSent => "NotSent",
            Self::PodGone => "PodGone",
            Self::NotLabelled => "NotLabelled",
            Self::StaticPod => "StaticPod",
            Self::AlreadyRestored => "AlreadyRestored",
            Self::NoSuchContainer => "NoSuchContainer",
            Self::ImageChanged => "ImageChanged",
            Self::NotReady => "NotReady",
            Self::InvalidSpec => "InvalidSpec",
            Self::TooManyCheckpoints => "TooManyCheckpoints",
            Self::FromBackup => "FromBackup",
        }
    }

    /// The reason with this name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// What follows from this reason.
    pub fn retry_class(self) -> RetryClass {
        match self {
            Self::Unreachable
            | Self::SnapHookUntrusted
            | Self::Unauthorized
            | Self::EndpointNotFound
            | Self::CheckpointApiDisabled
            | Self::PodNotOnNode
            | Self::PodForbidden
            | Self::PodNotFound
            | Self::Busy
            | Self::DiskPressure
            | Self::TooSoon
            | Self::NodeNotPrepared
            | Self::NotSent
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
            | Self::ImageChanged
            | Self::InvalidSpec
            | Self::TooManyCheckpoints
            | Self::FromBackup => RetryClass::Final,
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
    /// The back-end did not try: the Checkpoint stays Pending, and no failure is counted.
    NotTried,
    /// The back-end tried and failed: the Checkpoint stays Pending, and a failure is counted.
    TriedAndFailed,
    /// The Checkpoint is Failed. No further attempt follows.
    Final,
    /// The checkpoint may exist.
    Unknown,
}
