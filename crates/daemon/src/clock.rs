//! The clocks of the machine. Only this module reads the wall clock, so that each decision takes `now` as a parameter.

use std::time::Duration;

use jiff::Timestamp;

/// The wall clock, with the precision of Kubernetes' `MicroTime`: microseconds.
#[expect(clippy::disallowed_methods, reason = "all others call this function")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// The time since the machine started. This clock is never set, and counts while the machine sleeps, so it shows whether
/// this process was paused. See `CLOCK_BOOTTIME` in clock_gettime(2).
#[must_use]
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}
