//! How often, and how long, a failing operation is repeated.

use std::time::Duration;

use snapwatcher_kubernetes::backoff::Backoff;
use tokio::time::Instant;

use crate::settings::RegistryTimes;

/// The failures of one operation since its last progress.
#[derive(Debug)]
pub(crate) struct Patience {
    times: RegistryTimes,
    backoff: Backoff,
    failures: u32,
    since: Instant,
}

/// What follows a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Repeat it after this time.
    Wait(Duration),
    /// It failed too often, or for too long.
    Stop { failures: u32, time: Duration },
}

impl Patience {
    pub(crate) fn new(times: RegistryTimes, now: Instant) -> Self {
        Self { times, backoff: Backoff::new(times.first_wait, times.longest_wait), failures: 0, since: now }
    }

    /// Something was achieved: the next failure is the first.
    pub(crate) fn progress(&mut self, now: Instant) {
        self.failures = 0;
        self.since = now;
    }

    /// Counts a failure. `retry_after` is the wait that the server requests, `jitter` is from 0 to 1.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>, now: Instant, jitter: f64) -> Next {
        self.failures = self.failures.saturating_add(1);
        let requested = retry_after.unwrap_or_default().min(self.times.longest_retry_after);
        let wait = self.backoff.wait(self.failures, jitter).max(requested);
        let time = now.saturating_duration_since(self.since);
        if self.failures >= self.times.failures || time + wait > self.times.patience {
            Next::Stop { failures: self.failures, time }
        } else {
            Next::Wait(wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> RegistryTimes {
        let second = Duration::from_secs(1);
        let (longest_wait, longest_retry_after) = (8 * second, 20 * second);
        RegistryTimes {
            first_wait: second,
            longest_wait,
            longest_retry_after,
            failures: 6,
            patience: 60 * second,
            ..RegistryTimes::default()
        }
    }

    fn waits(patience: &mut Patience, retry_after: Option<u64>, count: usize) -> Vec<Next> {
        let now = patience.since;
        (0..count).map(|_| patience.failed(retry_after.map(Duration::from_secs), now, Backoff::NO_JITTER)).collect()
    }

    fn wait(seconds: u64) -> Next {
        Next::Wait(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_until_the_number_of_failures_is_reached() {
        let mut patience = Patience::new(times(), Instant::now());
        let stop = Next::Stop { failures: 6, time: Duration::ZERO };
        assert_eq!(waits(&mut patience, None, 6), [wait(1), wait(2), wait(4), wait(8), wait(8), stop]);
        patience.progress(Instant::now());
        assert_eq!(waits(&mut patience, None, 1), [wait(1)]);
    }

    #[test]
    fn the_server_can_lengthen_a_wait_and_not_shorten_it() {
        let mut patience = Patience::new(times(), Instant::now());
        assert_eq!(waits(&mut patience, Some(0), 2), [wait(1), wait(2)]);
        assert_eq!(waits(&mut patience, Some(15), 1), [wait(15)]);
        assert_eq!(waits(&mut patience, Some(3600), 1), [wait(20)]);
    }

    #[test]
    fn the_time_without_progress_is_limited() {
        let started = Instant::now();
        let mut patience = Patience::new(times(), started);
        let late = started + Duration::from_secs(59);
        assert_eq!(patience.failed(None, late, Backoff::NO_JITTER), wait(1));
        let stop = Next::Stop { failures: 2, time: Duration::from_secs(59) };
        assert_eq!(patience.failed(None, late, Backoff::NO_JITTER), stop);
    }
}
