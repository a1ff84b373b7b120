//! Metrics of certificates and CA bundles, under `snapwatcher_certificate_`.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::bundle_status::{BundleState, ConfigurationKind};
use super::rotation::RotationStep;

/// Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics {
    bundle_in_sync: Family<ConfigurationLabels, Gauge>,
    bundle_patches: Family<PatchLabels, Counter>,
    ca_not_after: Gauge,
    serving_not_after: Gauge,
    rotation_steps: Family<StepLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigurationLabels {
    configuration: ConfigurationKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PatchLabels {
    configuration: ConfigurationKind,
    result: PatchResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: RotationStep,
}

/// The result of one apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PatchResult {
    Applied,
    Failed,
}

impl CertificateMetrics {
    /// Registers the metrics. Counters start at zero, so that a rate includes the first increment. A configuration has no
    /// series until it was read.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for configuration in ConfigurationKind::ALL {
            for result in [PatchResult::Applied, PatchResult::Failed] {
                drop(metrics.bundle_patches.get_or_create(&PatchLabels { configuration, result }));
            }
        }
        for step in RotationStep::ALL {
            drop(metrics.rotation_steps.get_or_create(&StepLabels { step }));
        }
        let registry = registry.sub_registry_with_prefix("certificate");
        registry.register(
            "ca_expiration_timestamp_seconds",
            "When the CA that signs expires, in seconds since 1970; 0 with certificate files, or if there is none yet",
            metrics.ca_not_after.clone(),
        );
        registry.register(
            "serving_expiration_timestamp_seconds",
            "When the serving certificate expires, in seconds since 1970; 0 if there is none yet",
            metrics.serving_not_after.clone(),
        );
        registry.register(
            "rotation_steps",
            "Steps of CA rotations that this process took, by step",
            metrics.rotation_steps.clone(),
        );
        registry.register(
            "ca_bundle_in_sync",
            "Whether the configuration had SnapWatcher's CA bundle when it was read last, by configuration",
            metrics.bundle_in_sync.clone(),
        );
        registry.register(
            "ca_bundle_patches",
            "Attempts to write the CA bundle into a configuration, by configuration and result",
            metrics.bundle_patches.clone(),
        );
        metrics
    }

    /// Records the state of a configuration.
    pub fn bundle_state(&self, configuration: ConfigurationKind, state: &BundleState) {
        self.bundle_in_sync
            .get_or_create(&ConfigurationLabels { configuration })
            .set(i64::from(matches!(state, BundleState::InSync(_))));
    }

    pub(super) fn ca_expires(&self, at: Timestamp) {
        self.ca_not_after.set(at.as_second());
    }

    pub(super) fn serving_certificate_expires(&self, at: Timestamp) {
        self.serving_not_after.set(at.as_second());
    }

    pub(super) fn rotation_step_taken(&self, step: RotationStep) {
        self.rotation_steps.get_or_create(&StepLabels { step }).inc();
    }

    pub(super) fn bundle_patched(&self, configuration: ConfigurationKind, result: PatchResult) {
        self.bundle_patches.get_or_create(&PatchLabels { configuration, result }).inc();
    }
}

impl EncodeLabelValue for ConfigurationKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for RotationStep {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for PatchResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle_status::ConfigurationTrust;

    #[test]
    fn there_are_thirteen_series() {
        let mut registry = Registry::default();
        let metrics = CertificateMetrics::register(&mut registry);
        for kind in ConfigurationKind::ALL {
            metrics.bundle_state(
                kind,
                &BundleState::InSync(ConfigurationTrust {
                    ca_bundle: "PEM".into(),
                    server_names: Vec::new(),
                    generation: None,
                }),
            );
            metrics.bundle_patched(kind, PatchResult::Applied);
            metrics.bundle_patched(kind, PatchResult::Failed);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("certificate_ca_bundle_in_sync{configuration=\"mutating\"} 1\n"), "{text}");
        assert!(
            text.contains("certificate_ca_bundle_patches_total{configuration=\"validating\",result=\"failed\"} 1\n")
        );
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 13, "{text}");
    }
}
