//! The form in which journeys are told: the stages of each pod at a glance, its containers below.
//!
//! Apart from `state`, so that what scripts read does not change with what we remember. What has not happened is left
//! out.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::IntoResponse as _;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::admin::Page;
use snapwatcher_state::{Admission, ContainerJourney, Journey, State};

/// Path of the admin port under which the timelines are shown, as JSON.
pub const PODS: &str = "/pods";
/// What a claimed pod waits for in a process that asks for none.
const SUSPENDED: &str = "Suspended";

/// What is shown of this process beside the timelines of pods.
#[derive(Clone)]
pub struct Timelines {
    pub state: State,
    /// The holder of the Lease, where several replicas stand for election.
    pub leader: watch::Receiver<Option<String>>,
    pub is_suspended: bool,
}

impl Timelines {
    /// The page of the admin port that shows them.
    pub fn page(self) -> Page {
        let show = async move || {
            let leader = self.leader.borrow().clone();
            Json(Journeys::tell(self.is_suspended, leader.as_deref(), &self.state.journeys())).into_response()
        };
        Page { path: PODS, answer: get(show) }
    }
}

/// All journeys of this process; with several replicas most of them are the leader's, so it is named.
#[derive(Serialize)]
struct Journeys<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<&'a str>,
    journeys: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    pod: &'a PodName,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    admission: Option<Admitted>,
    stages: Stages,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'a str>,
    containers: BTreeMap<&'a str, Container<'a>>,
}

/// A time to the millisecond, in as many digits whatever it is.
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

#[derive(Serialize)]
struct Admitted {
    at: Moment,
    elsewhere: bool,
}

/// When a pod reached each stage, by its first container; `done` is reached by its last.
#[derive(Serialize)]
struct Stages {
    #[serde(skip_serializing_if = "Option::is_none")]
    admitted: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Moment>,
}

#[derive(Serialize)]
struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
}

impl<'a> Journeys<'a> {
    fn tell(is_suspended: bool, leader: Option<&'a str>, journeys: &'a [Journey]) -> Self {
        Self { leader, journeys: journeys.iter().map(|journey| Told::tell(is_suspended, journey)).collect() }
    }
}

impl<'a> Told<'a> {
    fn tell(is_suspended: bool, journey: &'a Journey) -> Self {
        let containers = journey.containers.iter();
        let is_owed = |container: &ContainerJourney| container.claimed.is_some() && container.done.is_none();
        let is_suspended = is_suspended && journey.containers.values().any(is_owed);
        Self {
            pod: &journey.pod,
            uid: &journey.uid,
            admission: journey.admission.as_ref().map(Admitted::from),
            stages: journey.into(),
            waits_for: journey.waits_for.as_deref().or(is_suspended.then_some(SUSPENDED)),
            containers: containers.map(|(name, container)| (name.as_str(), container.into())).collect(),
        }
    }
}

impl From<&Admission> for Admitted {
    fn from(admission: &Admission) -> Self {
        let Admission { at, elsewhere } = *admission;
        Self { at: Moment(at), elsewhere }
    }
}

impl From<&Journey> for Stages {
    fn from(journey: &Journey) -> Self {
        let containers = || journey.containers.values();
        let all_done = containers().all(|container| container.done.is_some());
        let claimed = containers().filter_map(|container| container.claimed).min();
        Self {
            admitted: journey.admission.as_ref().map(|admission| Moment(admission.at)),
            seen: journey.seen.map(Moment),
            // Claimed before this process looked at it: when it became eligible is not known.
            ready: journey.ready.filter(|ready| claimed.is_none_or(|claimed| *ready <= claimed)).map(Moment),
            claimed: claimed.map(Moment),
            asked: containers().filter_map(|container| container.asked).min().map(Moment),
            done: containers().filter_map(|container| container.done).max().filter(|_| all_done).map(Moment),
        }
    }
}

