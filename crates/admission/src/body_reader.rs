//! Reading request bodies within limits: for one body, and for all bodies together.
//!
//! A review can have 7 MiB, and there can be a thousand connections. Usual reviews have some 10 KiB, so up to 64 KiB of
//! each body is read without a permit, and the few larger ones share a small number of permits. All bodies together take
//! at most 1,024 x 64 KiB and 8 x 7 MiB of memory, whatever clients send.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;

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

/// Reads bodies.
#[derive(Debug)]
pub(super) struct BodyReader {
    pub(super) large_bodies: LargeBodies,
    permit_timeout: Duration,
    timeout: Duration,
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
        Self { large_bodies: LargeBodies::default(), permit_timeout: PERMIT_TIMEOUT, timeout: LARGE_BODY_TIMEOUT }
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
        timeout(self.timeout, append_all(&mut bytes, frames)).await.map_err(|_| RequestError::BodyTimeout)??;
        Ok(RequestBody { bytes: bytes.into(), permit: Some(permit) })
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
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use futures::stream::{iter, pending};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn reader(permits: usize) -> BodyReader {
        BodyReader { large_bodies: LargeBodies::new(permits, permits), permit_timeout: SHORT, timeout: SHORT }
    }

    fn frames(lengths: &[usize]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        let frame = |(letter, &length): (u8, &usize)| Ok(Bytes::from(vec![letter; length]));
        iter((b'a'..).zip(lengths).map(frame).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn the_frames_of_a_body_are_joined() {
        for lengths in [&[][..], &[10], &[SMALL_BODY], &[SMALL_BODY, 1], &[1, SMALL_BODY, 5], &[REVIEW_LIMIT]] {
            let body = reader(1).read(Body::from_stream(frames(lengths)), CLIENT).await.unwrap();
            let expected = (b'a'..).zip(lengths).flat_map(|(letter, &length)| std::iter::repeat_n(letter, length));
            assert!(body.bytes().iter().copied().eq(expected), "{lengths:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_rejected_at_the_first_byte_over_the_limit() {
        for lengths in [&[REVIEW_LIMIT + 1][..], &[SMALL_BODY, REVIEW_LIMIT - SMALL_BODY, 1]] {
            let endless = frames(lengths).chain(pending());
            assert!(
                matches!(
                    reader(1).read(Body::from_stream(endless), CLIENT).await,
                    Err(RequestError::BodyTooLarge { .. })
                ),
                "{lengths:?}"
            );
        }
    }

    #[tokio::test]
    async fn large_bodies_wait_for_a_permit_and_small_ones_do_not() {
        let reader = reader(1);
        let first = reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await.unwrap();
        assert!(matches!(
            reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await,
            Err(RequestError::TooManyLargeBodies)
        ));
        assert!(reader.read(Body::from_stream(frames(&[SMALL_BODY])), CLIENT).await.is_ok());
        drop(first);
        assert!(reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await.is_ok());
    }

    #[tokio::test]
    async fn a_large_body_that_does_not_arrive_returns_its_permit() {
        let reader = reader(1);
        let stuck = Body::from_stream(frames(&[SMALL_BODY + 1]).chain(pending()));
        assert!(matches!(reader.read(stuck, CLIENT).await, Err(RequestError::BodyTimeout)));
        assert!(reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await.is_ok());
    }

    #[test]
    fn only_a_body_that_may_need_a_permit_needs_the_address_of_its_client() {
        for (length, expected) in [(0, false), (SMALL_BODY, false), (SMALL_BODY + 1, true)] {
            assert_eq!(may_be_large(&Body::from(vec![0; length])), expected, "{length}");
        }
        assert!(may_be_large(&Body::from_stream(frames(&[1]))), "no length is announced");
    }
}
