//! A Checkpoint as the API server sends it, decoded without the parts of its metadata that nothing reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::metadata;

use super::resource::{Checkpoint, CheckpointSpec, CheckpointStatus};

/// A Checkpoint without its `managedFields`, which are as large as the rest.
#[derive(Debug, Clone, Deserialize, kube::Resource)]
#[resource(inherit = Checkpoint)]
pub struct WatchedCheckpoint {
    #[serde(deserialize_with = "metadata::read")]
    pub metadata: ObjectMeta,
    pub spec: CheckpointSpec,
    pub status: Option<CheckpointStatus>,
}

impl From<WatchedCheckpoint> for Checkpoint {
    fn from(WatchedCheckpoint { metadata, spec, status }: WatchedCheckpoint) -> Self {
        Self { metadata, spec, status }
    }
}
