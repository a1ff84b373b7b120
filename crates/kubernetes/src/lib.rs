//! Access to the API server: clients, calls that end in time, watches that recover, live reads of pods, the workload that
//! owns a pod, the Lease of the leader, and Events.
//!
//! No decision about checkpoints is made here.

pub mod backoff;
pub mod cluster;
pub mod events;
pub mod leader;
pub mod owner;
