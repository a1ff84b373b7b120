//! The controller: watches labeled pods, claims their containers by creating Checkpoints, runs the attempts through a
//! back-end, and deletes old Checkpoints.
//!
//! Decisions are pure functions over plain values; services around them do the I/O. This crate uses a back-end through its
//! trait alone, and serves no HTTP but the page `/pods` of the admin port.

mod checkpoint;
mod context;
mod dry_run;
mod leadership;
mod pods_page;
mod watch;

pub use checkpoint::attempt_scheduler::{AttemptScheduler, SchedulerError};
pub use checkpoint::concurrency_limiter::ConcurrencyLimits;
pub use checkpoint::metrics::CheckpointMetrics;
pub use checkpoint::retention::RetentionPolicy;
pub use checkpoint::transitions::{Holder, RetryPolicy, UnknownResult};
pub use context::{ControllerChecks, ControllerContext};
pub use leadership::{CheckpointSettings, LeaderServices, WatchSettings};
pub use pods_page::{PODS, PodsPage};
pub use watch::metrics::WatchMetrics;
