//! What admission counts. Labels are closed enums, so the series can be counted; no names of objects.

use std::fmt::{self, Write as _};
use std::time::Instant;

use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::mutate;
use super::validate::Verdict;

/// In seconds: an answer takes some 50 µs; the API server waits 3 s.
const BUCKETS: [f64; 12] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];

/// Cloning gives another handle to the same numbers.
#[derive(Debug, Clone)]
pub struct AdmissionMetrics {
    /// Those of the family, in the order of [`ANSWERS`]: no look-up for each review.
    requests: [Counter; ANSWERS.len()],
    refused: Family<Refused, Counter>,
    mislabelled: Counter,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    webhook: Webhook,
    decision: Decision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Webhook {
    Mutate,
    Validate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Decision {
    Patched,
    Left,
    Passed,
    Warned,
    Denied,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    status: u16,
}

/// All decisions there are, so that each has its series from the start.
const ANSWERS: [Answered; 5] = [
    Answered { webhook: Webhook::Mutate, decision: Decision::Patched },
    Answered { webhook: Webhook::Mutate, decision: Decision::Left },
    Answered { webhook: Webhook::Validate, decision: Decision::Passed },
    Answered { webhook: Webhook::Validate, decision: Decision::Warned },
    Answered { webhook: Webhook::Validate, decision: Decision::Denied },
];

/// The statuses of refusals; 500 is a panic or an answer that could not be written.
const REFUSALS: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl EncodeLabelValue for Webhook {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        })
    }
}

impl EncodeLabelValue for Decision {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Patched => "patched",
            Self::Left => "left",
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Denied => "denied",
        })
    }
}

impl AdmissionMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::<Answered, Counter>::default();
        let metrics = Self {
            requests: ANSWERS.map(|answered| requests.get_or_create(&answered).clone()),
            refused: Family::default(),
            mislabelled: Counter::default(),
            duration: Histogram::new(BUCKETS),
        };
        for status in REFUSALS {
            drop(metrics.refused.get_or_create(&Refused { status: status.as_u16() }));
        }
        let registry = registry.sub_registry_with_prefix("admission");
        registry.register("requests", "Reviews answered, by webhook and decision", requests);
        registry.register("http_errors", "Requests that got no review, by HTTP status", metrics.refused.clone());
        let help = "Pods created with a value of the label snap that does not count, such as `True`";
        registry.register("mislabelled", help, metrics.mislabelled.clone());
        let help = "From the head of a request to its answer";
        registry.register_with_unit("duration", help, Unit::Seconds, metrics.duration.clone());
        metrics
    }

    pub(super) fn mutated(&self, decision: &mutate::Decision<'_>) {
        let [patched, left, ..] = &self.requests;
        let counter = match decision {
            mutate::Decision::Patch(_) => patched,
            mutate::Decision::Leave(_) => left,
        };
        counter.inc();
    }

    pub(super) fn validated(&self, verdict: &Verdict) {
        let [_, _, passed, warned, denied] = &self.requests;
        let counter = match verdict {
            Verdict::Pass => passed,
            Verdict::Warn(_) => warned,
            Verdict::Deny(_) => denied,
        };
        counter.inc();
    }

    pub(super) fn refused(&self, status: StatusCode) {
        self.refused.get_or_create(&Refused { status: status.as_u16() }).inc();
    }

    pub(super) fn mislabelled(&self) {
        self.mislabelled.inc();
    }

    /// Takes the time until it is dropped.
    pub(super) fn timer(&self) -> Timer<'_> {
        Timer { duration: &self.duration, begun: Instant::now() }
    }
}

pub(super) struct Timer<'m> {
    duration: &'m Histogram,
    begun: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.duration.observe(self.begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn encoded(use_metrics: impl FnOnce(&AdmissionMetrics)) -> String {
        let mut registry = Registry::with_prefix("snapwatcher");
        use_metrics(&AdmissionMetrics::register(&mut registry));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_number_of_series_is_known_from_the_start() {
        let count = |text: &str, name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        let unused = encoded(|_| ());
        let used = encoded(|metrics| {
            metrics.mutated(&mutate::Decision::Patch(Vec::new()));
            metrics.validated(&Verdict::Deny(String::new()));
            for status in REFUSALS {
                metrics.refused(status);
            }
        });
        for text in [unused, used] {
            assert_eq!(count(&text, "snapwatcher_admission_requests_total{"), ANSWERS.len(), "{text}");
            assert_eq!(count(&text, "snapwatcher_admission_http_errors_total{"), REFUSALS.len(), "{text}");
        }
    }

    #[test]
    fn each_use_shows_under_its_name() {
        let text = encoded(|metrics| {
            metrics.mutated(&mutate::Decision::Leave(mutate::Cause::Mirror));
            metrics.validated(&Verdict::Warn(Vec::new()));
            metrics.refused(StatusCode::BAD_REQUEST);
            drop(metrics.timer());
        });
        for line in [
            r#"snapwatcher_admission_requests_total{webhook="mutate",decision="left"} 1"#,
            r#"snapwatcher_admission_requests_total{webhook="validate",decision="warned"} 1"#,
            r#"snapwatcher_admission_http_errors_total{status="400"} 1"#,
            "snapwatcher_admission_duration_seconds_count 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
