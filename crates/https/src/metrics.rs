//! Metrics of the HTTPS listener, named `snapwatcher_https_...`.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::handshake_failure::HandshakeFailure;

/// Counts connections and how they end. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct HttpsMetrics {
    open: Gauge,
    accepted: Counter,
    handshake_errors: Family<FailureLabels, Counter>,
    evicted: Counter,
    timed_out: Counter,
    drained: Counter,
    aborted: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    reason: HandshakeFailure,
}

impl HttpsMetrics {
    /// Registers the metrics, with the series of each reason at zero.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in HandshakeFailure::ALL {
            drop(metrics.handshake_errors.get_or_create(&FailureLabels { reason }));
        }
        let registry = registry.sub_registry_with_prefix("https");
        registry.register("open_connections", "Open connections to the HTTPS port", metrics.open.clone());
        registry.register("accepted_connections", "Connections accepted on the HTTPS port", metrics.accepted.clone());
        registry.register(
            "handshake_errors",
            "TLS handshakes that failed, by reason; `untrusted`: the client does not trust our certificate",
            metrics.handshake_errors.clone(),
        );
        registry.register(
            "evicted_connections",
            "Connections closed because the listener had as many as it may have and one more client connected",
            metrics.evicted.clone(),
        );
        registry.register(
            "request_timeouts",
            "Requests answered with 408 because the body did not arrive, or the response was not ready, in time",
            metrics.timed_out.clone(),
        );
        registry.register(
            "drained_requests",
            "Requests answered after the stop of the process began",
            metrics.drained.clone(),
        );
        registry.register(
            "aborted_connections",
            "Connections that were still open at the end of the grace period and were aborted",
            metrics.aborted.clone(),
        );
        metrics
    }

    pub(crate) fn opened(&self) {
        self.accepted.inc();
        self.open.inc();
    }

    pub(crate) fn closed(&self) {
        self.open.dec();
    }

    pub(crate) fn handshake_failed(&self, reason: HandshakeFailure) {
        self.handshake_errors.get_or_create(&FailureLabels { reason }).inc();
    }

    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    pub(crate) fn request_timed_out(&self) {
        self.timed_out.inc();
    }

    pub(crate) fn answered_while_draining(&self) {
        self.drained.inc();
    }

    pub(crate) fn aborted(&self, connections: usize) {
        self.aborted.inc_by(u64::try_from(connections).unwrap_or(u64::MAX));
    }
}

impl EncodeLabelValue for HandshakeFailure {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}