impl<'a> From<&'a ContainerJourney> for Container<'a> {
    fn from(container: &'a ContainerJourney) -> Self {
        let ContainerJourney { checkpoint, claimed, asked, done, outcome } = container;
        Self {
            checkpoint: checkpoint.as_deref(),
            claimed: claimed.map(Moment),
            asked: asked.map(Moment),
            done: done.map(Moment),
            outcome: outcome.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn journey() -> Journey {
        Journey {
            pod: PodName { namespace: "default".to_owned(), name: "web".to_owned() },
            uid: "u1".to_owned(),
            admission: None,
            seen: Some(at(1)),
            ready: None,
            waits_for: Some("NotReady".to_owned()),
            containers: BTreeMap::new(),
        }
    }

    /// As it is told.
    fn text(second: i64) -> String {
        format!("{:.3}", at(second))
    }

    fn told(journey: Journey) -> Value {
        let mut told = serde_json::to_value(Journeys::tell(false, None, &[journey])).unwrap();
        told["journeys"][0].take()
    }

    #[test]
    fn the_leader_is_named_where_there_is_one() {
        let told = |leader| serde_json::to_value(Journeys::tell(false, leader, &[])).unwrap();
        assert_eq!(told(Some("snapwatcher-0/b1")), json!({"leader": "snapwatcher-0/b1", "journeys": []}));
        assert_eq!(told(None), json!({"journeys": []}));
    }

    #[test]
    fn times_are_told_to_the_millisecond() {
        for (nanosecond, expected) in [(0, "00.000Z"), (120_000_000, "00.120Z"), (123_456_789, "00.123Z")] {
            let time = Timestamp::new(1_700_000_040, nanosecond).unwrap();
            let told = serde_json::to_value(Moment(time)).unwrap();
            assert!(told.as_str().unwrap().ends_with(expected), "{told}");
        }
    }

    #[test]
    fn what_has_not_happened_is_left_out() {
        let expected = json!({
            "pod": {"namespace": "default", "name": "web"}, "uid": "u1",
            "stages": {"seen": text(1)}, "waits_for": "NotReady", "containers": {},
        });
        assert_eq!(told(journey()), expected);
    }

    #[test]
    fn a_stage_is_reached_by_the_first_container_and_done_by_the_last() {
        let mut journey = journey();
        journey.admission = Some(Admission { at: at(0), elsewhere: false });
        journey.ready = Some(at(2));
        journey.waits_for = None;
        let container = |claimed, asked, done: Option<i64>| ContainerJourney {
            checkpoint: Some("web-app-0123456789".to_owned()),
            claimed: Some(at(claimed)),
            asked: Some(at(asked)),
            done: done.map(at),
            outcome: done.map(|_| "Succeeded".to_owned()),
        };
        journey.containers.insert("app".to_owned(), container(4, 5, Some(8)));
        journey.containers.insert("side".to_owned(), container(3, 6, None));
        let told_before = told(journey.clone());
        let mut stages = json!({
            "admitted": text(0), "seen": text(1), "ready": text(2), "claimed": text(3), "asked": text(5),
        });
        assert_eq!(told_before["stages"], stages);
        let app = json!({
            "checkpoint": "web-app-0123456789", "claimed": text(4), "asked": text(5), "done": text(8), "outcome": "Succeeded",
        });
        assert_eq!(told_before["containers"]["app"], app);

        journey.containers.insert("side".to_owned(), container(3, 6, Some(7)));
        stages["done"] = json!(text(8));
        assert_eq!(told(journey)["stages"], stages);
    }

    #[test]
    fn a_pod_claimed_before_this_process_saw_it_has_no_time_of_becoming_ready() {
        let mut journey = journey();
        journey.ready = Some(at(5));
        let container = ContainerJourney { claimed: Some(at(3)), ..Default::default() };
        journey.containers.insert("app".to_owned(), container);
        assert_eq!(told(journey)["stages"], json!({"seen": text(1), "claimed": text(3)}));
    }

    #[test]
    fn a_claimed_pod_waits_for_the_brake_to_be_taken_off() {
        let mut journey = journey();
        journey.waits_for = None;
        let waits_for = |journey: &Journey| Told::tell(true, journey).waits_for.map(str::to_owned);
        assert_eq!(waits_for(&journey), None, "nothing was claimed");
        let container = ContainerJourney { claimed: Some(at(3)), ..Default::default() };
        journey.containers.insert("app".to_owned(), container.clone());
        assert_eq!(waits_for(&journey).as_deref(), Some("Suspended"));
        journey.containers.insert("app".to_owned(), ContainerJourney { done: Some(at(4)), ..container });
        assert_eq!(waits_for(&journey), None, "done before");
    }
}
