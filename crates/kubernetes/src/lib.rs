//! Access to the API server: clients, calls with a time limit, watches that recover, live reads of pods, the workload of a
//! pod, the Lease of the leader, Events, the back-off between retries, and which certificates of servers are trusted.
//!
//! No decision about checkpoints, certificates or admission belongs here.

pub mod backoff;
pub mod cluster;
pub mod events;
pub mod leader;
pub mod own_pod_events;
pub mod server_clock;
pub mod tls;
pub mod workload;
