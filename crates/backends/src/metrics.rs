//! Metrics of the back-ends.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use snapwatcher_daemon::telemetry::metrics::gauge;

/// What back-ends report.
#[derive(Debug, Clone)]
pub struct BackendMetrics {
    kubelet_insecure_skip_verify: Gauge,
    snaphook_plain_http: Gauge,
}

impl BackendMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            kubelet_insecure_skip_verify: gauge(
                registry,
                "kubelet_insecure_skip_verify",
                "1 if kubelet certificates are not verified (--kubelet-insecure-skip-verify)",
            ),
            snaphook_plain_http: gauge(
                registry,
                "snaphook_plain_http",
                "1 if credentials or environment variables of pods are sent to SnapHook over plain HTTP",
            ),
        }
    }

    /// Reports that the certificates of kubelets are not verified.
    pub fn kubelets_not_verified(&self) {
        self.kubelet_insecure_skip_verify.set(1);
    }

    /// Reports that secrets are sent to SnapHook without encryption.
    pub fn secrets_sent_in_clear(&self) {
        self.snaphook_plain_http.set(1);
    }
}
