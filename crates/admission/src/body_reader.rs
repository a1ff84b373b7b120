//! Reading request bodies within limits: for one body, and for all bodies together.
//!
//! A review can have 7 MiB, and there can be a thousand connections. Usual reviews have some 10 KiB, so up to 64 KiB of
//! each body is read without a permit, and the few larger ones share a small number of permits. All bodies together take
//! at most 1,024 x 64 KiB and 8 x 7 MiB of memory, whatever clients send.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use futures::{Stream, StreamExt as _};
use tokio::time::{sleep, timeout};

use super::large_bodies::{LargeBodies, LargeBodyPermit};
use super::request_error::RequestError;

/// The longest body in bytes. The API server accepts objects of at most 3 MiB, and the review of an update holds two.
pub const REVIEW_LIMIT: usize = 7 * 1024 * 1024;

/// How many bytes of a body are read without a permit: more than nearly all pods have.
const SMALL_BODY: usize = 64 * 1024;

/// For a permit. An API server waits 10 s at most for its response.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// For the rest of a large body, once there is a permit. An API server sends 7 MiB in some 50 ms.
const LARGE_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// The same while all permits are held and others wait for one. Bodies of twenty addresses that do not arrive then delay the body of
/// an API server by 1.5 s at first, and later by nothing, since these clients are known to be slow.
const AWAITED_BODY_TIMEOUT: Duration = Duration::from_millis(300);

/// Reads bodies.
#[derive(Debug)]
pub(super) struct BodyReader {
    pub(super) large_bodies: LargeBodies,
    permit_timeout: Duration,
    timeout: Duration,
    awaited_timeout: Duration,
}

/// A complete body. A large one returns its permit when it is dropped.
#[derive(Debug)]
pub(super) struct RequestBody {
    bytes: Bytes,
    permit: Option<LargeBodyPermit>,
}

/// Whether the body may need a permit: its announced length is too long for one without, or it announces none.
pub(super) fn may_be_large(body: &Body) -> bool {
    let longest = body.size_hint().upper().and_then(|length| usize::try_from(length).ok());
    longest.is_none_or(|length| length > SMALL_BODY)
}

impl Default for BodyReader {
    fn default() -> Self {
        Self {
            large_bodies: LargeBodies::default(),
            permit_timeout: PERMIT_TIMEOUT,
            timeout: LARGE_BODY_TIMEOUT,
            awaited_timeout: AWAITED_BODY_TIMEOUT,
        }
    }
}

impl BodyReader {
    /// Reads a body of this client to its end.
    pub(super) async fn read(&self, body: Body, client: IpAddr) -> Result<RequestBody, RequestError> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut frames = body.into_data_stream();
        let Some(frame) = frames.next().await else { return Ok(RequestBody::small(Bytes::new())) };
        let mut frame = frame.map_err(|_| RequestError::IncompleteBody)?;
        if frames.is_end_stream() && frame.len() <= SMALL_BODY {
            // Most reviews arrive in one frame, which needs no copy.
            return Ok(RequestBody::small(frame));
        }
        let mut bytes = Vec::with_capacity(announced.min(SMALL_BODY));
        while bytes.len() + frame.len() <= SMALL_BODY {
            append(&mut bytes, &frame)?;
            let Some(next) = frames.next().await else { return Ok(RequestBody::small(bytes.into())) };
            frame = next.map_err(|_| RequestError::IncompleteBody)?;
        }
        let permit = self.acquire_permit(client).await?;
        // The whole limit at once: a buffer that grows is in memory twice while it is copied.
        bytes.reserve_exact(REVIEW_LIMIT.saturating_sub(bytes.len()));
        append(&mut bytes, &frame)?;
        tokio::select! {
            biased;
            read = append_all(&mut bytes, frames) => read?,
            () = self.body_timeout() => {
                // Before the permit returns: the next body of this client waits for it.
                self.large_bodies.timed_out(client);
                return Err(RequestError::BodyTimeout);
            }
        }
        Ok(RequestBody { bytes: bytes.into(), permit: Some(permit) })
    }

    /// Waits until the time for the rest of a large body is over.
    async fn body_timeout(&self) {
        sleep(self.awaited_timeout).await;
        let more = self.timeout.saturating_sub(self.awaited_timeout);
        timeout(more, self.large_bodies.are_awaited()).await.ok();
    }

    async fn acquire_permit(&self, client: IpAddr) -> Result<LargeBodyPermit, RequestError> {
        let permit = timeout(self.permit_timeout, self.large_bodies.acquire(client)).await;
        permit.ok().flatten().ok_or(RequestError::TooManyLargeBodies)
    }
}

impl RequestBody {
    fn small(bytes: Bytes) -> Self {
        Self { bytes, permit: None }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the body holds one of the permits.
    pub(super) fn is_large(&self) -> bool {
        self.permit.is_some()
    }
}

async fn append_all<E>(
    bytes: &mut Vec<u8>,
    mut frames: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<(), RequestError> {
    while let Some(frame) = frames.next().await {
        append(bytes, &frame.map_err(|_| RequestError::IncompleteBody)?)?;
    }
    Ok(())
}

fn append(bytes: &mut Vec<u8>, frame: &[u8]) -> Result<(), RequestError> {
    if bytes.len() + frame.len() > REVIEW_LIMIT {
        return Err(RequestError::BodyTooLarge { limit: REVIEW_LIMIT });
    }
    bytes.extend_from_slice(frame);
    Ok(())
}

#[cfg(test)]
mod tests;
