//! Simulates what surrounds the engine, for tests of the engine without a cluster.
//!
//! Only plain values and pure functions belong here: no I/O, no async runtime, no clock (`now` is a parameter), and no
//! randomness. The same calls in the same order give the same answers.
//!
//! - [`ApiServer`]: the API server, with Checkpoints, pods and namespaces.

mod api_server;

pub use api_server::{ApiServer, Continue, Event, EventKind, Page, Pod, Rejection};
