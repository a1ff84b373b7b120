//! How long to wait before an attempt is repeated.

use std::time::Duration;

use snapwatcher_kubernetes::backoff::Backoff;

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// The wait after that many failures in a row: doubling up to `longest`, and never shorter than `retry_after`.
pub(crate) fn retry_wait(failures: u32, longest: Duration, retry_after: Option<Duration>, jitter: f64) -> Duration {
    Backoff::new(FIRST_WAIT, longest).wait(failures, jitter).max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_WAIT: Duration = Duration::from_secs(300);

    #[test]
    fn the_wait_is_never_shorter_than_retry_after() {
        let retry_after = Some(Duration::from_secs(60));
        assert_eq!(retry_wait(1, LONGEST_WAIT, retry_after, 0.0), Duration::from_secs(60));
        assert_eq!(retry_wait(1, LONGEST_WAIT, None, 0.0), Duration::from_millis(1500));
        assert_eq!(retry_wait(1, LONGEST_WAIT, None, 1.0), Duration::from_millis(2500));
    }
}
