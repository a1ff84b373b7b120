//! The circuit breaker of one endpoint. While it is open, attempts wait, and one at a time probes the endpoint. Times are
//! those of the clock since boot.

use std::time::Duration;

use snapwatcher_api::outcome::{Outcome, Reason, RetryClass};

use crate::record::retry_wait::retry_wait;

/// Whether attempts may be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum CircuitBreaker {
    #[default]
    Closed,
    /// No attempt before `until`; then one, as a probe.
    Open { until: Duration, failures: u32 },
    /// The probe is under way. After [`NEXT_PROBE`], another one may start beside it.
    Probing { failures: u32, since: Duration },
}

/// A probe without a response for so long holds up no other attempt: its own checkpoint may take minutes.
const NEXT_PROBE: Duration = Duration::from_secs(10);

/// What an attempt says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointSignal {
    /// The endpoint responded, whatever the response says of the pod.
    Reachable,
    /// The request was not accepted; the endpoint may have named a time to come back.
    Unreachable { retry_after: Option<Duration> },
    /// The node has no CRIU that the runtime of this pod can use. Runtimes of other pods may find one.
    NotPrepared,
    /// No request was sent.
    NotSent,
}

impl From<&Outcome> for EndpointSignal {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Failed { reason: Reason::TooSoon, .. } => Self::NotSent,
            Outcome::Failed { reason: Reason::NodeNotPrepared, .. } => Self::NotPrepared,
            // Requests about other pods can still succeed.
            Outcome::Failed { reason: Reason::PodNotOnNode | Reason::PodForbidden | Reason::PodNotFound, .. } => {
                Self::Reachable
            }
            Outcome::Failed { reason, retry_after, .. } if reason.retry_class() == RetryClass::NotTried => {
                Self::Unreachable { retry_after: *retry_after }
            }
            _ => Self::Reachable,
        }
    }
}

impl CircuitBreaker {
    /// Whether an attempt may start now. The caller then calls [`Self::start_probe`].
    pub(super) fn allows(&self, now: Duration) -> bool {
        match self {
            Self::Closed => true,
            Self::Open { until, .. } => *until <= now,
            Self::Probing { since, .. } => since.saturating_add(NEXT_PROBE) <= now,
        }
    }

    /// An attempt that was allowed starts. Returns whether it is a probe.
    pub(super) fn start_probe(&mut self, now: Duration) -> bool {
        let (Self::Open { failures, .. } | Self::Probing { failures, .. }) = *self else { return false };
        *self = Self::Probing { failures, since: now };
        true
    }

    /// Takes over the signal of an attempt that has ended. `jitter` is from 0 to 1.
    pub(super) fn record(
        &mut self,
        was_probe: bool,
        signal: EndpointSignal,
        longest: Duration,
        jitter: f64,
        now: Duration,
    ) {
        let failures = match (signal, &*self) {
            (EndpointSignal::Reachable | EndpointSignal::NotPrepared, _) => {
                *self = Self::Closed;
                return;
            }
            (EndpointSignal::NotSent, Self::Probing { failures, .. }) if was_probe => {
                *self = Self::Open { until: now, failures: *failures };
                return;
            }
            (EndpointSignal::Unreachable { .. }, Self::Closed) => 1,
            // Of two probes, the later one may have ended without a request.
            (EndpointSignal::Unreachable { .. }, Self::Probing { failures, .. } | Self::Open { failures, .. })
                if was_probe =>
            {
                failures + 1
            }
            // The attempt was sent before the breaker opened, so it adds nothing.
            _ => return,
        };
        let retry_after = if let EndpointSignal::Unreachable { retry_after } = signal { retry_after } else { None };
        *self = Self::Open { until: now + retry_wait(failures, longest, retry_after, jitter), failures };
    }

    /// When the next attempt may start, if not now for all.
    pub(super) fn next_probe(&self) -> Option<Duration> {
        match self {
            Self::Closed => None,
            Self::Open { until, .. } => Some(*until),
            Self::Probing { since, .. } => Some(since.saturating_add(NEXT_PROBE)),
        }
    }

