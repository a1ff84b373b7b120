//! The form in which timelines are told: the stages of each pod at a glance, its containers below.
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
use snapwatcher_state::{Admission, ContainerTimeline, PodTimeline, PodTimelines};

/// Path of the admin port under which the timelines are shown, as JSON.
pub const PODS: &str = "/pods";
/// What a claimed pod waits for in a process that asks for none.
const SUSPENDED: &str = "Suspended";

/// What is shown of this process beside the timelines of pods.
#[derive(Clone)]
pub struct PodsPage {
    pub state: PodTimelines,
    /// The holder of the Lease, where several replicas stand for election.
    pub leader: watch::Receiver<Option<String>>,
    pub is_suspended: bool,
}

impl PodsPage {
    /// The page of the admin port that shows them.
    pub fn page(self) -> Page {
        let show = async move || {
            let leader = self.leader.borrow().clone();
            Json(PodsJson::new(self.is_suspended, leader.as_deref(), &self.state.timelines())).into_response()
        };
        Page { path: PODS, answer: get(show) }
    }
}

/// All timelines of this process; with several replicas most of them are the leader's, so it is named.
#[derive(Serialize)]
struct PodsJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<&'a str>,
    pods: Vec<PodJson<'a>>,
}

#[derive(Serialize)]
struct PodJson<'a> {
    pod: &'a PodName,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    admission: Option<Admitted>,
    stages: Stages,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'a str>,
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
    by_other_replica: bool,
}

/// When a pod reached each stage, by its first container; `finished` is reached by its last.
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
    requested: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<Moment>,
}

#[derive(Serialize)]
struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
}

impl<'a> PodsJson<'a> {
    fn new(is_suspended: bool, leader: Option<&'a str>, timelines: &'a [PodTimeline]) -> Self {
        Self { leader, pods: timelines.iter().map(|timeline| PodJson::new(is_suspended, timeline)).collect() }
    }
}

impl<'a> PodJson<'a> {
    fn new(is_suspended: bool, timeline: &'a PodTimeline) -> Self {
        let containers = timeline.containers.iter();
        let is_owed = |container: &ContainerTimeline| container.claimed.is_some() && container.finished.is_none();
        let is_suspended = is_suspended && timeline.containers.values().any(is_owed);
        Self {
            pod: &timeline.pod,
            uid: &timeline.uid,
            admission: timeline.admission.as_ref().map(Admitted::from),
            stages: timeline.into(),
            waiting_for: timeline.waiting_for.as_deref().or(is_suspended.then_some(SUSPENDED)),
            containers: containers.map(|(name, container)| (name.as_str(), container.into())).collect(),
        }
    }
}

impl From<&Admission> for Admitted {
    fn from(admission: &Admission) -> Self {
        let Admission { at, by_other_replica } = *admission;
        Self { at: Moment(at), by_other_replica }
    }
}

impl From<&PodTimeline> for Stages {
    fn from(timeline: &PodTimeline) -> Self {
        let containers = || timeline.containers.values();
        let all_finished = containers().all(|container| container.finished.is_some());
        let claimed = containers().filter_map(|container| container.claimed).min();
        Self {
            admitted: timeline.admission.as_ref().map(|admission| Moment(admission.at)),
            seen: timeline.seen.map(Moment),
            // Claimed before this process looked at it: when it became eligible is not known.
            ready: timeline.ready.filter(|ready| claimed.is_none_or(|claimed| *ready <= claimed)).map(Moment),
            claimed: claimed.map(Moment),
            requested: containers().filter_map(|container| container.requested).min().map(Moment),
            finished: containers()
                .filter_map(|container| container.finished)
                .max()
                .filter(|_| all_finished)
                .map(Moment),
        }
    }
}

