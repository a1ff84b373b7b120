//! Metrics of claims and attempts, below `snapwatcher_checkpoint_`.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_daemon::telemetry::metrics::{counter, family, gauge, seconds};

use crate::operation::ClaimError;

/// Cloning gives another handle to the same values.
#[derive(Clone)]
pub struct CheckpointMetrics {
    claims: Family<ClaimLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    ineligible: Family<IneligibleLabels, Counter>,
    in_flight: Gauge,
    queued: Gauge,
    open_breakers: Gauge,
    suspended: Gauge,
    duration: Histogram,
    undecodable: Counter,
    ignored: Counter,
    interruptions: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    result: ClaimResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ClaimResult {
    Created,
    Existing,
    Ineligible,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    outcome: AttemptOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AttemptOutcome {
    Succeeded,
    Failed(Reason),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IneligibleLabels {
    reason: IneligibleReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct IneligibleReason(Reason);

/// The reasons of unmet preconditions.
const INELIGIBLE_REASONS: [Reason; 9] = [
    Reason::PodGone,
    Reason::NotLabelled,
    Reason::AlreadyRestored,
    Reason::NoSuchContainer,
    Reason::ImageChanged,
    Reason::NotReady,
    Reason::InvalidSpec,
    Reason::StaticPod,
    Reason::FromBackup,
];

/// Those of them that a back-end can respond as well.
const ALSO_OUTCOMES: [Reason; 1] = [Reason::NoSuchContainer];

impl ClaimResult {
    const ALL: [Self; 4] = [Self::Created, Self::Existing, Self::Ineligible, Self::Failed];
}

impl EncodeLabelValue for ClaimResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Created => "created",
            Self::Existing => "existing",
            Self::Ineligible => "ineligible",
            Self::Failed => "failed",
        })
    }
}

impl EncodeLabelValue for AttemptOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Succeeded => "Succeeded",
            Self::Failed(reason) => reason.as_str(),
        })
    }
}

impl EncodeLabelValue for IneligibleReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.0.as_str())
    }
}

impl From<&Outcome> for AttemptOutcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded(_) => Self::Succeeded,
            Outcome::Failed { reason, .. } => Self::Failed(*reason),
        }
    }
}

impl CheckpointMetrics {
    /// Registers the metrics, with all series at zero so that a rate includes the first event.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("checkpoint");
        let results = ClaimResult::ALL.map(|result| ClaimLabels { result });
        let reasons = INELIGIBLE_REASONS.map(|reason| IneligibleLabels { reason: IneligibleReason(reason) });
        // 10 ms to 164 s: a SNAP server responds after 10 to 120 s.
        let buckets = exponential_buckets(0.01, 2.0, 15);
        Self {
            claims: family(registry, "claims", "Claims of a pod's container, by result", results),
            attempts: family(registry, "attempts", "Attempts that have ended, by outcome", outcomes()),
            ineligible: family(
                registry,
                "ineligible",
                "Checkpoints not attempted because of their pod or spec, by reason; NotReady is retried",
                reasons,
            ),
            in_flight: gauge(registry, "in_flight", "Requests to the back-end under way"),
            queued: gauge(registry, "queued", "Checkpoints that are queued for an attempt"),
            open_breakers: gauge(
                registry,
                "open_circuit_breakers",
                "Back-end endpoints whose circuit breaker is open (SnapHook, or one per kubelet)",
            ),
            suspended: gauge(registry, "suspended", "1 while no requests are sent because of --suspend"),
            duration: seconds(registry, "duration", "Time from request to outcome", buckets),
            undecodable: counter(registry, "undecodable", "Checkpoints skipped because they cannot be decoded"),
            ignored: counter(
                registry,
                "ignored_attempts",
                "Checkpoints whose annotation names a first attempt that does not count: it was not written by SnapWatcher",
            ),
            interruptions: counter(
                registry,
                "watch_interruptions",
                "Interruptions of a watch of Checkpoints; the watch is resumed",
            ),
        }
    }

    pub fn claimed(&self) {
        self.count_claim(ClaimResult::Created);
    }

    pub fn already_claimed(&self) {
        self.count_claim(ClaimResult::Existing);
    }

    pub fn claim_failed(&self, error: &ClaimError) {
        self.count_claim(match error {
            ClaimError::Ineligible { .. } | ClaimError::NamespaceTerminating(_) => ClaimResult::Ineligible,
            _ => ClaimResult::Failed,
        });
    }

    fn count_claim(&self, result: ClaimResult) {
        self.claims.get_or_create(&ClaimLabels { result }).inc();
    }

    /// An attempt in the annotation of a Checkpoint does not count.
    pub fn attempt_ignored(&self) {
        self.ignored.inc();
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn sent(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub fn finished(&self, outcome: &Outcome, took: Duration) {
        self.count_attempt(outcome.into());
        self.duration.observe(took.as_secs_f64());
    }

    /// A precondition of a Checkpoint was not met.
    pub fn ineligible(&self, reason: Reason) {
        self.ineligible.get_or_create(&IneligibleLabels { reason: IneligibleReason(reason) }).inc();
    }

    /// An attempt was marked Interrupted.
    pub fn interrupted(&self) {
        self.count_attempt(AttemptOutcome::Failed(Reason::Interrupted));
    }

    pub fn queued(&self, checkpoints: usize) {
        self.queued.set(i64::try_from(checkpoints).unwrap_or(i64::MAX));
    }

    pub fn open_breakers(&self, endpoints: usize) {
        self.open_breakers.set(i64::try_from(endpoints).unwrap_or(i64::MAX));
    }

    /// This process sends no requests.
    pub fn suspended(&self) {
        self.suspended.set(1);
    }

    pub fn undecodable(&self) {
        self.undecodable.inc();
    }

    pub fn watch_interrupted(&self) {
        self.interruptions.inc();
    }

    fn count_attempt(&self, outcome: AttemptOutcome) {
        self.attempts.get_or_create(&AttemptLabels { outcome }).inc();
    }
}

/// All outcomes of an attempt: of its request, or Interrupted.
fn outcomes() -> impl Iterator<Item = AttemptLabels> {
    let is_outcome = |reason: &Reason| ALSO_OUTCOMES.contains(reason) || !INELIGIBLE_REASONS.contains(reason);
    let failed = Reason::ALL.into_iter().filter(is_outcome).map(AttemptOutcome::Failed);
    failed.chain([AttemptOutcome::Succeeded]).map(|outcome| AttemptLabels { outcome })
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
        drop(metrics.sent());
        for reason in INELIGIBLE_REASONS {
            metrics.ineligible(reason);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(series("checkpoint_claims_total"), ClaimResult::ALL.len());
        let outcomes = Reason::ALL.len() - INELIGIBLE_REASONS.len() + ALSO_OUTCOMES.len() + 1;
        assert_eq!(series("checkpoint_attempts_total"), outcomes, "one of them is Succeeded");
        assert_eq!(series("checkpoint_ineligible_total"), INELIGIBLE_REASONS.len());
        assert!(text.contains("checkpoint_in_flight 0"));
    }
}
