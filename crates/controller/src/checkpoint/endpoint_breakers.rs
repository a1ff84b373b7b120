//! One circuit breaker for each endpoint, so that an unreachable kubelet delays no other node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::circuit_breaker::{CircuitBreaker, EndpointSignal};

/// An open breaker is dropped when no attempt needed its endpoint for this long after a probe was due. A day, since the
/// order of a revision's pods depends on what is known about their nodes.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// An open breaker counts in the metric and in the health check until no attempt needed its endpoint for twice the
/// longest wait and this: a waiting Checkpoint would have probed it by then, so the node may be gone.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// The breakers of all endpoints, by address. Cloning gives another handle to the same breakers.
#[derive(Clone, Default)]
pub struct EndpointBreakers(Arc<Mutex<HashMap<String, CircuitBreaker>>>);

/// What is known about an endpoint, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointHealth {
    /// No failure is known.
    Healthy,
    /// The status of a Checkpoint says that the endpoint was unreachable, and this process knows no more.
    ReportedUnreachable,
    /// The last attempt did not reach it, and a probe is due since then.
    ProbeDue(Timestamp),
    /// The last attempt did not reach it, and the next one waits until then.
    Unreachable(Timestamp),
    /// A probe is under way.
    Probing,
}

/// The permission to send one attempt, to a certain endpoint if it is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Permit {
    endpoint: Option<String>,
    is_probe: bool,
}

impl EndpointBreakers {
    /// Whether an attempt at that endpoint (`None`: not known yet) may start now.
    pub fn allows(&self, endpoint: Option<&str>, now: Timestamp) -> bool {
        endpoint.is_none_or(|endpoint| self.lock().get(endpoint).is_none_or(|breaker| breaker.allows(now)))
    }

    /// Issues the permit of an attempt that is allowed.
    pub fn issue(&self, endpoint: Option<&str>) -> Permit {
        let start_probe = |endpoint| self.lock().get_mut(endpoint).is_some_and(CircuitBreaker::start_probe);
        Permit { endpoint: endpoint.map(str::to_owned), is_probe: endpoint.is_some_and(start_probe) }
    }

    /// Moves a permit to the endpoint that the attempt needs. False: that endpoint allows no attempt now.
    pub fn move_permit(&self, permit: &mut Permit, endpoint: Option<&str>, now: Timestamp) -> bool {
        if permit.endpoint.as_deref() == endpoint {
            return true;
        }
        self.record(&std::mem::take(permit), EndpointSignal::NotSent, Duration::ZERO, 0.0, now);
        let is_allowed = self.allows(endpoint, now);
        if is_allowed {
            *permit = self.issue(endpoint);
        }
        is_allowed
    }

    /// Takes over the signal of an attempt that has ended. `jitter` is from 0 to 1.
    pub fn record(&self, permit: &Permit, signal: EndpointSignal, longest: Duration, jitter: f64, now: Timestamp) {
        let Some(endpoint) = &permit.endpoint else { return };
        let mut breakers = self.lock();
        let breaker = breakers.entry(endpoint.clone()).or_default();
        breaker.record(permit.is_probe, signal, longest, jitter, now);
        breakers.retain(|_, breaker| *breaker != CircuitBreaker::Closed && !is_forgotten(breaker, now));
    }

    /// The health of an endpoint, as the owner of this permit sees it.
    pub fn health(&self, endpoint: Option<&str>, permit: &Permit, now: Timestamp) -> EndpointHealth {
        let Some(endpoint) = endpoint else { return EndpointHealth::Healthy };
        let is_own_probe = permit.is_probe && permit.endpoint.as_deref() == Some(endpoint);
        match self.lock().get(endpoint) {
            None | Some(CircuitBreaker::Closed) => EndpointHealth::Healthy,
            Some(CircuitBreaker::Open { until, .. }) if *until <= now => EndpointHealth::ProbeDue(*until),
            Some(CircuitBreaker::Open { until, .. }) => EndpointHealth::Unreachable(*until),
            Some(CircuitBreaker::Probing { .. }) if is_own_probe => EndpointHealth::ProbeDue(now),
            Some(CircuitBreaker::Probing { .. }) => EndpointHealth::Probing,
        }
    }

    /// How many breakers are open and not stale. `longest` is the longest wait.
    pub fn open_count(&self, longest: Duration, now: Timestamp) -> usize {
        self.lock().values().filter(|breaker| !is_stale(breaker, longest, now)).count()
    }

    /// When the next open breaker becomes stale, if no attempt needs its endpoint.
    pub fn next_expiry(&self, longest: Duration, now: Timestamp) -> Option<Timestamp> {
        self.lock().values().filter_map(|breaker| stale_at(breaker, longest)).filter(|at| *at > now).min()
    }

    /// Whether no breaker is open and not stale, apart from the one of this permit.
    pub fn all_closed_except(&self, permit: &Permit, longest: Duration, now: Timestamp) -> bool {
        let breakers = self.lock();
        let mut others = breakers.iter().filter(|(endpoint, _)| permit.endpoint.as_ref() != Some(endpoint));
        others.all(|(_, breaker)| is_stale(breaker, longest, now))
    }