impl<'a> From<&'a ContainerTimeline> for Container<'a> {
    fn from(container: &'a ContainerTimeline) -> Self {
        let ContainerTimeline { checkpoint, claimed, requested, finished, outcome } = container;
        Self {
            checkpoint: checkpoint.as_deref(),
            claimed: claimed.map(Moment),
            requested: requested.map(Moment),
            finished: finished.map(Moment),
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

    fn timeline() -> PodTimeline {
        PodTimeline {
            pod: PodName { namespace: "default".to_owned(), name: "web".to_owned() },
            uid: "u1".to_owned(),
            admission: None,
            seen: Some(at(1)),
            ready: None,
            waiting_for: Some("NotReady".to_owned()),
            containers: BTreeMap::new(),
        }
    }

    /// As it is told.
    fn text(second: i64) -> String {
        format!("{:.3}", at(second))
    }

    fn told(timeline: PodTimeline) -> Value {
        let mut told = serde_json::to_value(PodsJson::new(false, None, &[timeline])).unwrap();
        told["pods"][0].take()
    }

    #[test]
    fn the_leader_is_named_where_there_is_one() {
        let told = |leader| serde_json::to_value(PodsJson::new(false, leader, &[])).unwrap();
        assert_eq!(told(Some("snapwatcher-0/b1")), json!({"leader": "snapwatcher-0/b1", "pods": []}));
        assert_eq!(told(None), json!({"pods": []}));
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
            "stages": {"seen": text(1)}, "waiting_for": "NotReady", "containers": {},
        });
        assert_eq!(told(timeline()), expected);
    }

    #[test]
    fn a_stage_is_reached_by_the_first_container_and_done_by_the_last() {
        let mut timeline = timeline();
        timeline.admission = Some(Admission { at: at(0), by_other_replica: false });
        timeline.ready = Some(at(2));
        timeline.waiting_for = None;
        let container = |claimed, requested, finished: Option<i64>| ContainerTimeline {
            checkpoint: Some("web-app-0123456789".to_owned()),
            claimed: Some(at(claimed)),
            requested: Some(at(requested)),
            finished: finished.map(at),
            outcome: finished.map(|_| "Succeeded".to_owned()),
        };
        timeline.containers.insert("app".to_owned(), container(4, 5, Some(8)));
        timeline.containers.insert("side".to_owned(), container(3, 6, None));
        let told_before = told(timeline.clone());
        let mut stages = json!({
            "admitted": text(0), "seen": text(1), "ready": text(2), "claimed": text(3), "requested": text(5),
        });
        assert_eq!(told_before["stages"], stages);
        let app = json!({
            "checkpoint": "web-app-0123456789", "claimed": text(4), "requested": text(5), "finished": text(8), "outcome": "Succeeded",
        });
        assert_eq!(told_before["containers"]["app"], app);

        timeline.containers.insert("side".to_owned(), container(3, 6, Some(7)));
        stages["finished"] = json!(text(8));
        assert_eq!(told(timeline)["stages"], stages);
    }

    #[test]
    fn a_pod_claimed_before_this_process_saw_it_has_no_time_of_becoming_ready() {
        let mut timeline = timeline();
        timeline.ready = Some(at(5));
        let container = ContainerTimeline { claimed: Some(at(3)), ..Default::default() };
        timeline.containers.insert("app".to_owned(), container);
        assert_eq!(told(timeline)["stages"], json!({"seen": text(1), "claimed": text(3)}));
    }

    #[test]
    fn a_claimed_pod_waits_for_the_brake_to_be_taken_off() {
        let mut timeline = timeline();
        timeline.waiting_for = None;
        let waiting_for = |timeline: &PodTimeline| PodJson::new(true, timeline).waiting_for.map(str::to_owned);
        assert_eq!(waiting_for(&timeline), None, "nothing was claimed");
        let container = ContainerTimeline { claimed: Some(at(3)), ..Default::default() };
        timeline.containers.insert("app".to_owned(), container.clone());
        assert_eq!(waiting_for(&timeline).as_deref(), Some("Suspended"));
        timeline.containers.insert("app".to_owned(), ContainerTimeline { finished: Some(at(4)), ..container });
        assert_eq!(waiting_for(&timeline), None, "finished before");
    }
}
