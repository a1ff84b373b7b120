//! How long a client has sent no request.
//!
//! hyper has a timeout for this too, but creates, sets and removes a timer for each request. Here a request costs two
//! writes to memory, and a connection has one timer, which fires once in a while.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::limits::Limits;

/// Instead of a time: the client has not sent a request yet.
const BEFORE_FIRST_REQUEST: u64 = u64::MAX;
/// Instead of a time: the server has not sent its response yet.
const IN_REQUEST: u64 = u64::MAX - 1;

/// The state of one connection. Its service writes the state, its task reads it.
#[derive(Debug)]
pub(crate) struct IdleClock {
    opened: Instant,
    /// When the last response was sent, in microseconds since `opened`; or one of the constants above.
    state: AtomicU64,
}

impl IdleClock {
    /// The clock of a connection before its first request.
    pub(crate) fn new(opened: Instant) -> Self {
        Self { opened, state: AtomicU64::new(BEFORE_FIRST_REQUEST) }
    }

    pub(crate) fn request_started(&self) {
        // One task polls both the reader and the writer, so no stronger ordering is needed.
        self.state.store(IN_REQUEST, Ordering::Relaxed);
    }

    pub(crate) fn response_sent(&self, now: Instant) {
        let since = u64::try_from(now.duration_since(self.opened).as_micros()).unwrap_or(IN_REQUEST - 1);
        self.state.store(since, Ordering::Relaxed);
    }

    /// Completes when the client has sent no request for too long.
    ///
    /// A request does not reset the timer. When the timer fires, it is set to the deadline that follows from the last response.
    pub(crate) async fn expired(&self, limits: &Limits) {
        let mut timer = pin!(sleep_until(self.opened + limits.first_request.min(limits.idle)));
        loop {
            timer.as_mut().await;
            let now = Instant::now();
            let deadline = self.deadline(limits).unwrap_or(now + limits.idle);
            if deadline <= now {
                return;
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// When the client has to have sent its next request; none while the server owes it a response.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match self.state.load(Ordering::Relaxed) {
            BEFORE_FIRST_REQUEST => Some(self.opened + limits.first_request),
            IN_REQUEST => None,
            since => Some(self.opened + Duration::from_micros(since) + limits.idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_has_the_idle_time_after_each_response() {
        let limits = Limits::default();
        let opened = Instant::now();
        let clock = IdleClock::new(opened);
        assert_eq!(clock.deadline(&limits), Some(opened + limits.first_request));
        for second in [0, 1, 5] {
            let responded = opened + Duration::from_secs(second);
            clock.request_started();
            assert_eq!(clock.deadline(&limits), None);
            clock.response_sent(responded);
            assert_eq!(clock.deadline(&limits), Some(responded + limits.idle));
        }
    }
}
