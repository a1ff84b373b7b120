//! The settings of the leader's part of saving.

use std::time::Duration;

use snapwatcher_api::pod::RevisionLabels;
use snapwatcher_kubernetes::cluster::Scope;
use snapwatcher_registry::Registry;

/// How Snapshots are created, judged and deleted.
#[derive(Debug, Clone)]
pub struct SnapshotSettings {
    pub scopes: Vec<Scope>,
    pub revision_labels: RevisionLabels,
    /// `None`: Snapshots stay on the nodes that took them.
    pub registry: Option<Registry>,
    pub encryption: Encryption,
    pub retention: SnapshotRetention,
    pub tags: TagCleaning,
}

/// How what is pushed to the registry is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// To a key of each namespace, in the Secret of that namespace and name.
    Age { namespace: String, secret: String },
    /// Not at all.
    None,
}

/// Which Snapshots are kept whose revision has no pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRetention {
    /// How many revisions of a container of a workload.
    pub revisions: usize,
    /// How long without a use.
    pub unused_for: Duration,
    /// The time between two rounds.
    pub every: Duration,
}

/// When manifests that no Snapshot names are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagCleaning {
    /// Younger ones stay: their Snapshots may have been created after the listing.
    pub least_age: Duration,
    /// The time between two rounds.
    pub every: Duration,
}
