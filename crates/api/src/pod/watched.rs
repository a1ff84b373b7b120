//! A Pod object with just the fields that SnapWatcher reads, as the watch decodes it.
//!
//! A whole `Pod` of k8s-openapi has some hundred fields. With 10,000 labeled pods in memory that costs too much, so unknown
//! fields are skipped while decoding.

use std::ops::ControlFlow;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};

use super::first_entries::{first_entries, push, read_entries};
use crate::metadata;

/// A pod with more containers, regular ones and sidecars together, is not checkpointed.
pub const MOST_CONTAINERS: usize = 64;
/// One more is kept of each list, so that this can be seen.
pub const CONTAINERS_KEPT: usize = MOST_CONTAINERS + 1;

/// The restart policy of an init container that makes it a native sidecar: it runs beside the regular containers, see
/// <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>.
pub const SIDECAR_RESTART_POLICY: &str = "Always";

/// A Pod object with just the fields that are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = Pod)]
pub struct WatchedPod {
    #[serde(deserialize_with = "metadata::read_of_pod")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: WatchedSpec,
    #[serde(default)]
    pub status: WatchedStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedSpec {
    #[serde(deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    pub containers: Vec<WatchedContainer>,
    /// The sidecars alone: other init containers have ended before the pod is Ready.
    #[serde(deserialize_with = "sidecars", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<WatchedContainer>,
    pub node_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedContainer {
    pub name: String,
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
}

impl WatchedContainer {
    /// Whether this init container is a native sidecar.
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some(SIDECAR_RESTART_POLICY)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedStatus {
    pub phase: Option<String>,
    pub conditions: Vec<WatchedCondition>,
    #[serde(deserialize_with = "first_entries::<_, _, CONTAINERS_KEPT>")]
    pub container_statuses: Vec<WatchedContainerStatus>,
    /// Of those that run. The init containers that have ended may be many, and their statuses come first.
    #[serde(deserialize_with = "running", skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<WatchedContainerStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedCondition {
    pub r#type: String,
    pub status: String,
    pub last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedContainerStatus {
    pub name: String,
    pub started: Option<bool>,
    #[serde(rename = "imageID")]
    pub image_id: Option<String>,
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    pub state: Option<WatchedContainerState>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedContainerState {
    pub running: Option<WatchedRunningState>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedRunningState {
    pub started_at: Option<Timestamp>,
}

impl WatchedContainerStatus {
    pub(super) fn is_running(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.running.is_some())
    }
}

fn sidecars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WatchedContainer>, D::Error> {
    first_of(deserializer, WatchedContainer::is_sidecar)
}

fn running<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WatchedContainerStatus>, D::Error> {
    first_of(deserializer, WatchedContainerStatus::is_running)
}

/// The first entries that are wanted of a list with an entry for each container.
fn first_of<'de, D, T>(deserializer: D, is_wanted: impl Fn(&T) -> bool) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let mut first = Vec::new();
    read_entries(deserializer, |entry| {
        if is_wanted(&entry) { push(&mut first, entry, CONTAINERS_KEPT) } else { ControlFlow::Continue(()) }
    })?;
    Ok(first)
}
