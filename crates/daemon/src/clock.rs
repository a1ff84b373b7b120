//! The one place that reads the wall clock, so that every decision can take `now` as a parameter.

use std::time::Duration;

use jiff::Timestamp;

/// The current time by the wall clock, to the microsecond, as Kubernetes' `MicroTime` has it.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Time since the machine was started, by a clock that runs on while it is suspended and is never set: the one that tells
/// whether this process was paused. See `CLOCK_BOOTTIME` in clock_gettime(2).
#[must_use]
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}
