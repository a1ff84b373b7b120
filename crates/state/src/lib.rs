//! What this process knows of each pod's journey: shared by admission, watch, checkpoints and the admin port.
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

/// How many journeys are remembered; the one untouched for longest goes first. About 1 KiB each.
const JOURNEYS: u64 = 10_000;
/// A journey untouched for this long is forgotten.
const JOURNEY_AGE: Duration = Duration::from_secs(24 * 3600);

/// One pod's way through the stages.
#[derive(Debug, Clone)]
pub struct Journey {
    pub pod: PodName,
    pub uid: String,
    /// When the pod was admitted.
    pub admission: Option<Admission>,
    /// The watch first saw it; not yet where only its record is known.
    pub seen: Option<Timestamp>,
    /// It first was eligible, delay included.
    pub ready: Option<Timestamp>,
    /// What holds it back now.
    pub waits_for: Option<String>,
    pub containers: BTreeMap<String, ContainerJourney>,
}

/// When a pod was admitted, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub at: Timestamp,
    /// Answered by another process or by none: `at` is then the pod's creation time.
    pub elsewhere: bool,
}

/// The later stages, one set for each container that is checkpointed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerJourney {
    /// Name of the `Checkpoint` object; none with back-end `log`.
    pub checkpoint: Option<String>,
    pub claimed: Option<Timestamp>,
    /// The request left.
    pub asked: Option<Timestamp>,
    /// The outcome was known.
    pub done: Option<Timestamp>,
    /// `Succeeded` or a reason.
    pub outcome: Option<String>,
}

/// The journeys of one process. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct State {
    admissions: Arc<Admissions>,
    journeys: Cache<String, Journey>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    pub fn new() -> Self {
        let journeys = Cache::builder().max_capacity(JOURNEYS).time_to_idle(JOURNEY_AGE);
        Self { admissions: Arc::default(), journeys: journeys.eviction_policy(EvictionPolicy::lru()).build() }
    }

    /// Admission answered the request of that UID for a labelled pod.
    pub fn admitted(&self, request_uid: &str, at: Timestamp) {
        self.admissions.insert(request_uid, at);
    }

    /// The watch saw the pod; the first time counts.
    pub fn seen(&self, pod: &PodFacts, at: Timestamp) {
        self.change(&pod.name, &pod.uid, |journey| {
            if journey.seen.is_none() {
                journey.seen = Some(at);
                journey.admission = self.admission_of(pod, at);
            }
        });
    }

    /// The pod is eligible; the first time counts.
    pub fn ready(&self, pod: &PodFacts, at: Timestamp) {
        self.change(&pod.name, &pod.uid, |journey| {
            journey.ready.get_or_insert(at);
            journey.waits_for = None;
        });
    }

    /// The pod is held back, for the reason given in words.
    pub fn waits(&self, pod: &PodFacts, cause: &str) {
        self.change(&pod.name, &pod.uid, |journey| journey.waits_for = Some(cause.to_owned()));
    }

    /// Nothing holds the pod back any more.
    pub fn freed(&self, pod: &PodFacts) {
        self.change(&pod.name, &pod.uid, |journey| journey.waits_for = None);
    }

    /// Writes the later stages of one container.
    pub fn container(&self, pod: &PodName, uid: &str, container: &str, change: impl FnOnce(&mut ContainerJourney)) {
        self.change(pod, uid, |journey| change(journey.containers.entry(container.to_owned()).or_default()));
    }

    /// All journeys, by namespace and name of the pod.
    pub fn journeys(&self) -> Vec<Journey> {
        let mut journeys: Vec<_> = self.journeys.iter().map(|(_, journey)| journey).collect();
        journeys.sort_by(|a, b| (&a.pod, &a.uid).cmp(&(&b.pod, &b.uid)));
        journeys
    }

    pub fn journey(&self, uid: &str) -> Option<Journey> {
        self.journeys.get(uid)
    }

    fn admission_of(&self, pod: &PodFacts, now: Timestamp) -> Option<Admission> {
        let here = pod.admission.as_ref().and_then(|request_uid| self.admissions.get(request_uid, now));
        match here {
            Some(at) => Some(Admission { at, elsewhere: false }),
            None => pod.created.map(|at| Admission { at, elsewhere: true }),
        }
    }

    fn change(&self, pod: &PodName, uid: &str, change: impl FnOnce(&mut Journey)) {
        self.journeys.entry_by_ref(uid).and_upsert_with(|entry| {
            let mut journey = entry.map_or_else(|| Journey::of(pod, uid), moka::Entry::into_value);
            change(&mut journey);
            journey
        });
    }
}

impl Journey {
    fn of(pod: &PodName, uid: &str) -> Self {
        let (pod, uid) = (pod.clone(), uid.to_owned());
        Self { pod, uid, admission: None, seen: None, ready: None, waits_for: None, containers: BTreeMap::new() }
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
            admission.map(|uid| [(snapwatcher_api::pod::ADMISSION.to_owned(), uid.to_owned())].into_iter().collect());
        pod.into()
    }

    #[test]
    fn a_pod_is_joined_to_the_admission_this_process_answered() {
        let state = State::new();
        state.admitted("request-1", at(1));
        state.seen(&pod(Some("request-1")), at(2));
        assert_eq!(state.journey("u1").unwrap().admission, Some(Admission { at: at(1), elsewhere: false }));
    }

    #[test]
    fn an_admission_answered_elsewhere_is_the_creation_of_the_pod() {
        for annotation in [None, Some("of-another-replica")] {
            let state = State::new();
            state.seen(&pod(annotation), at(2));
            assert_eq!(state.journey("u1").unwrap().admission, Some(Admission { at: at(0), elsewhere: true }));
        }
    }

    #[test]
    fn the_first_time_of_a_stage_counts() {
        let state = State::new();
        for second in [2, 3] {
            state.seen(&pod(None), at(second));
            state.ready(&pod(None), at(second + 10));
        }
        let journey = state.journey("u1").unwrap();
        assert_eq!((journey.seen, journey.ready), (Some(at(2)), Some(at(12))));
    }

    #[test]
    fn a_journey_known_from_its_record_is_joined_when_the_pod_is_seen() {
        let state = State::new();
        state.admitted("request-1", at(1));
        let pod = pod(Some("request-1"));
        state.container(&pod.name, &pod.uid, "app", |container| container.asked = Some(at(3)));
        state.seen(&pod, at(5));
        let journey = state.journey("u1").unwrap();
        assert_eq!((journey.seen, journey.containers["app"].asked), (Some(at(5)), Some(at(3))));
        assert_eq!(journey.admission, Some(Admission { at: at(1), elsewhere: false }));
    }

    #[test]
    fn journeys_are_bounded_in_number() {
        let state = State::new();
        for number in 0..JOURNEYS + 500 {
            let mut pod = pod(None);
            pod.uid = number.to_string();
            state.seen(&pod, at(0));
        }
        state.journeys.run_pending_tasks();
        assert!(state.journeys.entry_count() <= JOURNEYS);
        assert!(state.journey(&(JOURNEYS + 499).to_string()).is_some(), "the newest is kept");
    }
}
