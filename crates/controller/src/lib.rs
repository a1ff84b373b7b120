//! What the leader does: watches pods, claims them by creating Checkpoints, makes attempts through a back-end, and removes
//! old Checkpoints.
//!
//! Decisions are pure functions over plain values; the services around them do the I/O. Nothing here serves HTTPS or knows
//! which back-end is used.

pub mod checkpoint;
pub mod dry_run;
pub mod leadership;
pub mod pods_page;
pub mod watch;
