//! One circuit breaker for each endpoint, so that an unreachable kubelet delays no other node.

use std::collections::HashMap;
use std::time::Duration;

use super::circuit_breaker::{CircuitBreaker, EndpointSignal};
use super::unprepared_nodes::UnpreparedNodes;

/// An open breaker is dropped when no attempt needed its endpoint for this long after a probe was due. A day, since the
/// order of a revision's pods depends on what is known about their nodes.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// An open breaker counts in the metric and in the health check until no attempt needed its endpoint for twice the
/// longest wait and this: a waiting Checkpoint would have probed it by then, so the node may be gone.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// The breakers of all endpoints, by address.
#[derive(Default)]
pub(super) struct EndpointBreakers {
    breakers: HashMap<String, CircuitBreaker>,
    unprepared: UnpreparedNodes,
}

/// What is known about an endpoint, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EndpointHealth {
    /// No failure is known.
    Healthy,
    /// The status of a Checkpoint says that the endpoint was unreachable, and this process knows no more.
    ReportedUnreachable,
    /// The last attempt did not reach it, and a probe is due since then; or the last pod of its node could not be checkpointed,
    /// because the node is not prepared for that one.
    ProbeDue(Duration),
    /// The last attempt did not reach it, and the next one waits until then.
    Unreachable(Duration),
    /// A probe is under way.
    Probing,
}

/// The permission to send one attempt, to a certain endpoint if it is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Permit {
    endpoint: Option<String>,
    is_probe: bool,
}

impl EndpointBreakers {
    /// Whether an attempt at that endpoint (`None`: not known yet) may start now.
    pub(super) fn allows(&self, endpoint: Option<&str>, now: Duration) -> bool {
        endpoint.is_none_or(|endpoint| self.breakers.get(endpoint).is_none_or(|breaker| breaker.allows(now)))
    }

    /// Issues the permit of an attempt that is allowed.
    pub(super) fn issue(&mut self, endpoint: Option<&str>, now: Duration) -> Permit {
        let breaker = endpoint.and_then(|endpoint| self.breakers.get_mut(endpoint));
        Permit {
            endpoint: endpoint.map(str::to_owned),
            is_probe: breaker.is_some_and(|breaker| breaker.start_probe(now)),
        }
    }

    /// What the signal of an attempt about a pod of the namespace says of all pods with the same endpoint. It is never
    /// [`EndpointSignal::NotPrepared`].
    pub(super) fn judge(
        &mut self,
        permit: &Permit,
        namespace: &str,
        signal: EndpointSignal,
        now: Duration,
    ) -> EndpointSignal {
        match (signal, &permit.endpoint) {
            (EndpointSignal::NotPrepared, Some(endpoint)) if self.unprepared.note(endpoint, namespace, now) => {
                EndpointSignal::Unreachable { retry_after: None }
            }
            (EndpointSignal::NotPrepared, _) => EndpointSignal::Reachable,
            (EndpointSignal::Reachable, Some(endpoint)) => {
                self.unprepared.forget(endpoint);
                signal
            }
            _ => signal,
        }
    }

    /// Takes over the signal of an attempt that has ended. `jitter` is from 0 to 1.
    pub(super) fn record(
        &mut self,
        permit: &Permit,
        signal: EndpointSignal,
        longest: Duration,
        jitter: f64,
        now: Duration,
    ) {
        let Some(endpoint) = &permit.endpoint else { return };
        let breaker = self.breakers.entry(endpoint.clone()).or_default();
        breaker.record(permit.is_probe, signal, longest, jitter, now);
        self.breakers.retain(|_, breaker| *breaker != CircuitBreaker::Closed && !is_forgotten(breaker, now));
    }

    /// The health of an endpoint.
    pub(super) fn health(&self, endpoint: Option<&str>, now: Duration) -> EndpointHealth {
        let Some(endpoint) = endpoint else { return EndpointHealth::Healthy };
        match self.breakers.get(endpoint) {
            None | Some(CircuitBreaker::Closed) => {
                self.unprepared.noted_at(endpoint, now).map_or(EndpointHealth::Healthy, EndpointHealth::ProbeDue)
            }
            Some(CircuitBreaker::Open { until, .. }) if *until <= now => EndpointHealth::ProbeDue(*until),
            Some(CircuitBreaker::Open { until, .. }) => EndpointHealth::Unreachable(*until),
            Some(CircuitBreaker::Probing { .. }) => EndpointHealth::Probing,
        }
    }

