//! A pause of all claims and attempts while the API server cannot be reached.

use std::time::Duration;

use snapwatcher_kubernetes::backoff::Backoff;

/// If no call was made for so long after a pause, the end of the outage is not known, and the next error begins another one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// The API server could not be reached, so no claim and no attempt starts before `until`, by the clock since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ApiOutage {
    /// Pauses in a row, this one included.
    pub(super) pauses: u32,
    pub(super) until: Duration,
}

impl ApiOutage {
    /// The pause after an error, at `now` of the clock since boot. `None`: one is under way, and an attempt that was sent
    /// before it does not prolong it.
    /// `jitter` is from 0 to 1.
    pub(super) fn after(previous: Option<Self>, jitter: f64, now: Duration) -> Option<Self> {
        let pauses = match previous {
            Some(outage) if outage.until > now => return None,
            Some(outage) if now.saturating_sub(outage.until) < FORGOTTEN_AFTER => outage.pauses + 1,
            _ => 1,
        };
        Some(Self { pauses, until: now + PAUSES.wait(pauses, jitter) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_errors_during_a_pause_do_not_count() {
        let mut outage = None;
        let mut waits = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..6 {
            outage = ApiOutage::after(outage, Backoff::NO_JITTER, now);
            let until = outage.unwrap().until;
            assert_eq!(ApiOutage::after(outage, Backoff::NO_JITTER, now), None);
            waits.push(until.saturating_sub(now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
        let later = ApiOutage::after(outage, Backoff::NO_JITTER, now + FORGOTTEN_AFTER);
        assert_eq!(later.map(|outage| outage.pauses), Some(1), "another outage");
    }
}
