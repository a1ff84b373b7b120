//! The page `/pods` of the admin port: the timelines as JSON, the stages of each pod first, then its containers.
//!
//! One response has a limited number of pods and bytes: however many clients do not read theirs, the memory for all of them is
//! limited too. A response is built in one go, without a wait, so that there is one at a time.
//!
//! The JSON has types of its own, so that its format does not change with the types of the store. A stage that was not
//! reached is left out.

use std::collections::BTreeMap;

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::IntoResponse as _;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use snapwatcher_daemon::admin::Page;
use snapwatcher_state::{AdmissionTime, ContainerTimeline, PodTimeline, PodTimelines};

use crate::pods_query::{self, PodsQuery};

/// The longest response, in bytes: that of some 300 pods. 64 connections of the admin port hold 16 MiB of them.
const LONGEST_RESPONSE: usize = 256 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

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
        let show = async move |RawQuery(query): RawQuery| match PodsQuery::parse(query.as_deref()) {
            Ok(query) => match self.json(&query) {
                Ok(json) => ([(CONTENT_TYPE, JSON)], json).into_response(),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "a pod could not be encoded\n").into_response(),
            },
            Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        };
        Page { path: PODS, answer: get(show) }
    }

    /// The response, of at most [`LONGEST_RESPONSE`] bytes, unless its first pod alone is longer.
    fn json(&self, query: &PodsQuery) -> Result<Vec<u8>, serde_json::Error> {
        let leader = self.leader.borrow().clone();
        let (mut timelines, mut has_more) =
            self.timelines.page(query.namespace.as_deref(), query.after.as_ref(), query.limit);
        let fitting = fitting(timelines.iter().map(|timeline| PodJson::new(self.is_suspended, timeline)))?;
        if fitting < timelines.len() {
            timelines.truncate(fitting);
            has_more = true;
        }
        let next = timelines.last().filter(|_| has_more).map(|last| pods_query::token(&last.into()));
        let mut json = serde_json::to_vec(&PodsJson::new(self.is_suspended, leader.as_deref(), &timelines, next))?;
        json.shrink_to_fit();
        Ok(json)
    }
}

/// How many of the first pods fit into a response; one always does.
fn fitting<'a>(pods: impl Iterator<Item = PodJson<'a>>) -> Result<usize, serde_json::Error> {
    let (mut fitting, mut bytes) = (0, 0);
    for pod in pods {
        bytes += serde_json::to_vec(&pod)?.len() + 1;
        if bytes > LONGEST_RESPONSE && fitting > 0 {
            break;
        }
        fitting += 1;
    }
    Ok(fitting)
}

/// Timelines of this process. Of several replicas the leader has most of them, so it is named.
#[derive(Serialize)]
struct PodsJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<&'a str>,
    pods: Vec<PodJson<'a>>,
    /// If there are more pods: `?continue=` with this value shows the next ones.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
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
    fn new(is_suspended: bool, leader: Option<&'a str>, timelines: &'a [PodTimeline], next: Option<String>) -> Self {
        let pods = timelines.iter().map(|timeline| PodJson::new(is_suspended, timeline)).collect();
        Self { leader, pods, next }
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
mod tests;