    /// How many breakers are open and not stale. `longest` is the longest wait.
    pub(super) fn open_count(&self, longest: Duration, now: Duration) -> usize {
        self.breakers.values().filter(|breaker| !is_stale(breaker, longest, now)).count()
    }

    /// When the next open breaker becomes stale, if no attempt needs its endpoint.
    pub(super) fn next_expiry(&self, longest: Duration, now: Duration) -> Option<Duration> {
        self.breakers.values().filter_map(|breaker| stale_at(breaker, longest)).filter(|at| *at > now).min()
    }

    /// Whether no breaker is open and not stale, apart from the one of this permit.
    pub(super) fn all_closed_except(&self, permit: &Permit, longest: Duration, now: Duration) -> bool {
        let mut others = self.breakers.iter().filter(|(endpoint, _)| permit.endpoint.as_ref() != Some(endpoint));
        others.all(|(_, breaker)| is_stale(breaker, longest, now))
    }

    /// When the next endpoint may be probed, after `now`.
    pub(super) fn next_probe(&self, now: Duration) -> Option<Duration> {
        self.breakers.values().filter_map(CircuitBreaker::next_probe).filter(|at| *at > now).min()
    }
}

fn is_forgotten(breaker: &CircuitBreaker, now: Duration) -> bool {
    breaker.opens_at().is_some_and(|at| now.saturating_sub(at) > FORGET_AFTER)
}

fn is_stale(breaker: &CircuitBreaker, longest: Duration, now: Duration) -> bool {
    stale_at(breaker, longest).is_some_and(|at| at <= now)
}

