//! What follows from the events of pods.

use std::sync::Arc;
use std::time::Duration;

use snapwatcher_api::eligibility::Ineligible;
use snapwatcher_api::pod::{PodFacts, PodName};

/// A container of a pod, with its image. The UID distinguishes the pod from another one of its name, and the image this state
/// of the container from another one after an update in place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ContainerKey {
    pub(super) pod: PodName,
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) image: Arc<str>,
}

impl ContainerKey {
    /// Before all containers of a pod of that name.
    pub(super) fn first_of(pod: &PodName) -> Self {
        Self { pod: pod.clone(), uid: String::new(), container: String::new(), image: "".into() }
    }
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PodAction {
    /// The pod is new to this process.
    Seen(PodFacts),
    /// Claim this container.
    Claim(ContainerKey),
    /// The pod has become Ready or eligible, has ended, was updated in place, or is gone: Checkpoints that wait for it are to be looked at
    /// again. `revision`: the pod's, or that of before.
    Changed { pod: PodName, revision: String },
    /// Call `PodTable::recheck` at that time of the clock since boot.
    Recheck { pod: PodName, at: Duration },
    /// The pod is not eligible, for another cause than before.
    Blocked { pod: PodFacts, cause: Ineligible },
    /// The pod has become eligible.
    Unblocked(PodFacts),
}

impl PodAction {
    pub(super) fn changed(pod: &PodFacts) -> Self {
        Self::Changed { pod: pod.name.clone(), revision: pod.revision().to_owned() }
    }
}
