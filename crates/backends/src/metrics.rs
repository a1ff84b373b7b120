//! Metrics of the back-ends.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use snapwatcher_daemon::telemetry::metrics::gauge;

/// What back-ends report.
#[derive(Debug, Clone)]
pub struct BackendMetrics {
    kubelet_insecure_skip_verify: Gauge,
}

impl BackendMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            kubelet_insecure_skip_verify: gauge(
                registry,
                "kubelet_insecure_skip_verify",
                "1 if kubelet certificates are not verified (--kubelet-insecure-skip-verify)",
            ),
        }
    }

    /// Reports that the certificates of kubelets are not verified.
    pub fn kubelets_not_verified(&self) {
        self.kubelet_insecure_skip_verify.set(1);
    }
}
