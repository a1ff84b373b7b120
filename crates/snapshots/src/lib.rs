//! The leader's part of saving checkpoints: it creates a Snapshot for each Checkpoint with an archive, judges it by what the agent of
//! the node reports and by the manifest in the registry, and deletes what is not needed any more. It holds the keys of the namespaces.
//!
//! The Snapshot in the API server is the authority about what is saved (docs/decisions/0028). Decisions are pure functions
//! (`plan`, `judge`, `manifest_check`, `retention_choice`, `tag_choice`, `work_queue`); the files around them make the calls.

mod access;
mod creation;
mod error;
mod index;
mod judge;
mod judgement;
mod key;
mod keys;
mod leader_status;
mod manifest_check;
mod metrics;
mod plan;
mod removal;
mod retention;
mod retention_choice;
mod service;
mod settings;
mod shared;
mod subject;
mod tag_choice;
mod tags;
mod watches;
mod work_queue;

pub use metrics::SnapshotMetrics;
pub use service::{SnapshotsError, SnapshotsService};
pub use settings::{Encryption, SnapshotRetention, SnapshotSettings, TagCleaning};
