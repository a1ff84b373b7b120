//! The metrics registry of the process, its text format, and helpers that create and register one metric each.
//!
//! Each part of the program registers its own metrics with these helpers, below a prefix of its own.

use std::fmt;
use std::fmt::Debug;
use std::hash::Hash;

use prometheus_client::encoding::text;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The first word of every metric name.
const PREFIX: &str = "snapwatcher";

/// Media type of [`render`]'s text, see
/// <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md#text-format>.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Creates the registry of the process. It holds the build information and no other metric.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of this SnapWatcher", build);
    registry
}

/// Creates and registers a counter. The text format appends `_total` to the name and a full stop to the help.
pub fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Creates and registers a gauge.
pub fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Creates and registers a family of counters or gauges with one series for each entry of `series`.
///
/// A series that is exported before its first event starts at zero, so that a rate includes this event.
pub fn family<Labels, Metric>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = Labels>,
) -> Family<Labels, Metric>
where
    Labels: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static,
    Metric: Clone + Debug + Default + EncodeMetric + TypedMetric + Send + Sync + 'static,
{
    let family = Family::<Labels, Metric>::default();
    for labels in series {
        drop(family.get_or_create(&labels));
    }
    registry.register(name, help, family.clone());
    family
}

/// Creates and registers a histogram of durations in seconds. The text format appends `_seconds` to the name.
pub fn seconds(registry: &mut Registry, name: &str, help: &str, buckets: impl IntoIterator<Item = f64>) -> Histogram {
    let histogram = Histogram::new(buckets);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

/// Writes all metrics as OpenMetrics text. An error means that a metric failed to encode itself.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Decided {
        decision: &'static str,
    }

    #[test]
    fn the_text_names_the_build_and_each_registered_metric() {
        let mut registry = registry();
        counter(&mut registry, "missed_mutations", "Pods that were not labeled").inc();
        gauge(&mut registry, "pods", "Pods that are watched").set(3);
        let decided = [Decided { decision: "deny" }];
        family::<_, Counter>(&mut registry, "reviews", "Reviews, by decision", decided);
        seconds(&mut registry, "duration", "Time of a review", [1.0]).observe(0.5);
        let expected = format!(
            "# HELP snapwatcher_build Version of this SnapWatcher.\n\
             # TYPE snapwatcher_build info\n\
             snapwatcher_build_info{{version=\"{}\"}} 1\n\
             # HELP snapwatcher_missed_mutations Pods that were not labeled.\n\
             # TYPE snapwatcher_missed_mutations counter\n\
             snapwatcher_missed_mutations_total 1\n\
             # HELP snapwatcher_pods Pods that are watched.\n\
             # TYPE snapwatcher_pods gauge\n\
             snapwatcher_pods 3\n\
             # HELP snapwatcher_reviews Reviews, by decision.\n\
             # TYPE snapwatcher_reviews counter\n\
             snapwatcher_reviews_total{{decision=\"deny\"}} 0\n\
             # HELP snapwatcher_duration_seconds Time of a review.\n\
             # TYPE snapwatcher_duration_seconds histogram\n\
             # UNIT snapwatcher_duration_seconds seconds\n\
             snapwatcher_duration_seconds_sum 0.5\n\
             snapwatcher_duration_seconds_count 1\n\
             snapwatcher_duration_seconds_bucket{{le=\"1.0\"}} 1\n\
             snapwatcher_duration_seconds_bucket{{le=\"+Inf\"}} 1\n\
             # EOF\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(render(&registry).unwrap(), expected);
    }
}
