//! Events that were not published: each is counted, and some are logged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use snapwatcher_daemon::telemetry::metrics::family;

use crate::cluster::CallError;

/// At most one lost Event of each cause is logged in this time.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The end of each log line about a lost Event.
pub(super) const ADVICE: &str = "Read results from the Checkpoints. For a minute, Events that are lost for the same cause are only \
                                 counted, in snapwatcher_events_lost_total";

/// Why an Event was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LossCause {
    /// The queue, or the namespace's share of it, was full.
    QueueFull,
    /// The right to create Events is missing.
    Forbidden,
    /// The API server rejected the Event for another cause, for example because its namespace is being deleted.
    Rejected,
    /// The API server did not respond in time.
    TimedOut,
    /// The API server could not be reached, or it failed.
    Unavailable,
    /// The process ends, and nothing is published any more.
    Stopped,
}

impl LossCause {
    const ALL: [Self; 6] =
        [Self::QueueFull, Self::Forbidden, Self::Rejected, Self::TimedOut, Self::Unavailable, Self::Stopped];

    /// Why a call that creates an Event failed.
    pub(super) fn of(error: &CallError) -> Self {
        match error.status().map(|status| status.code) {
            // 403 as well, but no right is missing.
            Some(_) if error.is_namespace_terminating() => Self::Rejected,
            Some(403) => Self::Forbidden,
            Some(code) if code < 500 && code != 429 => Self::Rejected,
            None if error.is_timeout() => Self::TimedOut,
            Some(_) | None => Self::Unavailable,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Forbidden => "forbidden",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LossLabels {
    reason: &'static str,
}

/// Metrics of Events. Cloning gives another handle to the same values.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    lost: Family<LossLabels, Counter>,
}

impl EventMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let series = LossCause::ALL.map(|cause| LossLabels { reason: cause.as_str() });
        Self { lost: family(registry, "events_lost", "Events that were not published, by reason", series) }
    }
}

/// Counts lost Events, and limits the log lines about them. A clone shares both.
#[derive(Debug, Clone)]
pub(super) struct LostEvents {
    metrics: EventMetrics,
    /// When an Event was last logged as lost, by the cause.
    logged: Arc<Mutex<HashMap<LossCause, Instant>>>,
}

impl LostEvents {
    pub(super) fn new(metrics: EventMetrics) -> Self {
        Self { metrics, logged: Arc::default() }
    }

    pub(super) fn count(&self, cause: LossCause) {
        self.metrics.lost.get_or_create(&LossLabels { reason: cause.as_str() }).inc();
    }

    /// Whether a loss of that cause should be logged now; if so, it counts as logged.
    pub(super) fn should_log(&self, cause: LossCause, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.get(&cause).is_none_or(|at| now.saturating_duration_since(*at) >= LOG_AGAIN_AFTER);
        if is_due {
            logged.insert(cause, now);
        }
        is_due
    }

    #[cfg(test)]
    pub(super) fn counted(&self, cause: LossCause) -> u64 {
        self.metrics.lost.get_or_create(&LossLabels { reason: cause.as_str() }).get()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_loss_is_counted_and_one_a_minute_of_each_cause_is_logged() {
        let lost = LostEvents::new(EventMetrics::register(&mut Registry::default()));
        let start = Instant::now();
        let logged = [0, 59, 60, 61].map(|second| {
            lost.count(LossCause::Forbidden);
            lost.should_log(LossCause::Forbidden, start + Duration::from_secs(second))
        });
        assert_eq!(logged, [true, false, true, false]);
        assert!(lost.should_log(LossCause::QueueFull, start + Duration::from_secs(61)), "another cause");
        assert_eq!((lost.counted(LossCause::Forbidden), lost.counted(LossCause::QueueFull)), (4, 0));
    }

    #[test]
    fn the_cause_follows_from_the_response() {
        let answered = |code| {
            let status = kube::core::Status::failure("no", "no").with_code(code);
            CallError::Failed { what: "create it".to_owned(), source: Box::new(kube::Error::Api(Box::new(status))) }
        };
        for (error, cause) in [
            (answered(403), LossCause::Forbidden),
            (answered(422), LossCause::Rejected),
            (answered(429), LossCause::Unavailable),
            (answered(500), LossCause::Unavailable),
            (CallError::TimedOut { what: "create it".to_owned() }, LossCause::TimedOut),
        ] {
            assert_eq!(LossCause::of(&error), cause, "{error}");
        }
    }

    #[test]
    fn an_event_of_a_namespace_that_is_being_deleted_does_not_count_as_a_missing_right() {
        let status = json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "no",
            "details": {"causes": [{"reason": "NamespaceTerminating", "message": "no", "field": "metadata.namespace"}]}});
        let source = Box::new(kube::Error::Api(serde_json::from_value(status).unwrap()));
        let error = CallError::Failed { what: "create it".to_owned(), source };
        assert_eq!(LossCause::of(&error), LossCause::Rejected);
    }
}
