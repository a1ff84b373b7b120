//! The API server's clock: the time that all replicas share, and by which the API server verifies certificates.
//!
//! It is read from the `Date` header of a response (RFC 9110, 6.6.1), to the second, and continued by the time since the
//! machine was started. So a change of this machine's clock does not move it. A new time needs two responses that agree,
//! since a decision by a wrong time, such as the end of a CA, cannot be taken back (docs/decisions/0008).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Request;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::cluster::{CallError, call};
use snapwatcher_daemon::clock;

/// A smaller difference is ignored: a `Date` is cut to the second, and a response takes time.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// From this difference on, the clock of the machine should be set.
const LOGGED_DIFFERENCE: SignedDuration = SignedDuration::from_mins(5);

/// From a response with an unexpected time to the second response, which has to agree with it.
const CONFIRMATION_DELAY: Duration = Duration::from_secs(3);

/// The longest single sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The API server's clock as last measured. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServerClock {
    measured: Arc<ArcSwapOption<Measured>>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    /// The API server's time when this machine was started.
    boot: Timestamp,
    /// The API server's time minus this machine's time.
    offset: SignedDuration,
}

impl ServerClock {
    /// Asks the API server for its time. Logs when the difference to this machine's clock becomes large or is gone.
    pub async fn measure(&self, client: &Client) -> Result<(), CallError> {
        let Some(first) = read_date(client).await? else { return Ok(()) };
        if let Some(time) = as_expected(self.measured(), clock::now(), first) {
            self.set(time);
            return Ok(());
        }
        let read = clock::since_boot();
        sleep(CONFIRMATION_DELAY).await;
        let Some(second) = read_date(client).await? else { return Ok(()) };
        let expected = first.saturating_add(clock::since_boot().saturating_sub(read)).unwrap_or(first);
        if let Some(time) = confirmed(self.measured(), clock::now(), expected, second) {
            self.set(time);
        } else {
            warn!(
                "Ignored the API server's time: two responses differ ({first}, and {second} {} s later). The time measured \
                 before is used. Check whether the clocks of several API servers differ",
                CONFIRMATION_DELAY.as_secs()
            );
        }
        Ok(())
    }

    /// Sets the API server's current time.
    pub fn set(&self, now: Timestamp) {
        let offset = now.duration_since(clock::now());
        let offset = if offset.abs() < TOLERANCE { SignedDuration::ZERO } else { offset };
        let boot = now.saturating_sub(clock::since_boot()).unwrap_or(now);
        let before = self.measured.swap(Some(Arc::new(Measured { boot, offset })));
        let was_off = before.is_some_and(|before| before.offset.abs() >= LOGGED_DIFFERENCE);
        if offset.abs() >= LOGGED_DIFFERENCE && !was_off {
            let direction = if offset.is_positive() { "behind" } else { "ahead of" };
            warn!(
                "The clock of this machine is {:#} {direction} the API server's. SnapWatcher makes certificates by the API \
                 server's clock. Set the clock of this machine",
                offset.abs().round(jiff::Unit::Second).unwrap_or(offset.abs())
            );
        } else if offset.is_zero() && was_off {
            info!("The clock of this machine agrees with the API server's again");
        }
    }

    fn measured(&self) -> Option<Timestamp> {
        let measured = self.measured.load_full()?;
        measured.boot.saturating_add(clock::since_boot()).ok()
    }

    /// The API server's current time. Before the first measurement it is this machine's time.
    pub fn now(&self) -> Timestamp {
        self.measured().unwrap_or_else(clock::now)
    }

    /// Sleeps until this time. Timers stop while the machine is suspended, but certificates expire; so this reads the clock
    /// every few seconds.
    pub async fn sleep_until(&self, due: Timestamp) {
        loop {
            let left = due.duration_since(self.now());
            if left <= SignedDuration::ZERO {
                return;
            }
            sleep(Duration::try_from(left).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)).await;
        }
    }
}

/// The `Date` of a response, if it has one.
async fn read_date(client: &Client) -> Result<Option<Timestamp>, CallError> {
    let what = "read the API server's time";
    let request = Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError);
    let failed = |source| CallError::Failed { what: what.to_owned(), source: Box::new(source) };
    let response = call(what, client.send(request.map_err(failed)?)).await?;
    // An error may come from a proxy in front of the API server.
    if !response.status().is_success() {
        return Ok(None);
    }
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    // A proxy may remove the header. The time measured before is the best guess then.
    Ok(date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp()))
}

fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() < TOLERANCE
}

/// The time by a response that agrees with the time measured before, or at first with this machine's clock. This machine's
/// clock is finer than a `Date`, so it is taken if it agrees too.
fn as_expected(measured: Option<Timestamp>, own: Timestamp, date: Timestamp) -> Option<Timestamp> {
    let measured = measured.unwrap_or(own);
    is_near(date, measured).then(|| if is_near(date, own) { own } else { measured })
}

/// The time by a second response, if the time measured before or the first response agrees. `expected` is the time of the
/// first response plus the time since.
fn confirmed(measured: Option<Timestamp>, own: Timestamp, expected: Timestamp, date: Timestamp) -> Option<Timestamp> {
    let new_time = || is_near(date, expected).then(|| if is_near(date, own) { own } else { date });
    as_expected(measured, own, date).or_else(new_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is two hours off.
    const OFF: i64 = 7200;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn one_response_is_enough_if_it_agrees_with_the_time_measured_before() {
        for (case, measured, own, date, expected) in [
            ("this clock is right", None, 0, 3, Some(0)),
            ("this clock is behind, and nothing was measured", None, 0, OFF, None),
            ("as measured", Some(0), 0, -3, Some(0)),
            ("as measured, this clock is off", Some(OFF), 0, OFF + 1, Some(OFF)),
            ("as measured, this clock was set right", Some(OFF), OFF + 1, OFF + 2, Some(OFF + 1)),
            ("far ahead, once", Some(0), 0, OFF, None),
            ("the API server's clock was set", Some(OFF), 0, 0, None),
        ] {
            assert_eq!(as_expected(measured.map(at), at(own), at(date)), expected.map(at), "{case}");
        }
    }

    #[test]
    fn a_new_time_needs_two_responses_that_agree() {
        for (case, measured, own, first, second, expected) in [
            ("this clock is behind", None, 0, OFF, OFF + 1, Some(OFF + 1)),
            ("the API server's clock was set", Some(OFF), 0, 0, 1, Some(0)),
            ("one was wrong", Some(0), 0, OFF, 0, Some(0)),
            ("both are wrong", Some(0), 0, OFF, -OFF, None),
            ("the first was wrong, and this clock is behind", None, 0, 2 * OFF, OFF, None),
        ] {
            let time = confirmed(measured.map(at), at(own), at(first), at(second));
            assert_eq!(time, expected.map(at), "{case}");
        }
    }

    #[test]
    fn the_measured_time_does_not_follow_the_clock_of_this_machine() {
        let server = ServerClock::default();
        assert!(is_near(server.now(), clock::now()));
        for ahead in [OFF, -OFF, 0] {
            server.set(clock::now().saturating_add(SignedDuration::from_secs(ahead)).unwrap());
            let expected = clock::now().saturating_add(SignedDuration::from_secs(ahead)).unwrap();
            assert!(is_near(server.now(), expected), "{ahead}");
        }
    }
}
