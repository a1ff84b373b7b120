//! What the port adds to each request: a limit on the time that it takes, and the farewell of a draining server.
//!
//! Around the whole service and without a box, since every review comes through here. Nearly all requests have come whole
//! when they are first looked at and are answered at once; only the others get a timer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::response::Response;
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Place;

/// The answer to one request of a connection.
pub(super) struct Answering<F> {
    answer: F,
    place: Arc<Place>,
    /// Runs once the answer is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<F> Answering<F> {
    pub(super) fn new(answer: F, place: Arc<Place>) -> Self {
        place.turn.take();
        Self { answer, place, deadline: None }
    }
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { answer, place, deadline } = self.get_mut();
        let answered = match Pin::new(answer).poll(context) {
            Poll::Ready(answered) => answered,
            Poll::Pending => {
                let deadline = deadline.get_or_insert_with(|| Box::pin(sleep(place.port.request)));
                ready!(deadline.as_mut().poll(context));
                Ok(place.port.time_out())
            }
        };
        place.turn.give(Instant::now());
        Poll::Ready(answered.map(|mut answer| {
            place.port.bid_farewell(&mut answer);
            answer
        }))
    }
}
