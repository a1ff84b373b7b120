//! The time of a history: microseconds since its beginning, which all processes share.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The true time at which each history begins, in seconds since 1970.
const BEGINNING: i64 = 1_800_000_000;

/// What a clock shows that is wrong by `skew`.
pub(super) fn wall(now: Duration, skew: SignedDuration) -> Timestamp {
    let since = SignedDuration::try_from(now).unwrap_or(SignedDuration::MAX).saturating_add(skew);
    let beginning = Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH);
    beginning.saturating_add(since).unwrap_or(Timestamp::MAX)
}

/// The true time.
pub(super) fn true_time(now: Duration) -> Timestamp {
    wall(now, SignedDuration::ZERO)
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
