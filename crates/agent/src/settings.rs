//! What the agent is configured with.

use std::path::PathBuf;
use std::time::Duration;

use snapwatcher_kubernetes::cluster::Scope;
use snapwatcher_registry::Registry;

/// Bytes of the largest archive that is read. A container with more memory is not saved.
pub(crate) const LARGEST_ARCHIVE: u64 = 256 << 30;

/// What the agent is configured with.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// The name of its node.
    pub node: String,
    /// Where the Snapshots are that it works on.
    pub scopes: Vec<Scope>,
    /// The folder into which the kubelet writes archives.
    pub checkpoints_folder: PathBuf,
    /// The folder of the node store and the journal. It is created if it does not exist.
    pub state_folder: PathBuf,
    /// How many bytes the node store may have.
    pub store_bytes: u64,
    /// How much of the disk of the node store stays free, in percent.
    pub free_disk_percent: u8,
    /// Whether archives that no Checkpoint names are removed after [`AgentTimes::unknown_age`].
    pub removes_unknown_archives: bool,
    /// `None`: Snapshots stay on the node.
    pub registry: Option<Registry>,
    /// The user to whom archives belong: root. Only tests that are not root set another one.
    pub archive_owner: u32,
    pub times: AgentTimes,
}

/// Times that no operator sets.
#[derive(Debug, Clone, Copy)]
pub struct AgentTimes {
    /// How often the disk and the node store are looked at.
    pub upkeep_every: Duration,
    /// How often the archives on the node are compared with the Checkpoints.
    pub inventory_every: Duration,
    /// How old an archive is at least that no Checkpoint names, before it is removed.
    pub unknown_age: Duration,
    /// The wait before the first repeat of what failed. It doubles with each failure in a row.
    pub first_retry: Duration,
    /// The limit of the doubling.
    pub longest_retry: Duration,
}
