//! Whose turn it is on a connection: the client's, who may ask, or the server's, who is to answer.
//!
//! The service of a connection knows it and the stream below acts on it: a client that has had its turn for too long is
//! let go. hyper has a time-out for that too, but makes a timer for each request, sets it and takes it away again. Here
//! a request costs two writes to memory, and a connection one timer that rings once in a while. Until the first request
//! handshake and first request have time-outs of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Instead of a time: it is not the client's turn.
const OURS: u64 = u64::MAX;

/// Shared by the service and the stream of one connection.
#[derive(Debug)]
pub(super) struct Turn {
    opened: Instant,
    /// When it became the client's turn, in microseconds since `opened`; or [`OURS`].
    since: AtomicU64,
}

impl Turn {
    /// Of a connection whose first request is yet to come.
    pub(super) fn new(opened: Instant) -> Self {
        Self { opened, since: AtomicU64::new(OURS) }
    }

    /// The client has asked.
    pub(super) fn take(&self) {
        // Both sides are polled by the task of the connection, one after the other.
        self.since.store(OURS, Ordering::Relaxed);
    }

    /// The client has its answer.
    pub(super) fn give(&self, now: Instant) {
        let since = u64::try_from(now.duration_since(self.opened).as_micros()).unwrap_or(OURS - 1);
        self.since.store(since, Ordering::Relaxed);
    }

    /// Since when it is the client's turn, if it is.
    pub(super) fn of_the_client_since(&self) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        (since != OURS).then(|| self.opened + Duration::from_micros(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_has_its_turn_after_each_answer() {
        let opened = Instant::now();
        let turn = Turn::new(opened);
        assert_eq!(turn.of_the_client_since(), None);
        for second in [0, 1, 5] {
            let answered = opened + Duration::from_secs(second);
            turn.take();
            assert_eq!(turn.of_the_client_since(), None);
            turn.give(answered);
            assert_eq!(turn.of_the_client_since(), Some(answered));
        }
    }
}
