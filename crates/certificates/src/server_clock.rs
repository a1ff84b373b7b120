//! The time by the API server's clock: it is the one that verifies our certificates, and all replicas share it.
//!
//! Read from the `Date` of its answers (RFC 9110, 6.6.1), to the second, and carried on by a clock that nobody sets: a
//! machine whose own clock is hours off still makes certificates that the API server takes, also while its clock is put
//! right. One answer does not move the time; two that agree do, since a CA that was ended by mistake is not brought back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Request;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::time::sleep;
use tracing::{info, warn};

use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// A difference below this is no one's concern: a `Date` is cut to the second, and answers take their time.
const TOLERATED: SignedDuration = SignedDuration::from_secs(5);
/// From this difference on a person should know.
const TOLD: SignedDuration = SignedDuration::from_mins(5);

/// From an answer with a time that nobody expected to the next one, which has to agree with it.
const APART: Duration = Duration::from_secs(3);

/// The longest sleep at one go.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The API server's clock as last measured. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerClock {
    known: Arc<ArcSwapOption<Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// The API server's time at the moment at which this machine was started.
    boot: Timestamp,
    /// By how much its clock was ahead of ours when it was measured.
    ahead: SignedDuration,
}

impl ServerClock {
    /// Asks for the time, and tells when the clocks part or come together again.
    pub(super) async fn measure(&self, client: &Client) -> Result<(), CallError> {
        let Some(first) = ask(client).await? else { return Ok(()) };
        if let Some(time) = settled(self.known(), clock::now(), first) {
            self.note(time);
            return Ok(());
        }
        let asked = clock::since_boot();
        sleep(APART).await;
        let Some(second) = ask(client).await? else { return Ok(()) };
        let expected = first.saturating_add(clock::since_boot().saturating_sub(asked)).unwrap_or(first);
        if let Some(time) = confirmed(self.known(), clock::now(), expected, second) {
            self.note(time);
        } else {
            warn!(
                "The API server's answers tell different times ({first}, and {second} {} s later): certificates go by \
                 the time known before. See whether its clock is being set, or the clocks of several API servers differ",
                APART.as_secs()
            );
        }
        Ok(())
    }

    /// Takes this for the API server's time now.
    pub(super) fn note(&self, now: Timestamp) {
        let ahead = now.duration_since(clock::now());
        let ahead = if ahead.abs() < TOLERATED { SignedDuration::ZERO } else { ahead };
        let boot = now.saturating_sub(clock::since_boot()).unwrap_or(now);
        let before = self.known.swap(Some(Arc::new(Known { boot, ahead })));
        let was_off = before.is_some_and(|before| before.ahead.abs() >= TOLD);
        if ahead.abs() >= TOLD && !was_off {
            let way = if ahead.is_positive() { "behind" } else { "ahead of" };
            warn!(
                "The clock of this machine is {:#} {way} the API server's: certificates are made by the API server's; \
                 set this machine's clock",
                ahead.abs().round(jiff::Unit::Second).unwrap_or(ahead.abs())
            );
        } else if ahead.is_zero() && was_off {
            info!("The clock of this machine agrees with the API server's again");
        }
    }

    fn known(&self) -> Option<Timestamp> {
        let known = self.known.load_full()?;
        known.boot.saturating_add(clock::since_boot()).ok()
    }

    /// Now, by the API server's clock as last measured; by the own one where it never was.
    pub(super) fn now(&self) -> Timestamp {
        self.known().unwrap_or_else(clock::now)
    }

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

/// The `Date` of an answer.
async fn ask(client: &Client) -> Result<Option<Timestamp>, CallError> {
    let what = "read the API server's time";
    let request = Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError);
    let failed = |source| CallError::Failed { what: what.to_owned(), source: Box::new(source) };
    let answer = call(what, client.send(request.map_err(failed)?)).await?;
    // Who answers with an error may be something else than the API server.
    if !answer.status().is_success() {
        return Ok(None);
    }
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    // Whoever stands between may leave the header out: what is known is the best guess then.
    Ok(date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp()))
}

fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() < TOLERATED
}

/// The time by an answer that says what was known before; at first that is what the own clock says. The own clock is finer
/// than a `Date`, so where it agrees it is taken.
fn settled(known: Option<Timestamp>, own: Timestamp, told: Timestamp) -> Option<Timestamp> {
    let known = known.unwrap_or(own);
    let is_as_known = is_near(told, known);
    is_as_known.then(|| if is_near(told, own) { own } else { known })
}

/// The time by a second answer, if what was known or the first one says the same. `expected`: the first one's time, had it
/// gone on since.
fn confirmed(known: Option<Timestamp>, own: Timestamp, expected: Timestamp, told: Timestamp) -> Option<Timestamp> {
    let news = || is_near(told, expected).then(|| if is_near(told, own) { own } else { told });
    settled(known, own, told).or_else(news)
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

    /// A clock that is two hours off.
    const OFF: i64 = 7200;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn one_answer_is_believed_that_says_what_was_known() {
        for (case, known, own, told, expected) in [
            ("the own clock is right", None, 0, 3, Some(0)),
            ("the own clock is behind, and nothing is known", None, 0, OFF, None),
            ("as known", Some(0), 0, -3, Some(0)),
            ("as known, the own clock is off", Some(OFF), 0, OFF + 1, Some(OFF)),
            ("as known, the own clock was put right", Some(OFF), OFF + 1, OFF + 2, Some(OFF + 1)),
            ("far ahead, once", Some(0), 0, OFF, None),
            ("the API server's clock was set", Some(OFF), 0, 0, None),
        ] {
            assert_eq!(settled(known.map(at), at(own), at(told)), expected.map(at), "{case}");
        }
    }

    #[test]
    fn two_answers_are_believed_that_agree() {
        for (case, known, own, first, second, expected) in [
            ("the own clock is behind", None, 0, OFF, OFF + 1, Some(OFF + 1)),
            ("the API server's clock was set", Some(OFF), 0, 0, 1, Some(0)),
            ("one was wrong", Some(0), 0, OFF, 0, Some(0)),
            ("both are", Some(0), 0, OFF, -OFF, None),
            ("the first was, with the own clock behind", None, 0, 2 * OFF, OFF, None),
        ] {
            let time = confirmed(known.map(at), at(own), at(first), at(second));
            assert_eq!(time, expected.map(at), "{case}");
        }
    }

    #[test]
    fn what_was_measured_goes_on_whatever_the_own_clock_says() {
        let server = ServerClock::default();
        assert!(is_near(server.now(), clock::now()));
        for ahead in [OFF, -OFF, 0] {
            server.note(clock::now().saturating_add(SignedDuration::from_secs(ahead)).unwrap());
            let expected = clock::now().saturating_add(SignedDuration::from_secs(ahead)).unwrap();
            assert!(is_near(server.now(), expected), "{ahead}");
        }
    }
}
