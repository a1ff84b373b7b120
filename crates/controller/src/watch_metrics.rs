//! Metrics of the pod watch, below `snapwatcher_watch_`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use snapwatcher_daemon::telemetry::metrics::{counter, gauge};

/// Cloning gives another handle to the same values.
#[derive(Clone)]
pub struct WatchMetrics {
    pods: Gauge,
    interruptions: Counter,
    undecodable: Counter,
    missed_mutations: Counter,
}

impl WatchMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("watch");
        Self {
            pods: gauge(registry, "pods", "Labeled pods that are watched"),
            interruptions: counter(registry, "interruptions", "Interruptions of a watch of pods; the watch is resumed"),
            undecodable: counter(registry, "undecodable", "Pods skipped because they cannot be decoded"),
            missed_mutations: counter(
                registry,
                "missed_mutations",
                "Pods that the webhook should have labeled and did not, counted at their claim",
            ),
        }
    }

    pub fn watched(&self, pods: usize) {
        self.pods.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    pub fn interrupted(&self) {
        self.interruptions.inc();
    }

    pub fn undecodable(&self) {
        self.undecodable.inc();
    }

    pub fn mutation_missed(&self) {
        self.missed_mutations.inc();
    }
}
