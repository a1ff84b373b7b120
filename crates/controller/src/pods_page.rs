//! The page `/pods` of the admin port: the timelines as JSON, the stages of each pod first, then its containers.
//!
//! The JSON has types of its own, so that its format does not change with the types of the store. A stage that was not
//! reached is left out.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::IntoResponse as _;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use snapwatcher_daemon::admin::Page;
use snapwatcher_state::{AdmissionTime, ContainerTimeline, PodTimeline, PodTimelines};

/// Path of the page.
pub const PODS: &str = "/pods";
/// What a claimed pod is waiting for with `--suspend`.
const SUSPENDED: &str = "Suspended";

/// What the page shows.
#[derive(Clone)]
pub struct PodsPage {
    pub timelines: PodTimelines,
    /// The holder of the Lease, with leader election.
    pub leader: watch::Receiver<Option<String>>,
    pub is_suspended: bool,
}

impl PodsPage {
    /// The page for the admin port.
    pub fn page(self) -> Page {
        let show = async move || {
            let leader = self.leader.borrow().clone();
            Json(PodsJson::new(self.is_suspended, leader.as_deref(), &self.timelines.all())).into_response()
        };
        Page { path: PODS, answer: get(show) }
    }
}

/// All timelines of this process. Of several replicas the leader has most of them, so it is named.
#[derive(Serialize)]
struct PodsJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<&'a str>,
    pods: Vec<PodJson<'a>>,
}

#[derive(Serialize)]
struct PodNameJson<'a> {
    namespace: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct PodJson<'a> {
    pod: PodNameJson<'a>,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    admission: Option<AdmissionJson>,
    stages: StagesJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'a str>,
    containers: BTreeMap<&'a str, ContainerJson<'a>>,
}

/// A time with exactly three digits of milliseconds.
struct Milliseconds(Timestamp);

impl Serialize for Milliseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

#[derive(Serialize)]
struct AdmissionJson {
    at: Milliseconds,
    by_other_replica: bool,
}

/// When the first container of a pod reached each stage; `finished` is when the last one did.
#[derive(Serialize)]
struct StagesJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    admitted: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<Milliseconds>,
}

#[derive(Serialize)]
struct ContainerJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<Milliseconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<Milliseconds>,
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
        let is_waiting = |container: &ContainerTimeline| container.claimed.is_some() && container.finished.is_none();
        let is_suspended = is_suspended && timeline.containers.values().any(is_waiting);
        Self {
            pod: PodNameJson { namespace: &timeline.pod.namespace, name: &timeline.pod.name },
            uid: &timeline.uid,
            admission: timeline.admission.as_ref().map(AdmissionJson::from),
            stages: timeline.into(),
            waiting_for: timeline.waiting_for.as_deref().or(is_suspended.then_some(SUSPENDED)),
            containers: containers.map(|(name, container)| (name.as_str(), container.into())).collect(),
        }
    }
}

impl From<&AdmissionTime> for AdmissionJson {
    fn from(admission: &AdmissionTime) -> Self {
        let AdmissionTime { at, by_other_replica } = *admission;
        Self { at: Milliseconds(at), by_other_replica }
    }
}

impl From<&PodTimeline> for StagesJson {
    fn from(timeline: &PodTimeline) -> Self {
        let containers = || timeline.containers.values();
        let all_finished = containers().all(|container| container.finished.is_some());
        let claimed = containers().filter_map(|container| container.claimed).min();
        Self {
            admitted: timeline.admission.as_ref().map(|admission| Milliseconds(admission.at)),
            seen: timeline.seen.map(Milliseconds),
            // A pod that was claimed before this process saw it: when it became eligible is not known.
            ready: timeline.ready.filter(|ready| claimed.is_none_or(|claimed| *ready <= claimed)).map(Milliseconds),
            claimed: claimed.map(Milliseconds),
            requested: containers().filter_map(|container| container.requested).min().map(Milliseconds),
            finished: containers()
                .filter_map(|container| container.finished)
                .max()
                .filter(|_| all_finished)
                .map(Milliseconds),
        }
    }
}