    /// When the next endpoint may be probed, after `now`.
    pub fn next_probe(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().values().filter_map(CircuitBreaker::opens_at).filter(|at| *at > now).min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CircuitBreaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_forgotten(breaker: &CircuitBreaker, now: Timestamp) -> bool {
    breaker.opens_at().is_some_and(|at| now.duration_since(at) > FORGET_AFTER)
}

fn is_stale(breaker: &CircuitBreaker, longest: Duration, now: Timestamp) -> bool {
    stale_at(breaker, longest).is_some_and(|at| at <= now)
}

/// When an open breaker becomes stale. `None`: its probe is under way.
fn stale_at(breaker: &CircuitBreaker, longest: Duration) -> Option<Timestamp> {
    let unused = SignedDuration::try_from(longest.saturating_mul(2)).unwrap_or(SignedDuration::MAX);
    let unused = unused.saturating_add(STALE_AFTER);
    breaker.opens_at().map(|at| at.saturating_add(unused).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::at;

    const UNREACHABLE: EndpointSignal = EndpointSignal::Unreachable { retry_after: None };
    const LONGEST: Duration = Duration::from_secs(300);

    fn record(breakers: &EndpointBreakers, permit: &Permit, signal: EndpointSignal, now: Timestamp) {
        breakers.record(permit, signal, LONGEST, 0.5, now);
    }

    #[test]
    fn an_unreachable_endpoint_delays_no_other() {
        let breakers = EndpointBreakers::default();
        record(&breakers, &breakers.issue(Some("n1")), UNREACHABLE, at(0));
        assert!(!breakers.allows(Some("n1"), at(1)) && breakers.allows(Some("n2"), at(1)));
        assert!(breakers.allows(None, at(1)), "the endpoint is not known yet");
        assert_eq!((breakers.open_count(LONGEST, at(1)), breakers.next_probe(at(1))), (1, Some(at(2))));
        let (probe, other) = (breakers.issue(Some("n1")), breakers.issue(Some("n2")));
        let all_closed_except = |permit| breakers.all_closed_except(permit, LONGEST, at(2));
        assert!(all_closed_except(&probe) && !all_closed_except(&other));
        assert!(!breakers.allows(Some("n1"), at(9)), "the probe is under way");
        record(&breakers, &probe, EndpointSignal::Reachable, at(9));
        assert!(breakers.allows(Some("n1"), at(9)));
        assert_eq!((breakers.open_count(LONGEST, at(9)), breakers.next_probe(at(9))), (0, None));
    }

    #[test]
    fn an_attempt_counts_for_the_endpoint_to_which_its_permit_was_moved() {
        let breakers = EndpointBreakers::default();
        let mut permit = breakers.issue(None);
        assert!(breakers.move_permit(&mut permit, Some("n1"), at(0)));
        record(&breakers, &permit, UNREACHABLE, at(0));
        let mut permit = breakers.issue(None);
        assert!(!breakers.move_permit(&mut permit, Some("n1"), at(1)), "n1 is unreachable");
        assert_eq!(permit, Permit::default());
        record(&breakers, &permit, EndpointSignal::NotSent, at(1));
        let mut probe = breakers.issue(Some("n1"));
        assert!(breakers.move_permit(&mut probe, Some("n2"), at(2)));
        assert!(breakers.allows(Some("n1"), at(2)), "the probe was moved, so another attempt may probe n1");
        record(&breakers, &probe, EndpointSignal::Reachable, at(2));
        assert_eq!(breakers.open_count(LONGEST, at(2)), 1);
    }

    #[test]
    fn a_breaker_that_no_attempt_needs_becomes_stale() {
        let breakers = EndpointBreakers::default();
        record(&breakers, &breakers.issue(Some("gone")), UNREACHABLE, at(0));
        let open = |now| (breakers.open_count(LONGEST, now), breakers.next_expiry(LONGEST, now));
        assert_eq!(open(at(611)), (1, Some(at(612))));
        assert_eq!(open(at(612)), (0, None));
        assert!(breakers.all_closed_except(&Permit::default(), LONGEST, at(612)));
        let probe = breakers.issue(Some("gone"));
        assert_eq!(open(at(613)), (1, None), "a probe is under way");
        record(&breakers, &probe, UNREACHABLE, at(613));
        assert_eq!(open(at(613)), (1, Some(at(1227))));
    }

    #[test]
    fn a_breaker_that_no_attempt_needs_is_dropped_after_a_day() {
        let breakers = EndpointBreakers::default();
        record(&breakers, &breakers.issue(Some("gone")), UNREACHABLE, at(0));
        for (second, is_known) in [(86_402, true), (86_403, false)] {
            record(&breakers, &breakers.issue(Some("n2")), EndpointSignal::Reachable, at(second));
            let health = breakers.health(Some("gone"), &Permit::default(), at(second));
            assert_eq!(health != EndpointHealth::Healthy, is_known, "{health:?}");
        }
    }

    #[test]
    fn the_health_of_an_endpoint_follows_its_last_attempt() {
        let (breakers, none) = (EndpointBreakers::default(), Permit::default());
        let health = |permit: &Permit, now| breakers.health(Some("n1"), permit, now);
        assert_eq!(health(&none, at(0)), EndpointHealth::Healthy);
        record(&breakers, &breakers.issue(Some("n1")), UNREACHABLE, at(0));
        assert_eq!(health(&none, at(1)), EndpointHealth::Unreachable(at(2)));
        assert_eq!(health(&none, at(3)), EndpointHealth::ProbeDue(at(2)));
        let probe = breakers.issue(Some("n1"));
        assert_eq!(
            (health(&none, at(4)), health(&probe, at(4))),
            (EndpointHealth::Probing, EndpointHealth::ProbeDue(at(4)))
        );
        record(&breakers, &probe, EndpointSignal::Reachable, at(5));
        assert_eq!(health(&none, at(5)), EndpointHealth::Healthy);
        assert_eq!(breakers.health(None, &none, at(5)), EndpointHealth::Healthy);
    }
}
