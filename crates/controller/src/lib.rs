//! The controller: watches labeled pods, claims their containers by creating Checkpoints, runs the attempts through a
//! back-end, and deletes old Checkpoints.
//!
//! [`Engine`] decides, without I/O. [`operation`] carries out what the engine starts: each operation is a few calls to the API
//! server and at most one request. [`ControllerService`] connects both with a cluster. This crate uses a back-end through its
//! trait alone, and serves no HTTP but the page `/pods` of the admin port.

mod checkpoint_log;
mod checkpoint_metrics;
mod context;
mod engine;
mod log_block;
mod missed_mutation;
mod missed_mutation_report;
pub mod operation;
mod pods_page;
mod pods_query;
mod printed_blocks;
mod record;
mod reporter;
mod retention;
mod service;
mod settings;
mod watch_metrics;

pub use checkpoint_metrics::CheckpointMetrics;
pub use context::{ControllerChecks, ControllerContext};
pub use engine::{ClaimReport, ConcurrencyLimits, Effect, Engine, EngineSettings, Input, Kept, Now, Report};
pub use log_block::BlockEvent;
pub use missed_mutation::selects_namespace;
pub use pods_page::{PODS, PodsPage};
pub use record::transitions::{Holder, RetryPolicy, UnknownResult};
pub use retention::RetentionPolicy;
pub use service::{ControllerError, ControllerService};
pub use settings::{CheckpointSettings, WatchSettings};
pub use watch_metrics::WatchMetrics;
