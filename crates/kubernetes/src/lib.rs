//! Access to the API server: clients, calls with a time limit, watches that recover, live reads of pods, the workload of a
//! pod, the Lease of the leader, Events, and the back-off between retries.
//!
//! No decision about checkpoints, certificates or admission belongs here.

pub mod backoff;
pub mod cluster;
pub mod events;
pub mod leader;
pub mod workload;
