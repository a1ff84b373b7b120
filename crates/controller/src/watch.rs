//! Labelled pods, from the first time they are seen to the claim of each chosen container.
//!
//! [`ready`] decides about one pod, [`table`] folds the events of the watch into tasks, [`service`] carries them out.

mod announce;
pub mod metrics;
mod missed_mutation;
pub mod ready;
mod service;
mod slips;
pub mod table;

pub use service::{Watch, WatchError};
pub use slips::MissedMutations;
