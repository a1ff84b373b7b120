//! The time by the API server's clock: it is the one that verifies our certificates, and all replicas share it.
//!
//! Read from the `Date` of its answers (RFC 9110, 6.6.1), to the second. A machine whose own clock is hours off still
//! makes certificates that the API server takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::Request;
use axum::http::header::DATE;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock;
use crate::cluster::{CallError, call};

/// A difference below this is no one's concern: a `Date` is cut to the second, and answers take their time.
const TOLERATED: SignedDuration = SignedDuration::from_secs(5);
/// From this difference on a person should know.
const TOLD: SignedDuration = SignedDuration::from_mins(5);

/// The longest sleep at one go.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// How far the own clock is off. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerClock {
    /// Seconds by which the API server's clock is ahead of ours.
    ahead: Arc<AtomicI64>,
}

impl ServerClock {
    /// Asks for the time, and tells when the clocks part or come together again.
    pub(super) async fn measure(&self, client: &Client) -> Result<(), CallError> {
        let what = "read the API server's time";
        let request = Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError);
        let failed = |source| CallError::Failed { what: what.to_owned(), source: Box::new(source) };
        let answer = call(what, client.send(request.map_err(failed)?)).await?;
        // Who answers with an error may be something else than the API server.
        if !answer.status().is_success() {
            return Ok(());
        }
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        // Whoever stands between may leave the header out: the own clock is the best guess then.
        let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return Ok(()) };
        self.note(date.timestamp().duration_since(clock::now()));
        Ok(())
    }

    fn note(&self, ahead: SignedDuration) {
        let ahead = if ahead.abs() < TOLERATED { SignedDuration::ZERO } else { ahead };
        let before = SignedDuration::from_secs(self.ahead.swap(ahead.as_secs(), Ordering::Relaxed));
        let was_off = before.abs() >= TOLD;
        if ahead.abs() >= TOLD && !was_off {
            let way = if ahead.is_positive() { "behind" } else { "ahead of" };
            warn!(
                "The clock of this machine is {:#} {way} the API server's: certificates are made by the API server's; \
                 set this machine's clock",
                ahead.abs()
            );
        } else if ahead.is_zero() && was_off {
            info!("The clock of this machine agrees with the API server's again");
        }
    }

    /// Now, by the API server's clock as last measured.
    pub(super) fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed));
        clock::now().saturating_add(ahead).unwrap_or_else(|_| clock::now())
    }
}

impl ServerClock {
    /// Sleeps until then. Timers stand still while a machine is suspended, certificates don't: so it looks now and then.
    pub(super) async fn sleep_till(&self, due: Timestamp) {
        loop {
            let left = due.duration_since(self.now());
            if left <= SignedDuration::ZERO {
                return;
            }
            sleep(Duration::try_from(left).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)).await;
        }
    }
}

impl TimeProvider for ServerClock {
    fn current_time(&self) -> Option<UnixTime> {
        let second = u64::try_from(self.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(second)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_corrected_and_a_small_difference_left_alone() {
        let server = ServerClock::default();
        for (ahead, expected) in [(7200, 7200), (-7200, -7200), (3, 0), (0, 0)] {
            server.note(SignedDuration::from_secs(ahead));
            let off = server.now().duration_since(clock::now()).as_secs_f64();
            assert!((off - f64::from(expected)).abs() < 2.0, "{ahead}: {off}");
        }
    }
}