    /// When the first probe may start, if the breaker is open.
    pub(super) fn opens_at(&self) -> Option<Duration> {
        if let Self::Open { until, .. } = self { Some(*until) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::outcome::Redacted;
    use snapwatcher_kubernetes::backoff::Backoff;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const LONGEST_WAIT: Duration = Duration::from_secs(300);
    const UNREACHABLE: EndpointSignal = EndpointSignal::Unreachable { retry_after: None };

    fn record(breaker: &mut CircuitBreaker, was_probe: bool, signal: EndpointSignal, now: Duration) {
        breaker.record(was_probe, signal, LONGEST_WAIT, Backoff::NO_JITTER, now);
    }

    #[test]
    fn an_unreachable_endpoint_is_probed_by_one_attempt_at_a_time() {
        let mut breaker = CircuitBreaker::default();
        assert!(breaker.allows(at(0)) && !breaker.start_probe(at(0)));
        record(&mut breaker, false, UNREACHABLE, at(0));
        assert!(!breaker.allows(at(1)) && breaker.allows(at(2)));
        assert!(breaker.start_probe(at(2)));
        assert!(!breaker.allows(at(2)), "the probe is under way");
        record(&mut breaker, true, EndpointSignal::Reachable, at(3));
        assert_eq!(breaker, CircuitBreaker::Closed);
    }

    #[test]
    fn a_probe_without_a_response_holds_up_the_others_for_ten_seconds() {
        let mut breaker = CircuitBreaker::default();
        record(&mut breaker, false, UNREACHABLE, at(0));
        assert!(breaker.start_probe(at(2)) && !breaker.allows(at(11)));
        assert_eq!(breaker.next_probe(), Some(at(12)));
        assert!(breaker.allows(at(12)) && breaker.start_probe(at(12)) && !breaker.allows(at(13)));
        record(&mut breaker, true, EndpointSignal::Reachable, at(13));
        assert_eq!(breaker, CircuitBreaker::Closed);
    }

    #[test]
    fn only_probes_lengthen_the_wait() {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..8 {
            record(&mut breaker, false, UNREACHABLE, at(0));
        }
        assert_eq!(breaker.opens_at(), Some(at(2)), "eight at once count as one");
        let mut waits = Vec::new();
        let mut now = at(2);
        for _ in 0..9 {
            assert!(breaker.start_probe(at(2)));
            record(&mut breaker, true, UNREACHABLE, now);
            let opens = breaker.opens_at().unwrap();
            waits.push(opens.saturating_sub(now).as_secs());
            now = opens;
        }
        assert_eq!(waits, [4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn a_response_about_one_pod_opens_no_breaker() {
        let signal =
            |reason| EndpointSignal::from(&Outcome::Failed { reason, message: Redacted::own("no"), retry_after: None });
        for reason in [Reason::PodNotOnNode, Reason::PodForbidden, Reason::PodNotFound, Reason::Rejected] {
            assert_eq!(signal(reason), EndpointSignal::Reachable, "{reason}");
        }
        for reason in [Reason::Unreachable, Reason::Unauthorized, Reason::EndpointNotFound, Reason::Busy] {
            assert_eq!(signal(reason), UNREACHABLE, "{reason}");
        }
        assert_eq!(signal(Reason::NodeNotPrepared), EndpointSignal::NotPrepared);
        assert_eq!(signal(Reason::TooSoon), EndpointSignal::NotSent, "it says nothing of the endpoint");
    }

    #[test]
    fn a_probe_that_was_not_sent_lets_the_next_attempt_probe() {
        let mut breaker = CircuitBreaker::Open { until: at(0), failures: 3 };
        assert!(breaker.start_probe(at(2)));
        record(&mut breaker, true, EndpointSignal::NotSent, at(5));
        assert_eq!(breaker, CircuitBreaker::Open { until: at(5), failures: 3 });
    }
}
