//! The metrics of admission. Labels are closed enums, so that the number of series is known.

use std::fmt::{self, Write as _};
use std::time::Instant;

use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::mutate::MutateDecision;
use super::validate::ValidateDecision;

/// In seconds. A response takes some 50 µs; the API server waits 3 s.
const BUCKETS: [f64; 12] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];

/// Clones share their values.
#[derive(Debug, Clone)]
pub struct AdmissionMetrics {
    /// In the order of [`REQUEST_LABELS`]: a look-up in the family costs time on each review.
    requests: [Counter; REQUEST_LABELS.len()],
    http_errors: Family<HttpErrorLabels, Counter>,
    mislabeled: Counter,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    webhook: WebhookLabel,
    decision: DecisionLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum WebhookLabel {
    Mutate,
    Validate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum DecisionLabel {
    Patched,
    Left,
    Passed,
    Warned,
    Denied,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpErrorLabels {
    status: u16,
}

/// All decisions, so that each has its series from the start.
const REQUEST_LABELS: [RequestLabels; 5] = [
    RequestLabels { webhook: WebhookLabel::Mutate, decision: DecisionLabel::Patched },
    RequestLabels { webhook: WebhookLabel::Mutate, decision: DecisionLabel::Left },
    RequestLabels { webhook: WebhookLabel::Validate, decision: DecisionLabel::Passed },
    RequestLabels { webhook: WebhookLabel::Validate, decision: DecisionLabel::Warned },
    RequestLabels { webhook: WebhookLabel::Validate, decision: DecisionLabel::Denied },
];

/// All statuses of errors; 500 is a panic or a response that could not be encoded.
const ERROR_STATUSES: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl EncodeLabelValue for WebhookLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        })
    }
}

impl EncodeLabelValue for DecisionLabel {
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
        let requests = Family::<RequestLabels, Counter>::default();
        let metrics = Self {
            requests: REQUEST_LABELS.map(|labels| requests.get_or_create(&labels).clone()),
            http_errors: Family::default(),
            mislabeled: Counter::default(),
            duration: Histogram::new(BUCKETS),
        };
        for status in ERROR_STATUSES {
            drop(metrics.http_errors.get_or_create(&HttpErrorLabels { status: status.as_u16() }));
        }
        let registry = registry.sub_registry_with_prefix("admission");
        registry.register("requests", "Admission reviews with a response, by webhook and decision", requests);
        let help = "Requests that got an HTTP error instead of an admission review, by HTTP status";
        registry.register("http_errors", help, metrics.http_errors.clone());
        let help = "Pods created with an invalid value of the label snap, such as `True`";
        registry.register("mislabelled", help, metrics.mislabeled.clone());
        let help = "Time from the head of a request to its response";
        registry.register_with_unit("duration", help, Unit::Seconds, metrics.duration.clone());
        metrics
    }

    pub(super) fn mutate_decided(&self, decision: &MutateDecision) {
        let [patched, left, ..] = &self.requests;
        let counter = match decision {
            MutateDecision::Patch(_) => patched,
            MutateDecision::Unchanged(_) => left,
        };
        counter.inc();
    }

    pub(super) fn validate_decided(&self, decision: &ValidateDecision) {
        let [_, _, passed, warned, denied] = &self.requests;
        let counter = match decision {
            ValidateDecision::Pass => passed,
            ValidateDecision::Warn(_) => warned,
            ValidateDecision::Deny(_) => denied,
        };
        counter.inc();
    }

    pub(super) fn http_error(&self, status: StatusCode) {
        self.http_errors.get_or_create(&HttpErrorLabels { status: status.as_u16() }).inc();
    }

    pub(super) fn mislabeled(&self) {
        self.mislabeled.inc();
    }

    /// Observes the duration when it is dropped.
    pub(super) fn timer(&self) -> Timer<'_> {
        Timer { duration: &self.duration, started: Instant::now() }
    }
}

pub(super) struct Timer<'m> {
    duration: &'m Histogram,
    started: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.duration.observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::super::mutate::UnchangedReason;
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
            metrics.mutate_decided(&MutateDecision::Patch(json_patch::Patch::default()));
            metrics.validate_decided(&ValidateDecision::Deny(String::new()));
            for status in ERROR_STATUSES {
                metrics.http_error(status);
            }
        });
        for text in [unused, used] {
            assert_eq!(count(&text, "snapwatcher_admission_requests_total{"), REQUEST_LABELS.len(), "{text}");
            assert_eq!(count(&text, "snapwatcher_admission_http_errors_total{"), ERROR_STATUSES.len(), "{text}");
        }
    }

    #[test]
    fn each_event_is_counted_in_its_series() {
        let text = encoded(|metrics| {
            metrics.mutate_decided(&MutateDecision::Unchanged(UnchangedReason::Mirror));
            metrics.validate_decided(&ValidateDecision::Warn(Vec::new()));
            metrics.http_error(StatusCode::BAD_REQUEST);
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
