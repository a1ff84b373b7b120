//! A circuit breaker for one address: being unreachable is told by one record after the other, not by all at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The wait after the back-end could not be asked; it doubles up to [`LONGEST_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_secs(2);
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Whether attempts may be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Breaker {
    #[default]
    Closed,
    /// None before `until`; then one, to see.
    Open { until: Timestamp, failures: u32 },
    /// That one is under way.
    Probing { failures: u32 },
}

/// What an attempt showed of the back-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It was reached: whatever it answered.
    Reached,
    /// It could not be asked, and said when to come back if it did.
    Away { retry_after: Option<Duration> },
    /// Nothing: it was not asked after all.
    Nothing,
}

impl Breaker {
    /// Whether an attempt may be made now. The caller says so with [`Self::begin`].
    pub fn allows(&self, now: Timestamp) -> bool {
        match self {
            Self::Closed => true,
            Self::Open { until, .. } => *until <= now,
            Self::Probing { .. } => false,
        }
    }

    /// An attempt begins that was allowed; whether it is the probe.
    pub fn begin(&mut self) -> bool {
        let Self::Open { failures, .. } = *self else { return false };
        *self = Self::Probing { failures };
        true
    }

    /// An attempt ended. `jitter` is from 0 to 1.
    pub fn end(&mut self, was_probe: bool, shown: Shown, longest: Duration, jitter: f64, now: Timestamp) {
        let failures = match (shown, &*self) {
            (Shown::Reached, _) => {
                *self = Self::Closed;
                return;
            }
            (Shown::Nothing, Self::Probing { failures }) if was_probe => {
                *self = Self::Open { until: now, failures: *failures };
                return;
            }
            (Shown::Away { .. }, Self::Closed) => 1,
            (Shown::Away { .. }, Self::Probing { failures }) if was_probe => failures + 1,
            // One that was under way when the breaker opened tells nothing new.
            _ => return,
        };
        let retry_after = if let Shown::Away { retry_after } = shown { retry_after } else { None };
        *self = Self::Open { until: now + wait(failures, longest, retry_after, jitter), failures };
    }

    /// When the next attempt may be made, if that is in the future.
    pub fn opens_at(&self) -> Option<Timestamp> {
        if let Self::Open { until, .. } = self { Some(*until) } else { None }
    }
}

/// The wait after that many failures in a row: doubling, a quarter more or less, never shorter than the back-end asked.
pub fn wait(failures: u32, longest: Duration, retry_after: Option<Duration>, jitter: f64) -> SignedDuration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let wait = doubled.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0).max(retry_after.unwrap_or_default());
    SignedDuration::try_from(wait).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Shown = Shown::Away { retry_after: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn end(breaker: &mut Breaker, was_probe: bool, shown: Shown, now: Timestamp) {
        breaker.end(was_probe, shown, LONGEST_WAIT, 0.5, now);
    }

    #[test]
    fn a_back_end_that_is_away_is_probed_by_one_attempt_at_a_time() {
        let mut breaker = Breaker::default();
        assert!(breaker.allows(at(0)) && !breaker.begin());
        end(&mut breaker, false, AWAY, at(0));
        assert!(!breaker.allows(at(1)) && breaker.allows(at(2)));
        assert!(breaker.begin());
        assert!(!breaker.allows(at(2)), "the probe is under way");
        end(&mut breaker, true, Shown::Reached, at(3));
        assert_eq!(breaker, Breaker::Closed);
    }

    #[test]
    fn only_probes_lengthen_the_wait() {
        let mut breaker = Breaker::default();
        for _ in 0..8 {
            end(&mut breaker, false, AWAY, at(0));
        }
        assert_eq!(breaker.opens_at(), Some(at(2)), "eight at once count as one");
        let mut waits = Vec::new();
        let mut now = at(2);
        for _ in 0..9 {
            assert!(breaker.begin());
            end(&mut breaker, true, AWAY, now);
            let opens = breaker.opens_at().unwrap();
            waits.push(opens.duration_since(now).as_secs());
            now = opens;
        }
        assert_eq!(waits, [4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn a_probe_that_asked_nobody_passes_its_turn_on() {
        let mut breaker = Breaker::Open { until: at(0), failures: 3 };
        assert!(breaker.begin());
        end(&mut breaker, true, Shown::Nothing, at(5));
        assert_eq!(breaker, Breaker::Open { until: at(5), failures: 3 });
    }

    #[test]
    fn the_back_end_s_own_wish_is_honoured() {
        let wished = Some(Duration::from_secs(60));
        assert_eq!(wait(1, LONGEST_WAIT, wished, 0.0), SignedDuration::from_secs(60));
        assert_eq!(wait(1, LONGEST_WAIT, None, 0.0), SignedDuration::from_millis(1500));
        assert_eq!(wait(1, LONGEST_WAIT, None, 1.0), SignedDuration::from_millis(2500));
    }
}
