//! A timeline as it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;

use snapwatcher_api::checkpoint::Checkpoint;
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

/// The timeline before the first one of a page. Timelines are in the order of namespace, name of the pod, and UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageStart {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl From<&PodTimeline> for PageStart {
    fn from(timeline: &PodTimeline) -> Self {
        let PodTimeline { pod, uid, .. } = timeline;
        Self { namespace: pod.namespace.to_string(), name: pod.name.to_string(), uid: uid.clone() }
    }
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

impl ContainerTimeline {
    /// Takes over the stages that a Checkpoint of the container shows. Of several ones, that which was created last counts: the
    /// pod was updated in place, or someone has created one.
    pub fn take_over(&mut self, checkpoint: &Checkpoint) {
        let name = checkpoint.metadata.name.clone();
        let created = checkpoint.metadata.creation_timestamp.as_ref().map(|created| created.0);
        if self.checkpoint.is_some() && self.checkpoint != name {
            // The API server's time has seconds only.
            if created.map(Timestamp::as_second) < self.claimed.map(Timestamp::as_second) {
                return;
            }
            *self = Self::default();
        }
        self.checkpoint = name;
        self.claimed = self.claimed.or(created);
        let Some(status) = &checkpoint.status else { return };
        self.requested = self.requested.or(status.start_time.as_ref().map(|start| start.0));
        if checkpoint.phase().is_final() {
            self.finished = self.finished.or(status.completion_time.as_ref().map(|done| done.0));
            self.outcome = checkpoint.reason().map(str::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use snapwatcher_api::checkpoint::Phase;
    use snapwatcher_api::fixtures::{at, checkpoint};
    use snapwatcher_api::outcome::Reason;

    use super::*;

    /// Created at that second.
    fn created(name: &str, second: i64) -> Checkpoint {
        let mut checkpoint = checkpoint("web").in_progress().named(name).build();
        checkpoint.metadata.creation_timestamp = Some(Time(at(second)));
        checkpoint
    }

    #[test]
    fn the_stages_are_those_of_the_checkpoint_that_was_created_last() {
        let mut old = created("old", 0);
        old.status = checkpoint("web").in_progress().reason(Phase::Failed, Reason::ImageChanged).build().status;
        let new = created("new", 5);
        for order in [[&old, &new], [&new, &old]] {
            let mut timeline = ContainerTimeline::default();
            for checkpoint in order {
                timeline.take_over(checkpoint);
            }
            let (name, outcome) = (timeline.checkpoint.as_deref(), timeline.outcome.as_deref());
            assert_eq!((name, timeline.claimed, outcome), (Some("new"), Some(at(5)), None));
        }
    }

    #[test]
    fn what_this_process_has_seen_itself_is_kept() {
        let mut timeline = ContainerTimeline {
            checkpoint: Some("web".to_owned()),
            claimed: Some(at(7)),
            requested: Some(at(8)),
            ..ContainerTimeline::default()
        };
        let before = timeline.clone();
        timeline.take_over(&created("web", 6));
        assert_eq!(timeline, before);
    }
}
