//! The one place that reads the wall clock, so that every decision can take `now` as a parameter.

use jiff::Timestamp;

/// The current time by the wall clock, to the microsecond, as Kubernetes' `MicroTime` has it.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
