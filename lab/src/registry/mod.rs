//! Registries of images for tests: a stand-in that fails on request, and real ones on 127.0.0.1.
//!
//! The stand-in ([`FakeRegistry`]) speaks the OCI distribution specification 1.1. It is strict: a chunk that does not continue
//! the upload, or an upload address that is not the latest one, is refused. It records each request before it answers.

mod contents;
mod cut;
mod fault;
mod handler;
mod program;
mod route;
mod shared;
mod token;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;

use crate::lock::lock;
use crate::server::Server;

use shared::Shared;

pub use cut::CutConnection;
pub use fault::{Fault, Step};
pub use program::{RegistryKind, RegistryOptions, RegistryProgram, RegistryProgramError};
pub use shared::RegistryRequest;
pub use token::Login;

/// A running stand-in. Dropping it closes its port.
#[derive(Debug)]
pub struct FakeRegistry {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the stand-in for a registry could not listen")]
pub struct FakeRegistryError {
    source: io::Error,
}

impl FakeRegistry {
    /// Starts on a free port of 127.0.0.1, without authentication and with deletion.
    pub async fn start() -> Result<Self, FakeRegistryError> {
        let shared = Arc::new(Mutex::new(Shared { deletes: true, ..Shared::default() }));
        let app = Router::new().fallback(handler::receive).with_state(Arc::clone(&shared));
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), app).await;
        Ok(Self { server: server.map_err(|source| FakeRegistryError { source })?, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Requires this login from now on.
    pub fn require(&self, login: Login) {
        lock(&self.shared).login = login;
    }

    /// Ends all tokens that were given out.
    pub fn end_tokens(&self) {
        lock(&self.shared).login.end_tokens();
    }

    /// Requires chunks of this length, as the value of `OCI-Chunk-Min-Length`.
    pub fn require_chunks(&self, least: &str) {
        lock(&self.shared).least_chunk = Some(least.to_owned());
    }

    /// Refuses to delete manifests from now on.
    pub fn refuse_deletions(&self) {
        lock(&self.shared).deletes = false;
    }

    /// The next request of this step meets this fault. Faults of one step are met one after the other.
    pub fn fail(&self, step: Step, fault: Fault) {
        lock(&self.shared).faults.add(step, fault);
    }

    /// The faults that no request has met.
    pub fn unmet_faults(&self) -> usize {
        lock(&self.shared).faults.len()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RegistryRequest> {
        lock(&self.shared).requests.clone()
    }

    /// The requests of one step.
    pub fn requests_of(&self, step: Step) -> Vec<RegistryRequest> {
        lock(&self.shared).requests.iter().filter(|request| request.step == step).cloned().collect()
    }

    /// A blob that is stored.
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        lock(&self.shared).contents.blob(digest).map(<[u8]>::to_vec)
    }

    /// Stores a blob and returns its digest.
    pub fn add_blob(&self, content: &[u8]) -> String {
        lock(&self.shared).contents.add_blob(content.to_vec())
    }

    /// Stores a manifest under a tag and returns its digest.
    pub fn add_manifest(&self, repository: &str, tag: &str, content: &[u8]) -> String {
        lock(&self.shared).contents.put_manifest(repository, tag, content.to_vec())
    }

    /// Whether a repository has a manifest with that tag.
    pub fn has_tag(&self, repository: &str, tag: &str) -> bool {
        lock(&self.shared).contents.manifest(repository, tag).is_some()
    }

    /// The number of manifests of a repository.
    pub fn manifests(&self, repository: &str) -> usize {
        lock(&self.shared).contents.manifests(repository)
    }

    /// The digests of blobs that no manifest names.
    pub fn orphaned_blobs(&self) -> Vec<String> {
        lock(&self.shared).contents.orphaned_blobs()
    }

    /// Begins an upload and returns its address, for a redirect from another registry.
    pub fn begin_upload(&self, repository: &str) -> String {
        let upload = lock(&self.shared).contents.begin();
        format!("http://{}/v2/{repository}/blobs/uploads/{upload}?state=0", self.address())
    }

    /// The number of uploads that have begun and did not end.
    pub fn open_uploads(&self) -> usize {
        lock(&self.shared).contents.open_uploads()
    }

    /// Closes the port: new connections are refused.
    pub async fn close_port(&self) {
        self.server.close().await;
    }

    /// Opens the same port again.
    pub async fn reopen_port(&self) -> Result<(), FakeRegistryError> {
        self.server.reopen().await.map_err(|source| FakeRegistryError { source })
    }
}