/// When an open breaker becomes stale. `None`: its probe is under way.
fn stale_at(breaker: &CircuitBreaker, longest: Duration) -> Option<Duration> {
    let unused = longest.saturating_mul(2).saturating_add(STALE_AFTER);
    breaker.opens_at().map(|at| at.saturating_add(unused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const UNREACHABLE: EndpointSignal = EndpointSignal::Unreachable { retry_after: None };
    const LONGEST: Duration = Duration::from_secs(300);

    fn record(breakers: &mut EndpointBreakers, permit: &Permit, signal: EndpointSignal, now: Duration) {
        breakers.record(permit, signal, LONGEST, 0.5, now);
    }

    fn record_new(breakers: &mut EndpointBreakers, endpoint: Option<&str>, signal: EndpointSignal, now: Duration) {
        let permit = breakers.issue(endpoint, at(0));
        record(breakers, &permit, signal, now);
    }

    #[test]
    fn an_unreachable_endpoint_delays_no_other() {
        let mut breakers = EndpointBreakers::default();
        record_new(&mut breakers, Some("n1"), UNREACHABLE, at(0));
        assert!(!breakers.allows(Some("n1"), at(1)) && breakers.allows(Some("n2"), at(1)));
        assert!(breakers.allows(None, at(1)), "the endpoint is not known yet");
        assert_eq!((breakers.open_count(LONGEST, at(1)), breakers.next_probe(at(1))), (1, Some(at(2))));
        let (probe, other) = (breakers.issue(Some("n1"), at(2)), breakers.issue(Some("n2"), at(2)));
        assert!(breakers.all_closed_except(&probe, LONGEST, at(2)));
        assert!(!breakers.all_closed_except(&other, LONGEST, at(2)));
        assert!(!breakers.allows(Some("n1"), at(9)), "the probe is under way");
        record(&mut breakers, &probe, EndpointSignal::Reachable, at(9));
        assert!(breakers.allows(Some("n1"), at(9)));
        assert_eq!((breakers.open_count(LONGEST, at(9)), breakers.next_probe(at(9))), (0, None));
    }

    #[test]
    fn a_breaker_that_no_attempt_needs_becomes_stale() {
        let mut breakers = EndpointBreakers::default();
        record_new(&mut breakers, Some("gone"), UNREACHABLE, at(0));
        let open =
            |breakers: &EndpointBreakers, now| (breakers.open_count(LONGEST, now), breakers.next_expiry(LONGEST, now));
        assert_eq!(open(&breakers, at(611)), (1, Some(at(612))));
        assert_eq!(open(&breakers, at(612)), (0, None));
        assert!(breakers.all_closed_except(&Permit::default(), LONGEST, at(612)));
        let probe = breakers.issue(Some("gone"), at(2));
        assert_eq!(open(&breakers, at(613)), (1, None), "a probe is under way");
        record(&mut breakers, &probe, UNREACHABLE, at(613));
        assert_eq!(open(&breakers, at(613)), (1, Some(at(1227))));
    }

    #[test]
    fn a_breaker_that_no_attempt_needs_is_dropped_after_a_day() {
        let mut breakers = EndpointBreakers::default();
        record_new(&mut breakers, Some("gone"), UNREACHABLE, at(0));
        for (second, is_known) in [(86_402, true), (86_403, false)] {
            record_new(&mut breakers, Some("n2"), EndpointSignal::Reachable, at(second));
            let health = breakers.health(Some("gone"), at(second));
            assert_eq!(health != EndpointHealth::Healthy, is_known, "{health:?}");
        }
    }

    #[test]
    fn a_node_that_is_not_prepared_for_the_pods_of_one_namespace_delays_no_other_pod() {
        let mut breakers = EndpointBreakers::default();
        let mut answer = |namespace: &str, signal, second| {
            let permit = breakers.issue(Some("n1"), at(2));
            let judged = breakers.judge(&permit, namespace, signal, at(second));
            record(&mut breakers, &permit, judged, at(second));
            (breakers.allows(Some("n1"), at(second)), breakers.health(Some("n1"), at(second)))
        };
        for second in 0..9 {
            let due = EndpointHealth::ProbeDue(at(second));
            assert_eq!(answer("hostile", EndpointSignal::NotPrepared, second), (true, due), "the last choice");
        }
        assert_eq!(answer("shop", EndpointSignal::Reachable, 9), (true, EndpointHealth::Healthy));
        assert!(answer("hostile", EndpointSignal::NotPrepared, 10).0);
        assert!(!answer("shop", EndpointSignal::NotPrepared, 11).0, "two namespaces in a row");
        assert!(!answer("shop", EndpointSignal::NotPrepared, 15).0, "the probe");
        assert_eq!(answer("shop", EndpointSignal::Reachable, 60), (true, EndpointHealth::Healthy));
    }

    #[test]
    fn a_node_that_answers_that_it_is_not_prepared_can_be_reached() {
        let mut breakers = EndpointBreakers::default();
        record_new(&mut breakers, Some("n1"), UNREACHABLE, at(0));
        let probe = breakers.issue(Some("n1"), at(2));
        let judged = breakers.judge(&probe, "shop", EndpointSignal::NotPrepared, at(5));
        record(&mut breakers, &probe, judged, at(5));
        assert!(breakers.allows(Some("n1"), at(5)));
    }

    #[test]
    fn the_health_of_an_endpoint_follows_its_last_attempt() {
        let mut breakers = EndpointBreakers::default();
        assert_eq!(breakers.health(Some("n1"), at(0)), EndpointHealth::Healthy);
        record_new(&mut breakers, Some("n1"), UNREACHABLE, at(0));
        assert_eq!(breakers.health(Some("n1"), at(1)), EndpointHealth::Unreachable(at(2)));
        assert_eq!(breakers.health(Some("n1"), at(3)), EndpointHealth::ProbeDue(at(2)));
        let probe = breakers.issue(Some("n1"), at(2));
        assert_eq!(breakers.health(Some("n1"), at(4)), EndpointHealth::Probing);
        record(&mut breakers, &probe, EndpointSignal::Reachable, at(5));
        assert_eq!(breakers.health(Some("n1"), at(5)), EndpointHealth::Healthy);
        assert_eq!(breakers.health(None, at(5)), EndpointHealth::Healthy);
    }
}
