//! Reads a blob piece by piece, checks its digest, and continues where a connection broke.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::auth::Access;
use crate::digest::Digest;
use crate::error::{Cause, Operation, RegistryError};
use crate::http::{Failure, next_piece, shown_host};
use crate::patience::Patience;
use crate::repository_name::RepositoryName;
use crate::server::Server;

/// A blob that is being read.
#[derive(Debug)]
pub struct BlobStream {
    server: Arc<Server>,
    repository: RepositoryName,
    digest: Digest,
    /// Its length by its manifest. No more is read.
    bytes: u64,
    read: u64,
    hash: Sha256,
    source: Option<Source>,
    patience: Patience,
    /// The whole blob had another digest.
    is_wrong: bool,
}

/// A response, the body of which is being read.
#[derive(Debug)]
struct Source {
    response: Response,
    host: String,
    /// Bytes at its start that were read before: the server does not continue in the middle.
    skip: u64,
}

impl BlobStream {
    pub(crate) fn new(server: Arc<Server>, repository: RepositoryName, digest: Digest, bytes: u64) -> Self {
        let patience = server.patience();
        Self {
            server,
            repository,
            digest,
            bytes,
            read: 0,
            hash: Sha256::new(),
            source: None,
            patience,
            is_wrong: false,
        }
    }

    /// The next piece of the blob; `None` at its end.
    ///
    /// The last piece is returned only if the whole blob has its digest. Before, nothing may be relied on.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        self.next_piece().await.map_err(|cause| RegistryError {
            operation: Operation::ReadBlob(self.digest.clone()),
            repository: self.repository.clone(),
            cause,
        })
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, Cause> {
        if self.is_wrong || (self.bytes == 0 && self.digest != Digest::of(b"")) {
            return Err(self.wrong());
        }
        while self.read < self.bytes {
            let result = match self.source.take() {
                None => self.open().await.map(|source| (source, Bytes::new())),
                Some(source) => self.read_from(source).await,
            };
            match result {
                Ok((source, piece)) => {
                    self.source = Some(source);
                    if !piece.is_empty() {
                        return self.accepted(piece).map(Some);
                    }
                }
                Err(cause) if cause.is_worth_repeating() => self.server.wait_after(cause, &mut self.patience).await?,
                Err(cause) => return Err(cause),
            }
        }
        Ok(None)
    }

    /// Requests what was not read yet.
    async fn open(&self) -> Result<Source, Cause> {
        let mut get = self.server.call(Method::GET, &self.repository, &format!("blobs/{}", self.digest), Access::Pull);
        if self.read > 0
            // Not every server knows a range without an end.
            && let Ok(range) = HeaderValue::try_from(format!("bytes={}-{}", self.read, self.bytes - 1))
        {
            get.headers.insert(RANGE, range);
        }
        let reply = self.server.send(&self.repository, &get).await?;
        let skip = match reply.response.status() {
            StatusCode::OK => self.read,
            StatusCode::PARTIAL_CONTENT if starts_at(&reply.response) == Some(self.read) => 0,
            StatusCode::PARTIAL_CONTENT => return Err(self.server.protocol("it sends another part of a blob")),
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(self.wrong()),
            StatusCode::NOT_FOUND => return Err(Cause::NotFound),
            _ => return Err(self.server.refusal(&self.repository, reply).await),
        };
        Ok(Source { host: shown_host(&reply.url), response: reply.response, skip })
    }

    async fn read_from(&self, mut source: Source) -> Result<(Source, Bytes), Cause> {
        let piece = next_piece(&mut source.response, self.server.times.silence).await;
        let piece = piece.map_err(|failure: Failure| Cause::of_failure(&source.host, &failure))?;
        let Some(mut piece) = piece else {
            let why = format!("the body ended after {} of {} bytes", self.read, self.bytes);
            return Err(Cause::NoResponse { host: source.host, why });
        };
        let skipped = usize::try_from(source.skip).unwrap_or(usize::MAX).min(piece.len());
        source.skip -= u64::try_from(skipped).unwrap_or_default();
        Ok((source, piece.split_off(skipped)))
    }

    /// Counts and hashes a piece. What is behind the end of the blob is dropped.
    fn accepted(&mut self, mut piece: Bytes) -> Result<Bytes, Cause> {
        let missing = usize::try_from(self.bytes - self.read).unwrap_or(usize::MAX);
        piece.truncate(missing);
        self.hash.update(&piece);
        self.read += u64::try_from(piece.len()).unwrap_or_default();
        self.patience.progress(Instant::now());
        if self.read == self.bytes {
            self.source = None;
            self.is_wrong = Digest::of_hash(self.hash.clone().finalize().into()) != self.digest;
            if self.is_wrong {
                return Err(self.wrong());
            }
        }
        Ok(piece)
    }

    fn wrong(&self) -> Cause {
        Cause::WrongContent { why: format!("what it sends as blob {} does not have this digest", self.digest) }
    }
}

/// The first byte of a part: `bytes 100-199/1234`.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}
