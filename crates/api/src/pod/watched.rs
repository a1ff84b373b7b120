//! A Pod object with just the fields that SnapWatcher reads, as the watch decodes it.
//!
//! A whole `Pod` of k8s-openapi has some hundred fields. With 10,000 labeled pods in memory that costs too much, so unknown
//! fields are skipped while decoding.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::metadata;

/// A pod with more regular containers is not checkpointed. One more is kept, so that this can be seen.
pub const MOST_CONTAINERS: usize = 64;

/// A Pod object with just the fields that are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = Pod)]
pub struct WatchedPod {
    #[serde(deserialize_with = "metadata::read")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: WatchedSpec,
    #[serde(default)]
    pub status: WatchedStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedSpec {
    #[serde(deserialize_with = "first_containers")]
    pub containers: Vec<WatchedContainer>,
    pub node_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedContainer {
    pub name: String,
    pub image: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedStatus {
    pub phase: Option<String>,
    pub conditions: Vec<WatchedCondition>,
    #[serde(deserialize_with = "first_containers")]
    pub container_statuses: Vec<WatchedContainerStatus>,
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

/// The first entries of a list with one entry for each container. A list of thousands fits into a pod.
pub(super) fn first_containers<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(FirstContainers(PhantomData))
}

struct FirstContainers<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FirstContainers<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut entries: S) -> Result<Vec<T>, S::Error> {
        let mut first = Vec::new();
        while first.len() <= MOST_CONTAINERS {
            let Some(entry) = entries.next_element()? else { return Ok(first) };
            first.push(entry);
        }
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}
