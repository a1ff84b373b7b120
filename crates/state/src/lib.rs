//! What this process knows of each pod's timeline: shared by admission, watch, checkpoints and the admin port.
//!
//! Memory of one process, bounded in number and age, never the truth: the truth is in the API server, from which a
//! restarted process sees pods and records again. Nothing here decides anything.

mod admissions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use snapwatcher_api::pod::{PodFacts, PodName};

use admissions::Admissions;

/// How many timelines are remembered; the one untouched for longest goes first. About 1 KiB each.
const TIMELINES: u64 = 10_000;
/// A timeline untouched for this long is forgotten.
const TIMELINE_AGE: Duration = Duration::from_secs(24 * 3600);

/// One pod's way through the stages.
#[derive(Debug, Clone)]
pub struct PodTimeline {
    pub pod: PodName,
    pub uid: String,
    /// When the pod was admitted.
    pub admission: Option<Admission>,
    /// The watch first saw it; not yet where only its record is known.
    pub seen: Option<Timestamp>,
    /// It first was eligible, delay included.
    pub ready: Option<Timestamp>,
    /// What holds it back now.
    pub waiting_for: Option<String>,
    pub containers: BTreeMap<String, ContainerTimeline>,
}

/// When a pod was admitted, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub at: Timestamp,
    /// Answered by another process or by none: `at` is then the pod's creation time.
    pub by_other_replica: bool,
}

/// The later stages, one set for each container that is checkpointed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerTimeline {
    /// Name of the `Checkpoint` object; none with back-end `log`.
    pub checkpoint: Option<String>,
    pub claimed: Option<Timestamp>,
    /// The request left.
    pub requested: Option<Timestamp>,
    /// The outcome was known.
    pub finished: Option<Timestamp>,
    /// `Succeeded` or a reason.
    pub outcome: Option<String>,
}

/// The timelines of one process. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct PodTimelines {
    admissions: Arc<Admissions>,
    timelines: Cache<String, PodTimeline>,
}

impl Default for PodTimelines {
    fn default() -> Self {
        Self::new()
    }
}

impl PodTimelines {
    pub fn new() -> Self {
        let timelines = Cache::builder().max_capacity(TIMELINES).time_to_idle(TIMELINE_AGE);
        Self { admissions: Arc::default(), timelines: timelines.eviction_policy(EvictionPolicy::lru()).build() }
    }

    /// Admission answered the request of that UID for a labelled pod.
    pub fn admitted(&self, request_uid: &str, at: Timestamp) {
        self.admissions.insert(request_uid, at);
    }

    /// The watch saw the pod; the first time counts.
    pub fn seen(&self, pod: &PodFacts, at: Timestamp) {
        self.change(&pod.name, &pod.uid, |timeline| {
            if timeline.seen.is_none() {
                timeline.seen = Some(at);
                timeline.admission = self.admission_of(pod, at);
            }
        });
    }

    /// The pod is eligible; the first time counts.
    pub fn ready(&self, pod: &PodFacts, at: Timestamp) {
        self.change(&pod.name, &pod.uid, |timeline| {
            timeline.ready.get_or_insert(at);
            timeline.waiting_for = None;
        });
    }

    /// The pod is held back, for the reason given in words.
    pub fn waits(&self, pod: &PodFacts, cause: &str) {
        self.change(&pod.name, &pod.uid, |timeline| timeline.waiting_for = Some(cause.to_owned()));
    }

    /// Nothing holds the pod back any more.
    pub fn unblocked(&self, pod: &PodFacts) {
        self.change(&pod.name, &pod.uid, |timeline| timeline.waiting_for = None);
    }

    /// StatusWriter the later stages of one container.
    pub fn container(&self, pod: &PodName, uid: &str, container: &str, change: impl FnOnce(&mut ContainerTimeline)) {
        self.change(pod, uid, |timeline| change(timeline.containers.entry(container.to_owned()).or_default()));
    }

