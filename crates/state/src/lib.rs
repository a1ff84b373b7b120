//! The store that admission, the controller and the admin port share: when requests were admitted, and how far each pod has
//! come.
//!
//! It is memory of one process, bounded in number and age, and for display alone. No decision depends on it: a restarted
//! process reads pods and Checkpoints from the API server again. There is no I/O in this crate, and it depends on `api` only.

mod admissions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use snapwatcher_api::pod::{PodFacts, PodName};

use admissions::Admissions;

/// How many timelines are kept, about 1 KiB each. The one that was not used for longest is dropped first.
const MAX_TIMELINES: u64 = 10_000;
/// A timeline that was not used for this long is dropped.
const MAX_TIMELINE_AGE: Duration = Duration::from_secs(24 * 3600);

/// When one pod reached each stage.
#[derive(Debug, Clone)]
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

/// The store. Cloning gives another handle to the same store.
#[derive(Clone)]
pub struct PodTimelines {
    /// By UID of the admission request, which the pod carries in an annotation.
    admissions: Arc<Admissions>,
    /// By UID of the pod.
    timelines: Cache<String, PodTimeline>,
}

impl Default for PodTimelines {
    fn default() -> Self {
        Self::new()
    }
}

impl PodTimelines {
    pub fn new() -> Self {
        // By the default policy, a full cache may reject a new entry in favor of older ones.
        let timelines = Cache::builder().max_capacity(MAX_TIMELINES).time_to_idle(MAX_TIMELINE_AGE);
        Self { admissions: Arc::default(), timelines: timelines.eviction_policy(EvictionPolicy::lru()).build() }
    }

    /// This process answered the admission request of that UID, for a labeled pod.
    pub fn admitted(&self, request_uid: &str, at: Timestamp) {
        self.admissions.insert(request_uid, at);
    }

    /// The watch saw the pod. Only the first time is kept.
    pub fn seen(&self, pod: &PodFacts, at: Timestamp) {
        self.update(&pod.name, &pod.uid, |timeline| {
            if timeline.seen.is_none() {
                timeline.seen = Some(at);
                timeline.admission = self.admission_of(pod, at);
            }
        });
    }

    /// The pod is eligible. Only the first time is kept.
    pub fn ready(&self, pod: &PodFacts, at: Timestamp) {
        self.update(&pod.name, &pod.uid, |timeline| {
            timeline.ready.get_or_insert(at);
            timeline.waiting_for = None;
        });
    }

    /// The pod is not eligible, for this cause.
    pub fn waiting_for(&self, pod: &PodFacts, cause: &str) {
        self.update(&pod.name, &pod.uid, |timeline| timeline.waiting_for = Some(cause.to_owned()));
    }

    /// The pod no longer waits for anything.
    pub fn unblocked(&self, pod: &PodFacts) {
        self.update(&pod.name, &pod.uid, |timeline| timeline.waiting_for = None);
    }

    /// Changes the later stages of one container.
    pub fn update_container(
        &self,
        pod: &PodName,
        uid: &str,
        container: &str,
        change: impl FnOnce(&mut ContainerTimeline),
    ) {
        self.update(pod, uid, |timeline| change(timeline.containers.entry(container.to_owned()).or_default()));
    }

    /// All timelines, by namespace and name of the pod.
    pub fn all(&self) -> Vec<PodTimeline> {
        let mut timelines: Vec<_> = self.timelines.iter().map(|(_, timeline)| timeline).collect();
        timelines.sort_by(|a, b| (&a.pod, &a.uid).cmp(&(&b.pod, &b.uid)));
        timelines
    }

    /// The timeline of the pod of that UID.
    pub fn get(&self, uid: &str) -> Option<PodTimeline> {
        self.timelines.get(uid)
    }

    fn admission_of(&self, pod: &PodFacts, now: Timestamp) -> Option<AdmissionTime> {
        let own = pod.admission.as_ref().and_then(|request_uid| self.admissions.get(request_uid, now));
        match own {
            Some(at) => Some(AdmissionTime { at, by_other_replica: false }),
            None => pod.created.map(|at| AdmissionTime { at, by_other_replica: true }),
        }
    }

    fn update(&self, pod: &PodName, uid: &str, change: impl FnOnce(&mut PodTimeline)) {
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
    use snapwatcher_api::fixtures::{self, at};
    use snapwatcher_api::keys::ADMISSION;

    /// With UID `u`, created at `at(0)`.
    fn pod(request_uid: Option<&str>) -> PodFacts {
        let pod = fixtures::pod("web").created(at(0));
        match request_uid {
            Some(request_uid) => pod.annotation(ADMISSION, request_uid).facts(),
            None => pod.facts(),
        }
    }

    #[test]
    fn a_pod_is_joined_with_the_admission_by_this_process() {
        let timelines = PodTimelines::new();
        timelines.admitted("request-1", at(1));
        timelines.seen(&pod(Some("request-1")), at(2));
        let expected = AdmissionTime { at: at(1), by_other_replica: false };
        assert_eq!(timelines.get("u").unwrap().admission, Some(expected));
    }

    #[test]
    fn an_admission_by_another_replica_has_the_creation_time_of_the_pod() {
        for request_uid in [None, Some("of-another-replica")] {
            let timelines = PodTimelines::new();
            timelines.seen(&pod(request_uid), at(2));
            let expected = AdmissionTime { at: at(0), by_other_replica: true };
            assert_eq!(timelines.get("u").unwrap().admission, Some(expected));
        }
    }

    #[test]
    fn a_repeated_admission_request_counts_with_its_last_time() {
        let timelines = PodTimelines::new();
        timelines.admitted("request-1", at(1));
        timelines.admitted("request-1", at(2));
        timelines.seen(&pod(Some("request-1")), at(3));
        let expected = AdmissionTime { at: at(2), by_other_replica: false };
        assert_eq!(timelines.get("u").unwrap().admission, Some(expected));
    }

    #[test]
    fn the_first_time_of_a_stage_counts() {
        let timelines = PodTimelines::new();
        for second in [2, 3] {
            timelines.seen(&pod(None), at(second));
            timelines.ready(&pod(None), at(second + 10));
        }
        let timeline = timelines.get("u").unwrap();
        assert_eq!((timeline.seen, timeline.ready), (Some(at(2)), Some(at(12))));
    }

    #[test]
    fn a_timeline_known_from_its_checkpoint_gets_its_admission_when_the_pod_is_seen() {
        let timelines = PodTimelines::new();
        timelines.admitted("request-1", at(1));
        let pod = pod(Some("request-1"));
        timelines.update_container(&pod.name, &pod.uid, "app", |container| container.requested = Some(at(3)));
        timelines.seen(&pod, at(5));
        let timeline = timelines.get("u").unwrap();
        assert_eq!((timeline.seen, timeline.containers["app"].requested), (Some(at(5)), Some(at(3))));
        assert_eq!(timeline.admission, Some(AdmissionTime { at: at(1), by_other_replica: false }));
    }

    #[test]
    fn timelines_are_bounded_in_number() {
        let timelines = PodTimelines::new();
        for number in 0..MAX_TIMELINES + 500 {
            let mut pod = pod(None);
            pod.uid = number.to_string();
            timelines.seen(&pod, at(0));
        }
        timelines.timelines.run_pending_tasks();
        assert!(timelines.timelines.entry_count() <= MAX_TIMELINES);
        assert!(timelines.get(&(MAX_TIMELINES + 499).to_string()).is_some(), "the newest is kept");
    }
}
