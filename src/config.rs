//! Settings of `snapwatcher run` and `snapwatcher agent`: flags, each with its environment variable, parsed once into types.
//!
//! Each group of flags has a file of its own, with its `Args` struct and the conversion into what its service takes. The doc
//! comment of a flag is its help text and its row in docs/configuration.md. No other module reads the environment.
//! `LOG_LEVEL`, `SNAP_BACK_API_URL` and `KUBE_API_ADDRESS` are the variables of the original SnapWatcher.

mod admin;
mod admission;
mod agent;
mod attempts;
mod backend;
mod certificate;
mod checkpoint;
mod concurrency;
mod fixed_times;
mod instance;
mod kubelet;
mod leader;
mod log;
mod registry;
mod retention;
mod save;
mod snaphook;
pub(crate) mod values;
mod watch;

use clap::Args;

pub use admin::AdminArgs;
pub use admission::AdmissionArgs;
pub use agent::AgentArgs;
pub use attempts::AttemptArgs;
pub use backend::{BackendArgs, BackendName, BackendSettings};
pub use certificate::{CaArgs, CertificateArgs};
pub use checkpoint::CheckpointArgs;
pub use concurrency::ConcurrencyArgs;
pub use fixed_times::FixedTimes;
pub use instance::InstanceArgs;
pub use kubelet::KubeletArgs;
pub use leader::LeaderArgs;
pub use log::LogArgs;
pub use registry::RegistryArgs;
pub use retention::RetentionArgs;
pub use save::{SaveArgs, SnapshotEncryption};
pub use snaphook::SnapHookArgs;
pub use watch::WatchArgs;

/// All flags of `snapwatcher run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten, next_help_heading = "Log")]
    pub log: LogArgs,
    #[command(flatten, next_help_heading = "Admission")]
    pub admission: AdmissionArgs,
    #[command(flatten, next_help_heading = "Certificate")]
    pub certificate: CertificateArgs,
    #[command(flatten, next_help_heading = "Watch")]
    pub watch: WatchArgs,
    #[command(flatten, next_help_heading = "Checkpoints")]
    pub checkpoint: CheckpointArgs,
    #[command(flatten, next_help_heading = "Save")]
    pub save: SaveArgs,
    #[command(flatten, next_help_heading = "Registry")]
    pub registry: RegistryArgs,
    #[command(flatten, next_help_heading = "Leader")]
    pub leader: LeaderArgs,
    #[command(flatten, next_help_heading = "Admin port")]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub times: FixedTimes,
}
