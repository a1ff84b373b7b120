//! The words that all parts of SnapWatcher share: the `Checkpoint` resource, label and annotation keys, what is read of a
//! pod, outcomes and the names of records.
//!
//! Plain values and pure functions only. No I/O, no runtime, no clock: `now` is a parameter.

pub mod checkpoint;
pub mod duration;
pub mod outcome;
pub mod pod;
pub mod record_name;
