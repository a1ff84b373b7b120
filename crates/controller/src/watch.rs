//! Labelled pods, from the first time they are seen to the claim of each chosen container.
//!
//! [`ready`] decides about one pod, [`table`] folds the events of the watch into tasks, [`service`] carries them out.

pub mod eligibility;
mod log_block;
pub mod metrics;
mod missed_mutations;
mod mutation_check;
pub mod pod_table;
mod pod_watch;

pub use missed_mutations::MissedMutations;
pub use pod_watch::{Watch, WatchError};
