//! The body of a request: bytes in memory that are sent piece by piece, within the shared pace.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;
use super::progress::Progress;

/// The body.
pub(crate) struct PacedBody {
    rest: Bytes,
    pace: Arc<Mutex<Pace>>,
    progress: Progress,
    /// What the next piece waits for, and its length.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl PacedBody {
    pub(crate) fn new(bytes: Bytes, pace: Arc<Mutex<Pace>>, progress: Progress) -> Self {
        Self { rest: bytes, pace, progress, waiting: None }
    }

    /// The length of the next piece, and when it may be sent; `None`: now. A timer that has elapsed still takes a millisecond.
    fn reserve(&self) -> (usize, Option<Instant>) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let (length, now) = (pace.piece().min(self.rest.len()), Instant::now());
        let at = pace.reserve(length, now);
        (length, Some(at).filter(|at| *at > now))
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = match &mut self.waiting {
            Some((length, sleep)) => {
                ready!(sleep.as_mut().poll(context));
                *length
            }
            None => match self.reserve() {
                (length, None) => length,
                (length, Some(at)) => {
                    self.waiting = Some((length, Box::pin(sleep_until(at))));
                    return self.poll_frame(context);
                }
            },
        };
        self.waiting = None;
        self.progress.note();
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for PacedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PacedBody({} bytes)", self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;

    async fn read(mut body: PacedBody) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            lengths.push(frame.into_data().unwrap().len());
        }
        lengths
    }

    #[tokio::test(start_paused = true)]
    async fn two_bodies_share_the_pace() {
        let pace = Arc::new(Mutex::new(Pace::new(NonZeroU64::new(4000))));
        let body = || PacedBody::new(Bytes::from(vec![0; 2500]), Arc::clone(&pace), Progress::default());
        assert_eq!(body().size_hint().exact(), Some(2500));
        let started = Instant::now();
        let (one, other) = tokio::join!(read(body()), read(body()));
        assert_eq!((one.as_slice(), other.as_slice()), (&[1000, 1000, 500][..], &[1000, 1000, 500][..]));
        // 5000 bytes, but for the last piece, which waits only for those before it.
        let expected = Duration::from_millis(1125);
        assert!(started.elapsed().abs_diff(expected) <= Duration::from_millis(5), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn an_empty_body_ends_at_once() {
        let body = PacedBody::new(Bytes::new(), Arc::new(Mutex::new(Pace::new(None))), Progress::default());
        assert!(body.is_end_stream());
        assert!(read(body).await.is_empty());
    }
}
