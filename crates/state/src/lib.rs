//! The store that admission, the controller and the admin port share: when requests were admitted, and how far each pod has
//! come.
//!
//! It is memory of one process, bounded in number, bytes and age, and for display alone. No decision depends on it: a restarted
//! process reads pods and Checkpoints from the API server again. There is no I/O in this crate, and it depends on `api` alone of
//! this workspace.

mod admissions;
mod namespace_timelines;
mod store;
mod stored;
mod timeline;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry;

use snapwatcher_api::pod::{PodFacts, PodName};

use admissions::Admissions;
use store::Store;
use stored::Stored;
use words::Words;

pub use timeline::{AdmissionTime, ContainerTimeline, PageStart, PodTimeline};

/// How much later than its admission a pod may be created: the API server stores it at once, but by its own clock.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_secs(2);

/// The store. Cloning gives another handle to the same store.
#[derive(Clone)]
pub struct PodTimelines {
    /// By UID of the admission request, which the pod carries in an annotation.
    admissions: Arc<Admissions>,
    timelines: Arc<Mutex<Store>>,
    start: Instant,
}

impl Default for PodTimelines {
    fn default() -> Self {
        Self::new()
    }
}

impl PodTimelines {
    pub fn new() -> Self {
        Self { admissions: Arc::default(), timelines: Arc::default(), start: Instant::now() }
    }

    /// This process answered the admission request of that UID, for a labeled pod.
    pub fn admitted(&self, request_uid: &str, at: Timestamp) {
        self.admissions.insert(request_uid, at);
    }

    /// The watch saw the pod. Only the first time is kept.
    pub fn seen(&self, pod: &PodFacts, at: Timestamp) {
        self.update(&pod.name, &pod.uid, |timeline, _| {
            if !timeline.is_seen() {
                timeline.set_seen(at, self.admission_of(pod, at));
            }
        });
    }

    /// The pod is eligible. Only the first time is kept.
    pub fn ready(&self, pod: &PodFacts, at: Timestamp) {
        self.update(&pod.name, &pod.uid, |timeline, words| {
            timeline.set_ready(at);
            timeline.set_waiting_for(None, words);
        });
    }

    /// The pod is not eligible, for this cause.
    pub fn waiting_for(&self, pod: &PodFacts, cause: &str) {
        self.update(&pod.name, &pod.uid, |timeline, words| timeline.set_waiting_for(Some(cause), words));
    }

    /// The pod no longer waits for anything.
    pub fn unblocked(&self, pod: &PodFacts) {
        self.update(&pod.name, &pod.uid, |timeline, words| timeline.set_waiting_for(None, words));
    }

    /// Changes the later stages of one container.
    pub fn update_container(
        &self,
        pod: &PodName,
        uid: &str,
        container: &str,
        change: impl FnOnce(&mut ContainerTimeline),
    ) {
        self.update(pod, uid, |timeline, words| timeline.update_container(container, words, change));
    }

    /// The next timelines after `after`, at most `limit`, of one namespace or of all; and whether there are more.
    pub fn page(&self, namespace: Option<&str>, after: Option<&PageStart>, limit: usize) -> (Vec<PodTimeline>, bool) {
        self.store().page(namespace, after, limit, self.start.elapsed())
    }

    /// The timeline of the pod of that UID in that namespace.
    pub fn get(&self, namespace: &str, uid: &str) -> Option<PodTimeline> {
        self.store().get(namespace, uid)
    }

    /// Registers the metric of the store.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Pod timelines dropped from memory to make room for newer ones; no checkpoint is affected";
        registry.register("timelines_evicted", help, self.store().evictions.clone());
    }

    fn admission_of(&self, pod: &PodFacts, now: Timestamp) -> Option<AdmissionTime> {
        // A copy of a pod has the annotation of the original, and was created later than the original was admitted.
        let is_own = |at: &Timestamp| pod.created.is_none_or(|created| created.duration_since(*at) <= CLOCK_DIFFERENCE);
        let admission = pod.admission.as_ref().and_then(|request_uid| self.admissions.get(request_uid, now));
        let own = admission.filter(is_own);
        match own {
            Some(at) => Some(AdmissionTime { at, by_other_replica: false }),
            None => pod.created.map(|at| AdmissionTime { at, by_other_replica: true }),
        }
    }

    fn update(&self, pod: &PodName, uid: &str, change: impl FnOnce(&mut Stored, &mut Words)) {
        self.store().update(pod, uid, self.start.elapsed(), change);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(timelines.get("default", "u").unwrap().admission, Some(expected));
    }

    #[test]
    fn an_admission_by_another_replica_has_the_creation_time_of_the_pod() {
        for request_uid in [None, Some("of-another-replica")] {
            let timelines = PodTimelines::new();
            timelines.seen(&pod(request_uid), at(2));
            let expected = AdmissionTime { at: at(0), by_other_replica: true };
            assert_eq!(timelines.get("default", "u").unwrap().admission, Some(expected));
        }
    }

    #[test]
    fn a_copy_of_a_pod_does_not_have_the_admission_of_the_original() {
        let timelines = PodTimelines::new();
        timelines.admitted("request-1", at(1));
        for (uid, created, by_other_replica) in [
            ("clock ahead", at(0), false),
            ("original", at(1), false),
            ("clock behind", at(3), false),
            ("copy", at(4), true),
        ] {
            let pod = fixtures::pod("web").uid(uid).created(created).annotation(ADMISSION, "request-1").facts();
            timelines.seen(&pod, at(5));
            let expected = AdmissionTime { at: if by_other_replica { created } else { at(1) }, by_other_replica };
            assert_eq!(timelines.get("default", uid).unwrap().admission, Some(expected), "{uid}");
        }
    }

    #[test]
    fn a_repeated_admission_request_counts_with_its_last_time() {
        let timelines = PodTimelines::new();
        timelines.admitted("request-1", at(1));
        timelines.admitted("request-1", at(2));
        timelines.seen(&pod(Some("request-1")), at(3));
        let expected = AdmissionTime { at: at(2), by_other_replica: false };
        assert_eq!(timelines.get("default", "u").unwrap().admission, Some(expected));
    }

    #[test]
    fn the_first_time_of_a_stage_counts() {
        let timelines = PodTimelines::new();
        for second in [2, 3] {
            timelines.seen(&pod(None), at(second));
            timelines.ready(&pod(None), at(second + 10));
        }
        let timeline = timelines.get("default", "u").unwrap();
        assert_eq!((timeline.seen, timeline.ready), (Some(at(2)), Some(at(12))));
    }

    #[test]
    fn a_timeline_known_from_its_checkpoint_gets_its_admission_when_the_pod_is_seen() {
        let timelines = PodTimelines::new();
        timelines.admitted("request-1", at(1));
        let pod = pod(Some("request-1"));
        timelines.update_container(&pod.name, &pod.uid, "app", |container| container.requested = Some(at(3)));
        timelines.seen(&pod, at(5));
        let timeline = timelines.get("default", "u").unwrap();
        assert_eq!((timeline.seen, timeline.containers["app"].requested), (Some(at(5)), Some(at(3))));
        assert_eq!(timeline.admission, Some(AdmissionTime { at: at(1), by_other_replica: false }));
    }
}
