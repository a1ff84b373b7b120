//! Settings of `snapwatcher agent`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use snapwatcher_agent::{AgentSettings, AgentTimes};
use snapwatcher_api::duration;
use snapwatcher_kubernetes::cluster::Scope;
use snapwatcher_registry::{Registry, RegistrySettings};

use super::values::{byte_quantity, object_name, timeout};
use super::{AdminArgs, LogArgs, RegistryArgs, WatchArgs};

/// All flags of `snapwatcher agent`.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    #[command(flatten, next_help_heading = "Log")]
    pub log: LogArgs,
    #[command(flatten, next_help_heading = "Watch")]
    pub watch: WatchArgs,
    #[command(flatten, next_help_heading = "Node")]
    pub node: NodeArgs,
    #[command(flatten, next_help_heading = "Registry")]
    pub registry: RegistryArgs,
    #[command(flatten, next_help_heading = "Admin port")]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub times: AgentTimesArgs,
}

#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Name of the node on which the agent runs, set by the downward API.
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = object_name)]
    pub node_name: String,
    /// Folder into which the kubelet of the node writes archives: `checkpoints` in its root folder.
    #[arg(
        long,
        env = "SNAPWATCHER_CHECKPOINTS_FOLDER",
        value_name = "FOLDER",
        default_value = "/var/lib/kubelet/checkpoints"
    )]
    pub checkpoints_folder: PathBuf,
    /// Folder on the node for unpacked copies and for the journal of the agent.
    #[arg(long, env = "SNAPWATCHER_STATE_FOLDER", value_name = "FOLDER", default_value = "/var/lib/snapwatcher")]
    pub state_folder: PathBuf,
    /// How many bytes the unpacked copies on a node may have. The copy that was not used for the longest time is deleted first.
    #[arg(long, env = "SNAPWATCHER_STORE_BYTES", value_name = "QUANTITY", default_value = "10Gi", value_parser = byte_quantity)]
    pub store_bytes: u64,
    /// How much of the disk of the state folder stays free, in percent.
    #[arg(long, env = "SNAPWATCHER_FREE_DISK_PERCENT", value_name = "PERCENT", default_value = "15", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub free_disk_percent: u8,
    /// The most bytes a second that the agent uploads. Without it, there is no limit.
    #[arg(long, env = "SNAPWATCHER_UPLOAD_BYTES_PER_SECOND", value_name = "QUANTITY", value_parser = byte_quantity)]
    pub upload_bytes_per_second: Option<u64>,
    /// Removes archives that no Checkpoint names after a day. Without it, they are counted and stay.
    #[arg(long, env = "SNAPWATCHER_REMOVE_UNKNOWN_ARCHIVES", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub remove_unknown_archives: bool,
}

/// Times of the product that no operator sets. Only tests set them.
#[derive(Debug, Clone, Args)]
pub struct AgentTimesArgs {
    /// How long the API server keeps a watch open.
    #[arg(long, env = "SNAPWATCHER_WATCH_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub watch_timeout: Duration,
    /// How often the disk and the node store are looked at.
    #[arg(long, env = "SNAPWATCHER_UPKEEP_EVERY", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub upkeep_every: Duration,
    /// How often the archives on the node are compared with the Checkpoints.
    #[arg(long, env = "SNAPWATCHER_INVENTORY_EVERY", value_name = "DURATION", default_value = "1h", value_parser = timeout, hide = true)]
    pub inventory_every: Duration,
    /// How old an archive is at least that no Checkpoint names, before it is removed.
    #[arg(long, env = "SNAPWATCHER_UNKNOWN_AGE", value_name = "DURATION", default_value = "24h", value_parser = duration::parse, hide = true)]
    pub unknown_age: Duration,
    /// The wait before the first repeat of what failed.
    #[arg(long, env = "SNAPWATCHER_FIRST_RETRY", value_name = "DURATION", default_value = "10s", value_parser = timeout, hide = true)]
    pub first_retry: Duration,
    /// The longest wait before a repeat.
    #[arg(long, env = "SNAPWATCHER_LONGEST_RETRY", value_name = "DURATION", default_value = "10m", value_parser = timeout, hide = true)]
    pub longest_retry: Duration,
}

impl AgentArgs {
    /// How the registry is reached; `None`: there is none.
    pub fn registry_settings(&self) -> Option<RegistrySettings> {
        let settings = self.registry.settings()?;
        let upload_bytes_per_second = self.node.upload_bytes_per_second.and_then(NonZeroU64::new);
        Some(RegistrySettings { upload_bytes_per_second, ..settings })
    }

    /// What the agent takes. Archives belong to the user of this process, which is root on a node.
    pub fn settings(&self, registry: Option<Registry>) -> AgentSettings {
        let (node, times) = (&self.node, &self.times);
        AgentSettings {
            node: node.node_name.clone(),
            scopes: Scope::of(&self.watch.namespaces()),
            checkpoints_folder: node.checkpoints_folder.clone(),
            state_folder: node.state_folder.clone(),
            store_bytes: node.store_bytes,
            free_disk_percent: node.free_disk_percent,
            removes_unknown_archives: node.remove_unknown_archives,
            registry,
            archive_owner: rustix::process::geteuid().as_raw(),
            times: AgentTimes {
                upkeep_every: times.upkeep_every,
                inventory_every: times.inventory_every,
                unknown_age: times.unknown_age,
                first_retry: times.first_retry,
                longest_retry: times.longest_retry,
            },
        }
    }
}
