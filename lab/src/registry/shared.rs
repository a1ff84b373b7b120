//! What the stand-in and its answers share.

use super::contents::Contents;
use super::fault::{Faults, Step};
use super::token::Login;

/// A request as the stand-in received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRequest {
    pub step: Step,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The value of `Range` or `Content-Range`.
    pub range: Option<String>,
    /// Bytes of the body that were received.
    pub bytes: u64,
}

/// The state of the stand-in.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) contents: Contents,
    pub(super) faults: Faults,
    pub(super) login: Login,
    pub(super) requests: Vec<RegistryRequest>,
    pub(super) deletes: bool,
    /// The value of `OCI-Chunk-Min-Length`.
    pub(super) least_chunk: Option<String>,
}