impl<'a> From<&'a ContainerTimeline> for ContainerJson<'a> {
    fn from(container: &'a ContainerTimeline) -> Self {
        let ContainerTimeline { checkpoint, claimed, requested, finished, outcome } = container;
        Self {
            checkpoint: checkpoint.as_deref(),
            claimed: claimed.map(Milliseconds),
            requested: requested.map(Milliseconds),
            finished: finished.map(Milliseconds),
            outcome: outcome.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode, header};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;
    use snapwatcher_api::fixtures::at;
    use snapwatcher_api::pod::PodName;
    use snapwatcher_daemon::admin::{self, AdminState, Health};
    use snapwatcher_daemon::telemetry::metrics;

    fn timeline() -> PodTimeline {
        PodTimeline {
            pod: PodName { namespace: "default".into(), name: "web".into() },
            uid: "u1".to_owned(),
            admission: None,
            seen: Some(at(1)),
            ready: None,
            waiting_for: Some("NotReady".to_owned()),
            containers: BTreeMap::new(),
        }
    }

    fn text(second: i64) -> String {
        format!("{:.3}", at(second))
    }

    fn json(timeline: PodTimeline) -> Value {
        let mut page = serde_json::to_value(PodsJson::new(false, None, &[timeline])).unwrap();
        page["pods"][0].take()
    }

    #[tokio::test]
    async fn the_admin_port_shows_the_page_as_json() {
        let page = PodsPage {
            timelines: PodTimelines::default(),
            leader: watch::Sender::new(Some("snapwatcher-0/b1".to_owned())).subscribe(),
            is_suspended: false,
        };
        let router = admin::router(AdminState::new(Health::new(), metrics::registry()), vec![page.page()]);
        let request = Request::get(PODS).body(Body::empty()).unwrap();
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap();
        assert_eq!(body, json!({"leader": "snapwatcher-0/b1", "pods": []}));
    }

    #[test]
    fn the_leader_is_named_if_there_is_one() {
        let page = |leader| serde_json::to_value(PodsJson::new(false, leader, &[])).unwrap();
        assert_eq!(page(Some("snapwatcher-0/b1")), json!({"leader": "snapwatcher-0/b1", "pods": []}));
        assert_eq!(page(None), json!({"pods": []}));
    }

    #[test]
    fn times_have_three_digits_of_milliseconds() {
        for (nanosecond, expected) in [(0, "00.000Z"), (120_000_000, "00.120Z"), (123_456_789, "00.123Z")] {
            let time = Timestamp::new(1_700_000_040, nanosecond).unwrap();
            let text = serde_json::to_value(Milliseconds(time)).unwrap();
            assert!(text.as_str().unwrap().ends_with(expected), "{text}");
        }
    }

    #[test]
    fn a_stage_that_was_not_reached_is_left_out() {
        let expected = json!({
            "pod": {"namespace": "default", "name": "web"}, "uid": "u1",
            "stages": {"seen": text(1)}, "waiting_for": "NotReady", "containers": {},
        });
        assert_eq!(json(timeline()), expected);
    }

    #[test]
    fn the_first_container_reaches_a_stage_and_the_last_one_finishes() {
        let mut timeline = timeline();
        timeline.admission = Some(AdmissionTime { at: at(0), by_other_replica: false });
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
        let before = json(timeline.clone());
        let mut stages = json!({
            "admitted": text(0), "seen": text(1), "ready": text(2), "claimed": text(3), "requested": text(5),
        });
        assert_eq!(before["stages"], stages);
        let app = json!({
            "checkpoint": "web-app-0123456789", "claimed": text(4), "requested": text(5), "finished": text(8), "outcome": "Succeeded",
        });
        assert_eq!(before["containers"]["app"], app);

        timeline.containers.insert("side".to_owned(), container(3, 6, Some(7)));
        stages["finished"] = json!(text(8));
        assert_eq!(json(timeline)["stages"], stages);
    }

    #[test]
    fn a_pod_claimed_before_this_process_saw_it_has_no_time_of_becoming_ready() {
        let mut timeline = timeline();
        timeline.ready = Some(at(5));
        let container = ContainerTimeline { claimed: Some(at(3)), ..Default::default() };
        timeline.containers.insert("app".to_owned(), container);
        assert_eq!(json(timeline)["stages"], json!({"seen": text(1), "claimed": text(3)}));
    }

    #[test]
    fn a_claimed_pod_waits_while_suspended() {
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
