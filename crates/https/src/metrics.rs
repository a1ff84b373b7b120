//! What the HTTPS port counts, under `snapwatcher_https_`.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::handshake::Fault;

/// Counts connections and what becomes of them. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct HttpsMetrics {
    open: Gauge,
    accepted: Counter,
    handshake_errors: Family<Failed, Counter>,
    displaced: Counter,
    timed_out: Counter,
    drained: Counter,
    cut: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    reason: Fault,
}

impl HttpsMetrics {
    /// Registers the metrics; each reason has its series from the start.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in Fault::ALL {
            drop(metrics.handshake_errors.get_or_create(&Failed { reason }));
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
            "Connections closed for another one, because all places were taken",
            metrics.displaced.clone(),
        );
        registry.register(
            "request_timeouts",
            "Requests answered 408, because they were not whole, or not answered, in time",
            metrics.timed_out.clone(),
        );
        registry.register(
            "drained_requests",
            "Requests answered after the process was told to stop",
            metrics.drained.clone(),
        );
        registry.register(
            "aborted_connections",
            "Connections cut off at the end of the grace period",
            metrics.cut.clone(),
        );
        metrics
    }

    pub(super) fn opened(&self) {
        self.accepted.inc();
        self.open.inc();
    }

    pub(super) fn closed(&self) {
        self.open.dec();
    }

    pub(super) fn failed(&self, reason: Fault) {
        self.handshake_errors.get_or_create(&Failed { reason }).inc();
    }

    pub(super) fn displaced(&self) {
        self.displaced.inc();
    }

    pub(super) fn timed_out(&self) {
        self.timed_out.inc();
    }

    pub(super) fn answered_while_draining(&self) {
        self.drained.inc();
    }

    pub(super) fn cut_off(&self, connections: usize) {
        self.cut.inc_by(u64::try_from(connections).unwrap_or(u64::MAX));
    }
}

impl EncodeLabelValue for Fault {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}
