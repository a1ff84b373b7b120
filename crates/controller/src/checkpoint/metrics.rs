//! Metrics of claims and attempts, under `snapwatcher_checkpoint_`.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::claim::{ClaimError, Claimed};
use snapwatcher_api::outcome::{Outcome, Reason};

/// Cloning gives another handle to the same values.
#[derive(Clone)]
pub struct CheckpointMetrics {
    claims: Family<ClaimLabel, Counter>,
    attempts: Family<OutcomeLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    in_flight: Gauge,
    waiting: Gauge,
    breaker_open: Gauge,
    suspended: Gauge,
    duration: Histogram,
    undecodable: Counter,
    interruptions: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Why a record is not asked for. A
/// container that does not exist may also be what a back-end answers.
const REFUSALS: [Reason; 7] = [
    Reason::PodGone,
    Reason::NotLabelled,
    Reason::AlreadyRestored,
    Reason::NoSuchContainer,
    Reason::NotReady,
    Reason::InvalidSpec,
    Reason::StaticPod,
];

/// Those of them that a back-end may say as well.
const BOTH: [Reason; 1] = [Reason::NoSuchContainer];

/// What a claim can come to, in the metric's words.
const CLAIM_RESULTS: [&str; 4] = ["new", "before", "refused", "failed"];

impl CheckpointMetrics {
    /// Registers the metrics, with all series at zero so that a rate can be taken of the first event.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            claims: Family::default(),
            attempts: Family::default(),
            refusals: Family::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            breaker_open: Gauge::default(),
            suspended: Gauge::default(),
            // 10 ms to 164 s: answers of a SNAP server take 10 to 120 s.
            duration: Histogram::new(exponential_buckets(0.01, 2.0, 15)),
            undecodable: Counter::default(),
            interruptions: Counter::default(),
        };
        for result in CLAIM_RESULTS {
            let _ = metrics.claims.get_or_create(&ClaimLabel { result });
        }
        for outcome in outcomes() {
            let _ = metrics.attempts.get_or_create(&OutcomeLabel { outcome });
        }
        for reason in REFUSALS.map(Reason::as_str) {
            let _ = metrics.refusals.get_or_create(&ReasonLabel { reason });
        }
        let registry = registry.sub_registry_with_prefix("checkpoint");
        registry.register("claims", "Claims of a pod's container, by result", metrics.claims.clone());
        registry.register("attempts", "AttemptScheduler that came to an end, by outcome", metrics.attempts.clone());
        registry.register(
            "ineligible",
            "Times a record was not asked for because of its pod or its spec, by reason; NotReady is looked at again",
            metrics.refusals.clone(),
        );
        registry.register("in_flight", "Requests to the back-end that are under way", metrics.in_flight.clone());
        registry.register("queued", "Records whose attempt waits for its turn", metrics.waiting.clone());
        registry.register(
            "open_circuit_breakers",
            "Addresses that are away and asked by one attempt at a time: SnapHook is one, each node's kubelet is one",
            metrics.breaker_open.clone(),
        );
        registry.register("suspended", "1 while nothing is asked because of --suspend", metrics.suspended.clone());
        registry.register_with_unit(
            "duration",
            "From the request to the outcome",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "undecodable",
            "Checkpoint objects skipped because they can't be decoded",
            metrics.undecodable.clone(),
        );
        registry.register(
            "watch_interruptions",
            "Times a watch of Checkpoint objects was interrupted; it goes on by itself",
            metrics.interruptions.clone(),
        );
        metrics
    }

    pub fn claimed(&self, result: &Result<Claimed, ClaimError>) {
        let result = match result {
            Ok(Claimed::New { .. }) => "new",
            Ok(Claimed::Before { .. }) => "before",
            Err(ClaimError::Refused(_) | ClaimError::NamespaceTerminating(_)) => "refused",
            Err(_) => "failed",
        };
        self.claims.get_or_create(&ClaimLabel { result }).inc();
    }

    /// A request leaves; the guard counts it as under way until it is dropped.
    pub fn asked(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub fn ended(&self, outcome: &Outcome, took: Duration) {
        self.attempts.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// A record came to nothing before a request, or waits.
    pub fn refused(&self, reason: Reason) {
        self.refusals.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// An attempt was given up whose maker is gone.
    pub fn interrupted(&self) {
        self.attempts.get_or_create(&OutcomeLabel { outcome: Reason::Interrupted.as_str() }).inc();
    }

    pub fn waiting(&self, records: usize) {
        self.waiting.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// So many addresses are away.
    pub fn away(&self, addresses: usize) {
        self.breaker_open.set(i64::try_from(addresses).unwrap_or(i64::MAX));
    }

    /// Nothing is asked in this process.
    pub fn suspended(&self) {
        self.suspended.set(1);
    }

    pub fn skipped(&self) {
        self.undecodable.inc();
    }

    /// A watch of records was interrupted.
    pub fn watch_interrupted(&self) {
        self.interruptions.inc();
    }
}

/// What an attempt can come to: a request, or an interruption between its two writes.
fn outcomes() -> impl Iterator<Item = &'static str> {
    let asked = |reason: &Reason| BOTH.contains(reason) || !REFUSALS.contains(reason);
    Reason::ALL.into_iter().filter(asked).map(Reason::as_str).chain(["Succeeded"])
}

/// One request under way.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_are_closed_sets() {
        let mut registry = Registry::default();
        let metrics = CheckpointMetrics::register(&mut registry);
        drop(metrics.asked());
        for reason in REFUSALS {
            metrics.refused(reason);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(series("checkpoint_claims_total"), CLAIM_RESULTS.len());
        let outcomes = Reason::ALL.len() - REFUSALS.len() + BOTH.len() + 1;
        assert_eq!(series("checkpoint_attempts_total"), outcomes, "one of them is Succeeded");
        assert_eq!(series("checkpoint_refusals_total"), REFUSALS.len());
        assert!(text.contains("checkpoint_in_flight 0"));
    }
}
