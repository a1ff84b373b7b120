//! The upload of one blob whose digest is known at its end (OCI distribution specification 1.1, "Pushing a blob in chunks").
//!
//! A chunk is in memory until the registry has acknowledged it. After a request whose effect is not known, the registry is
//! asked how much it has, and gets the rest. Nothing is sent twice that it already has.
//!
//! Registries differ in what they keep of a chunk that was cut off. Docker's registry 3 has its bytes. Docker's registry 2.8
//! and zot end the upload then: the caller learns that it is lost, and begins the blob from its start.

mod answers;
mod chunks;
mod close;
mod progress_report;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderName;
use reqwest::{Method, Url};

use self::answers::{ACCEPTED, is_unknown};
use self::progress_report::{Chunk, chunk_bytes};
use crate::auth::Access;
use crate::digest::Digest;
use crate::error::{Cause, Operation, RegistryError};
use crate::repository_name::RepositoryName;
use crate::server::Server;
use crate::settings::LONGEST_CHUNK_BYTES;

/// The least length of a chunk that a registry accepts.
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// An upload that has begun. What it takes is bounded: one chunk in memory.
///
/// If a call fails, or its future is dropped, the upload can only be cancelled. An upload that is dropped remains in the registry
/// until the registry removes it.
pub struct Upload {
    server: Arc<Server>,
    repository: RepositoryName,
    location: Url,
    chunk: Chunk,
    /// Bytes that the registry has acknowledged.
    acknowledged: u64,
    /// What follows them. It is being sent.
    in_flight: Bytes,
    /// What follows that.
    buffer: BytesMut,
    /// The registry may have more of `in_flight` than it has acknowledged.
    is_unclear: bool,
    /// The registry said that `in_flight` does not begin behind what it has.
    is_range_refused: bool,
}

impl Upload {
    /// Begins an upload.
    pub(crate) async fn begin(server: Arc<Server>, repository: RepositoryName) -> Result<Self, RegistryError> {
        let begun = Self::begin_at(&server, &repository).await;
        let (location, chunk) = begun.map_err(|cause| RegistryError {
            operation: Operation::BeginUpload,
            repository: repository.clone(),
            cause,
        })?;
        let (in_flight, buffer) = (Bytes::new(), BytesMut::new());
        Ok(Self {
            server,
            repository,
            location,
            chunk,
            acknowledged: 0,
            in_flight,
            buffer,
            is_unclear: false,
            is_range_refused: false,
        })
    }

    async fn begin_at(server: &Server, repository: &RepositoryName) -> Result<(Url, Chunk), Cause> {
        let post = server.call(Method::POST, repository, "blobs/uploads/", Access::Push);
        // If an answer is lost, the upload that it was about has no bytes and is removed by the registry.
        let reply = server.patiently(|| server.expect(repository, &post, &ACCEPTED)).await?;
        let least = reply.response.headers().get(CHUNK_MIN_LENGTH).and_then(|value| value.to_str().ok());
        let chunk = chunk_bytes(least, server.chunk_bytes, LONGEST_CHUNK_BYTES);
        let chunk = chunk.ok_or_else(|| {
            server
                .protocol(&format!("chunks must be longer than {LONGEST_CHUNK_BYTES} bytes, the limit of this client"))
        })?;
        Ok((server.location(&reply)?, chunk))
    }

    /// The number of bytes that the registry has acknowledged.
    pub fn offset(&self) -> u64 {
        self.acknowledged
    }

    /// Takes the next bytes of the blob. Full chunks are sent, and the call returns when the registry has them.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), RegistryError> {
        while !bytes.is_empty() {
            if self.buffer.is_empty() {
                // A buffer that grows would be twice as long.
                self.buffer = BytesMut::with_capacity(self.chunk.bytes);
            }
            let room = self.chunk.bytes - self.buffer.len();
            let (taken, rest) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(taken);
            bytes = rest;
            if self.buffer.len() == self.chunk.bytes {
                self.send_buffer(false).await.map_err(|cause| self.error(cause))?;
            }
        }
        Ok(())
    }

    /// Sends the rest and closes the upload. The registry then has a blob of this digest, and its length is returned.
    ///
    /// Write the digest to a journal before: if the answer is lost, and this process ends, the blob may be there nevertheless.
    pub async fn finish(mut self, digest: &Digest) -> Result<u64, RegistryError> {
        self.send_buffer(true).await.map_err(|cause| self.error(cause))?;
        let closed = self.close(digest).await;
        closed.map_err(|cause| RegistryError {
            operation: Operation::FinishUpload(digest.clone()),
            repository: self.repository.clone(),
            cause,
        })?;
        Ok(self.acknowledged)
    }

    /// Lets the registry remove what it has of the upload. A failure does no harm: the registry does it by itself later.
    pub async fn cancel(self) -> Result<(), RegistryError> {
        let delete = self.server.call_to(Method::DELETE, self.location.clone(), Access::Push);
        let cancelled = self.server.patiently(|| self.server.expect(&self.repository, &delete, &ACCEPTED)).await;
        match cancelled {
            Ok(_) => Ok(()),
            Err(cause) if is_unknown(&cause) => Ok(()),
            Err(cause) => Err(RegistryError { operation: Operation::CancelUpload, repository: self.repository, cause }),
        }
    }

    fn error(&self, cause: Cause) -> RegistryError {
        let operation = Operation::Upload { acknowledged: self.acknowledged };
        RegistryError { operation, repository: self.repository.clone(), cause }
    }
}

impl fmt::Debug for Upload {
    /// Without what is in memory, which is the memory of a container, and without the address, which may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("repository", &self.repository)
            .field("acknowledged", &self.acknowledged)
            .finish_non_exhaustive()
    }
}
