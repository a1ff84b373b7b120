//! Reading the bodies of requests: what one may take, and what all of them may take together.
//!
//! A review holds as much as 7 MiB, and there may be a thousand connections. Real reviews have some 10 KiB, so that much
//! is read of each; the few that are longer share a few places. Whatever is sent, bodies take no more than
//! 1,024 x 64 KiB and 8 x 7 MiB.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use futures::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refusal::Refusal;

/// The longest body in bytes. The API server takes objects of at most 3 MiB, and a review of an update holds two.
pub const REVIEW_LIMIT: usize = 7 * 1024 * 1024;

/// How much of a body is read without a place: more than nearly all pods have.
const SMALL: usize = 64 * 1024;

/// How many longer bodies there may be at once. An API server sends 7 MiB in some 50 ms.
const PLACES: usize = 8;

/// For a place to become free, and then for the rest of the body. An API server that was told nothing else gives up
/// after 10 s; both together are less than what the listener grants a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where bodies are read. Clones share its places.
#[derive(Debug, Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// A body that came whole; with it goes the place that it takes.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Bytes,
    place: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), patience: PATIENCE }
    }
}

impl Room {
    /// Reads a body to its end.
    pub(super) async fn read(&self, body: Body) -> Result<Whole, Refusal> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut frames = body.into_data_stream();
        let Some(frame) = frames.next().await else { return Ok(Whole { bytes: Bytes::new(), place: None }) };
        let mut frame = frame.map_err(|_| Refusal::Lost)?;
        if frames.is_end_stream() && frame.len() <= SMALL {
            // As most reviews come: it can stay where it was read.
            return Ok(Whole { bytes: frame, place: None });
        }
        let mut bytes = Vec::with_capacity(announced.min(SMALL));
        while bytes.len() + frame.len() <= SMALL {
            push(&mut bytes, &frame)?;
            let Some(next) = frames.next().await else { return Ok(Whole { bytes: bytes.into(), place: None }) };
            frame = next.map_err(|_| Refusal::Lost)?;
        }
        let place = self.place().await?;
        // Whole at once, since a buffer that grows is in memory twice while it moves.
        bytes.reserve_exact(REVIEW_LIMIT.saturating_sub(bytes.len()));
        push(&mut bytes, &frame)?;
        timeout(self.patience, finish(&mut bytes, frames)).await.map_err(|_| Refusal::Slow)??;
        Ok(Whole { bytes: bytes.into(), place: Some(place) })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        place.map_err(|_| Refusal::Crowded)?.map_err(|_| Refusal::Crowded)
    }
}

impl Whole {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It takes a place.
    pub(super) fn is_long(&self) -> bool {
        self.place.is_some()
    }
}

async fn finish<E>(
    bytes: &mut Vec<u8>,
    mut frames: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<(), Refusal> {
    while let Some(frame) = frames.next().await {
        push(bytes, &frame.map_err(|_| Refusal::Lost)?)?;
    }
    Ok(())
}

fn push(bytes: &mut Vec<u8>, frame: &[u8]) -> Result<(), Refusal> {
    if bytes.len() + frame.len() > REVIEW_LIMIT {
        return Err(Refusal::TooLarge);
    }
    bytes.extend_from_slice(frame);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream::{iter, pending};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn room(places: usize) -> Room {
        Room { places: Arc::new(Semaphore::new(places)), patience: SHORT }
    }

    fn frames(lengths: &[usize]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        iter(lengths.iter().map(|&length| Ok(Bytes::from(vec![b'x'; length]))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_body_is_put_together_from_its_frames() {
        for lengths in [&[][..], &[10], &[SMALL], &[SMALL, 1], &[1, SMALL, 5], &[REVIEW_LIMIT]] {
            let whole = room(1).read(Body::from_stream(frames(lengths))).await.unwrap();
            assert_eq!(whole.bytes().len(), lengths.iter().sum::<usize>(), "{lengths:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused_at_the_first_byte_too_many() {
        for lengths in [&[REVIEW_LIMIT + 1][..], &[SMALL, REVIEW_LIMIT - SMALL, 1]] {
            let endless = frames(lengths).chain(pending());
            assert!(matches!(room(1).read(Body::from_stream(endless)).await, Err(Refusal::TooLarge)), "{lengths:?}");
        }
    }

    #[tokio::test]
    async fn long_bodies_wait_for_a_place_and_short_ones_do_not() {
        let room = room(1);
        let first = room.read(Body::from_stream(frames(&[SMALL + 1]))).await.unwrap();
        assert!(matches!(room.read(Body::from_stream(frames(&[SMALL + 1]))).await, Err(Refusal::Crowded)));
        assert!(room.read(Body::from_stream(frames(&[SMALL]))).await.is_ok());
        drop(first);
        assert!(room.read(Body::from_stream(frames(&[SMALL + 1]))).await.is_ok());
    }

    #[tokio::test]
    async fn a_long_body_that_does_not_come_gives_its_place_back() {
        let room = room(1);
        let stuck = Body::from_stream(frames(&[SMALL + 1]).chain(pending()));
        assert!(matches!(room.read(stuck).await, Err(Refusal::Slow)));
        assert!(room.read(Body::from_stream(frames(&[SMALL + 1]))).await.is_ok());
    }
}
