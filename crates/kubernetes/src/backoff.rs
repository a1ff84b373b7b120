//! How long to wait before something that failed is tried again. This is the only back-off of the workspace.

use std::time::Duration;

/// A wait that doubles with each failure in a row, a quarter more or less by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// The jitter that leaves a wait as it is.
    pub const NO_JITTER: f64 = 0.5;

    /// `first` is the wait after the first failure, `longest` the limit of the doubling; the jitter comes on top of both.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after that many failures in a row (1 or more). `jitter` is from 0 (a quarter shorter) to 1 (a quarter
    /// longer).
    pub fn wait(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let doubled = self.first.saturating_mul(1 << doublings).min(self.longest);
        doubled.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Counts failures in a row, from none.
    pub const fn retries(self) -> Retries {
        Retries { backoff: self, failures: 0 }
    }
}

/// The failures in a row of one operation.
#[derive(Debug, Clone)]
pub struct Retries {
    backoff: Backoff,
    failures: u32,
}

impl Retries {
    /// Counts one more failure and returns the wait after it, with random jitter.
    pub fn next_wait(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.wait(self.failures, fastrand::f64())
    }

    /// The operation succeeded: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(300));

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let waits: Vec<_> = (1..=10).map(|failures| BACKOFF.wait(failures, Backoff::NO_JITTER).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(BACKOFF.wait(u32::MAX, Backoff::NO_JITTER).as_secs(), 300);
    }

    #[test]
    fn jitter_changes_the_wait_by_a_quarter_at_most() {
        for (jitter, milliseconds) in [(-1.0, 1500), (0.0, 1500), (1.0, 2500), (7.0, 2500)] {
            assert_eq!(BACKOFF.wait(1, jitter), Duration::from_millis(milliseconds), "{jitter}");
        }
    }

    #[test]
    fn retries_count_until_they_are_reset() {
        let mut retries = BACKOFF.retries();
        let is_about = |wait: Duration, seconds: f64| (wait.as_secs_f64() / seconds - 1.0).abs() <= 0.25;
        assert!(is_about(retries.next_wait(), 2.0));
        assert!(is_about(retries.next_wait(), 4.0));
        retries.reset();
        assert!(is_about(retries.next_wait(), 2.0));
    }
}