    /// All timelines, by namespace and name of the pod.
    pub fn timelines(&self) -> Vec<PodTimeline> {
        let mut timelines: Vec<_> = self.timelines.iter().map(|(_, timeline)| timeline).collect();
        timelines.sort_by(|a, b| (&a.pod, &a.uid).cmp(&(&b.pod, &b.uid)));
        timelines
    }

    pub fn timeline(&self, uid: &str) -> Option<PodTimeline> {
        self.timelines.get(uid)
    }

    fn admission_of(&self, pod: &PodFacts, now: Timestamp) -> Option<Admission> {
        let here = pod.admission.as_ref().and_then(|request_uid| self.admissions.get(request_uid, now));
        match here {
            Some(at) => Some(Admission { at, by_other_replica: false }),
            None => pod.created.map(|at| Admission { at, by_other_replica: true }),
        }
    }

    fn change(&self, pod: &PodName, uid: &str, change: impl FnOnce(&mut PodTimeline)) {
        self.timelines.entry_by_ref(uid).and_upsert_with(|entry| {
            let mut timeline = entry.map_or_else(|| PodTimeline::of(pod, uid), moka::Entry::into_value);
            change(&mut timeline);
            timeline
        });
    }
}

impl PodTimeline {
    fn of(pod: &PodName, uid: &str) -> Self {
        let (pod, uid) = (pod.clone(), uid.to_owned());
        Self { pod, uid, admission: None, seen: None, ready: None, waiting_for: None, containers: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::pod::WatchedPod;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn pod(admission: Option<&str>) -> PodFacts {
        let mut pod: WatchedPod = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u1", "creationTimestamp": at(0).to_string()},
        }))
        .unwrap();
        pod.metadata.annotations =
            admission.map(|uid| [(snapwatcher_api::keys::ADMISSION.to_owned(), uid.to_owned())].into_iter().collect());
        pod.into()
    }

    #[test]
    fn a_pod_is_joined_to_the_admission_this_process_answered() {
        let state = PodTimelines::new();
        state.admitted("request-1", at(1));
        state.seen(&pod(Some("request-1")), at(2));
        assert_eq!(state.timeline("u1").unwrap().admission, Some(Admission { at: at(1), by_other_replica: false }));
    }

    #[test]
    fn an_admission_answered_elsewhere_is_the_creation_of_the_pod() {
        for annotation in [None, Some("of-another-replica")] {
            let state = PodTimelines::new();
            state.seen(&pod(annotation), at(2));
            assert_eq!(state.timeline("u1").unwrap().admission, Some(Admission { at: at(0), by_other_replica: true }));
        }
    }

    #[test]
    fn the_first_time_of_a_stage_counts() {
        let state = PodTimelines::new();
        for second in [2, 3] {
            state.seen(&pod(None), at(second));
            state.ready(&pod(None), at(second + 10));
        }
        let timeline = state.timeline("u1").unwrap();
        assert_eq!((timeline.seen, timeline.ready), (Some(at(2)), Some(at(12))));
    }

    #[test]
    fn a_journey_known_from_its_record_is_joined_when_the_pod_is_seen() {
        let state = PodTimelines::new();
        state.admitted("request-1", at(1));
        let pod = pod(Some("request-1"));
        state.container(&pod.name, &pod.uid, "app", |container| container.requested = Some(at(3)));
        state.seen(&pod, at(5));
        let timeline = state.timeline("u1").unwrap();
        assert_eq!((timeline.seen, timeline.containers["app"].requested), (Some(at(5)), Some(at(3))));
        assert_eq!(timeline.admission, Some(Admission { at: at(1), by_other_replica: false }));
    }

    #[test]
    fn journeys_are_bounded_in_number() {
        let state = PodTimelines::new();
        for number in 0..TIMELINES + 500 {
            let mut pod = pod(None);
            pod.uid = number.to_string();
            state.seen(&pod, at(0));
        }
        state.timelines.run_pending_tasks();
        assert!(state.timelines.entry_count() <= TIMELINES);
        assert!(state.timeline(&(TIMELINES + 499).to_string()).is_some(), "the newest is kept");
    }
}
