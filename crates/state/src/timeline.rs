//! A timeline as it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;

use snapwatcher_api::pod::PodName;

/// When one pod reached each stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTimeline {
    pub pod: PodName,
    pub uid: String,
    /// When the pod was admitted.
    pub admission: Option<AdmissionTime>,
    /// When the watch first saw it. `None`: only its Checkpoint is known so far.
    pub seen: Option<Timestamp>,
    /// When it first was eligible, after its delay.
    pub ready: Option<Timestamp>,
    /// Why it is not eligible now.
    pub waiting_for: Option<String>,
    pub containers: BTreeMap<String, ContainerTimeline>,
}

/// When a pod was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionTime {
    pub at: Timestamp,
    /// Not by this process: `at` is then the creation time of the pod.
    pub by_other_replica: bool,
}

/// The later stages of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerTimeline {
    /// Name of the Checkpoint. `None` with back-end `log`.
    pub checkpoint: Option<String>,
    pub claimed: Option<Timestamp>,
    /// When the request was sent.
    pub requested: Option<Timestamp>,
    /// When the final outcome was known.
    pub finished: Option<Timestamp>,
    /// `Succeeded` or a reason.
    pub outcome: Option<String>,
}
