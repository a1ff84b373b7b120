//! Simulates what surrounds the engine, for tests of the engine without a cluster.
//!
//! Only plain values and functions belong here: no I/O, no async runtime, no clock (`now` is a parameter), and no randomness but
//! that of a seed. The same calls in the same order give the same answers, and the same seed gives the same history.
//!
//! - [`ApiServer`]: the API server, with Checkpoints, pods and namespaces.
//! - [`History`]: the engines of one to three processes on it, with everything going wrong that can.

mod api_server;
mod history;

pub use api_server::{ApiServer, Continue, Event, EventKind, Page, Pod, Rejection};
pub use history::{Coverage, Ending, History, TraceLine, Violation};
