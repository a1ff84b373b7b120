//! Events that were not published: each is counted, and some are logged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use snapwatcher_daemon::telemetry::metrics::family;

/// At most one lost Event is logged in this time.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The end of each log line about a lost Event.
pub(super) const ADVICE: &str =
    "Read results from the Checkpoints. For a minute, lost Events are only counted, in snapwatcher_events_lost_total";

/// Why an Event was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LossReason {
    /// The queue was full.
    QueueFull,
    /// The API server did not accept the Event.
    Failed,
    /// The process ends, and nothing is published any more.
    Stopped,
}

impl LossReason {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Failed, Self::Stopped];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Failed => "failed",
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
        let series = LossReason::ALL.map(|reason| LossLabels { reason: reason.as_str() });
        Self { lost: family(registry, "events_lost", "Events that were not published, by reason", series) }
    }
}

/// Counts lost Events, and limits the log lines about them. A clone shares both.
#[derive(Debug, Clone)]
pub(super) struct LostEvents {
    metrics: EventMetrics,
    logged: Arc<Mutex<Option<Instant>>>,
}

impl LostEvents {
    pub(super) fn new(metrics: EventMetrics) -> Self {
        Self { metrics, logged: Arc::default() }
    }

    pub(super) fn count(&self, reason: LossReason) {
        self.metrics.lost.get_or_create(&LossLabels { reason: reason.as_str() }).inc();
    }

    /// Whether a loss should be logged now; if so, it counts as logged.
    pub(super) fn should_log(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_AGAIN_AFTER);
        if is_due {
            *logged = Some(now);
        }
        is_due
    }

    #[cfg(test)]
    pub(super) fn counted(&self, reason: LossReason) -> u64 {
        self.metrics.lost.get_or_create(&LossLabels { reason: reason.as_str() }).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_counted_and_one_a_minute_is_logged() {
        let lost = LostEvents::new(EventMetrics::register(&mut Registry::default()));
        let start = Instant::now();
        let logged = [0, 59, 60, 61].map(|second| {
            lost.count(LossReason::Failed);
            lost.should_log(start + Duration::from_secs(second))
        });
        assert_eq!(logged, [true, false, true, false]);
        assert_eq!((lost.counted(LossReason::Failed), lost.counted(LossReason::QueueFull)), (4, 0));
    }
}
