//! Metrics of the watch of pods, under `snapwatcher_watch_`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cloning gives another handle to the same values.
#[derive(Clone, Default)]
pub struct WatchMetrics {
    pods: Gauge,
    interruptions: Counter,
    undecodable: Counter,
    slips: Counter,
}

impl WatchMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("watch");
        registry.register("pods", "Labelled pods that are watched", metrics.pods.clone());
        registry.register(
            "interruptions",
            "Times a watch of pods was interrupted; it goes on by itself",
            metrics.interruptions.clone(),
        );
        registry.register("undecodable", "Pods skipped because they can't be decoded", metrics.undecodable.clone());
        registry.register(
            "missed_mutations",
            "Pods that admission should have labelled and did not, counted at their claim",
            metrics.slips.clone(),
        );
        metrics
    }

    pub fn watched(&self, pods: usize) {
        self.pods.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    pub fn interrupted(&self) {
        self.interruptions.inc();
    }

    pub fn skipped(&self) {
        self.undecodable.inc();
    }

    pub fn slipped(&self) {
        self.slips.inc();
    }
}
