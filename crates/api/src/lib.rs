//! What all parts of SnapWatcher share: the `Checkpoint` resource, the label and annotation keys, the facts of a pod, the
//! outcomes of an attempt, the names of Checkpoints, and the notation of durations.
//!
//! Only plain values and pure functions belong here: no I/O, no async runtime, no clock (`now` is a parameter), and no other
//! crate of this workspace.

pub mod checkpoint;
pub mod checkpoint_name;
mod decoded_text;
pub mod duration;
pub mod eligibility;
#[cfg(any(test, feature = "test-support"))]
pub mod fixtures;
pub mod keys;
pub mod metadata;
pub mod outcome;
pub mod pod;
pub mod quantity;
#[cfg(test)]
mod schema;
pub mod shared_values;
pub mod snapshot;
pub mod text;
