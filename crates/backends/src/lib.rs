//! The back-ends: the clients that request a checkpoint from SnapHook or from the kubelet of a pod's node.
//!
//! A back-end sends one request and turns the response, or its failure, into an
//! [`Outcome`](snapwatcher_api::outcome::Outcome). When to send a request, and what follows from the outcome, is decided by
//! the controller and does not belong here. Every text of a response passes [`redact`] before it leaves this crate.

pub mod backend;
mod ca_file;
mod failure;
mod http;
pub mod kubelet;
pub mod metrics;
pub mod redact;
pub mod snaphook;
#[cfg(test)]
mod test_api_server;
#[cfg(test)]
mod test_server;

pub use self::ca_file::CaFileError;
