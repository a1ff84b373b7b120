//! A Snapshot as the API server sends it, decoded without the parts of its metadata that nothing reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::metadata;

use super::resource::{Snapshot, SnapshotSpec, SnapshotStatus};

/// A Snapshot without its `managedFields`: each node that reports on it has an entry there.
#[derive(Debug, Clone, Deserialize, kube::Resource)]
#[resource(inherit = Snapshot)]
pub struct WatchedSnapshot {
    #[serde(deserialize_with = "metadata::read")]
    pub metadata: ObjectMeta,
    pub spec: SnapshotSpec,
    pub status: Option<SnapshotStatus>,
}

impl From<WatchedSnapshot> for Snapshot {
    fn from(WatchedSnapshot { metadata, spec, status }: WatchedSnapshot) -> Self {
        Self { metadata, spec, status }
    }
}
