//! Metrics of the bundle, under `snapwatcher_certificate_`.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::bundle_status::{BundleState, ConfigurationKind};
use super::rotation::RotationStep;

/// Counts what becomes of the bundle. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics {
    in_sync: Family<Of, Gauge>,
    patches: Family<Applied, Counter>,
    ca_not_after: Gauge,
    leaf_not_after: Gauge,
    rotations: Family<Taken, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    configuration: ConfigurationKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Applied {
    configuration: ConfigurationKind,
    result: PatchResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    step: RotationStep,
}

/// What became of one apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PatchResult {
    Applied,
    Failed,
}

impl CertificateMetrics {
    /// Registers the metrics. Patches start at zero, so that a rate can be taken of the first; whether a configuration
    /// is in sync can only be said of one that was looked at.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for configuration in ConfigurationKind::ALL {
            for result in [PatchResult::Applied, PatchResult::Failed] {
                drop(metrics.patches.get_or_create(&Applied { configuration, result }));
            }
        }
        for step in RotationStep::ALL {
            drop(metrics.rotations.get_or_create(&Taken { step }));
        }
        let registry = registry.sub_registry_with_prefix("certificate");
        registry.register(
            "ca_expiration_timestamp_seconds",
            "When the CA that signs expires, in seconds since 1970; 0: a certificate from files, or none yet",
            metrics.ca_not_after.clone(),
        );
        registry.register(
            "serving_expiration_timestamp_seconds",
            "When the certificate that is served expires, in seconds since 1970; 0: there is none yet",
            metrics.leaf_not_after.clone(),
        );
        registry.register(
            "rotation_steps",
            "Steps of a rotation of the CA that this process took, by step",
            metrics.rotations.clone(),
        );
        registry.register(
            "ca_bundle_in_sync",
            "Whether the configuration was last read with our CA bundle in it, by configuration",
            metrics.in_sync.clone(),
        );
        registry.register(
            "ca_bundle_patches",
            "AttemptScheduler to put our CA bundle into a configuration, by configuration and result",
            metrics.patches.clone(),
        );
        metrics
    }

    /// Tells what was found in a configuration.
    pub fn found(&self, configuration: ConfigurationKind, keeping: &BundleState) {
        self.in_sync.get_or_create(&Of { configuration }).set(i64::from(matches!(keeping, BundleState::InSync(_))));
    }

    pub(super) fn ca_expires(&self, at: Timestamp) {
        self.ca_not_after.set(at.as_second());
    }

    pub(super) fn leaf_expires(&self, at: Timestamp) {
        self.leaf_not_after.set(at.as_second());
    }

    pub(super) fn rotated(&self, step: RotationStep) {
        self.rotations.get_or_create(&Taken { step }).inc();
    }

    pub(super) fn patched(&self, configuration: ConfigurationKind, result: PatchResult) {
        self.patches.get_or_create(&Applied { configuration, result }).inc();
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
    fn the_series_are_thirteen() {
        let mut registry = Registry::default();
        let metrics = CertificateMetrics::register(&mut registry);
        for kind in ConfigurationKind::ALL {
            metrics.found(
                kind,
                &BundleState::InSync(ConfigurationTrust { bundle: "PEM".into(), hosts: Vec::new(), generation: None }),
            );
            metrics.patched(kind, PatchResult::Applied);
            metrics.patched(kind, PatchResult::Failed);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("certificate_bundle_in_sync{configuration=\"mutating\"} 1\n"), "{text}");
        assert!(text.contains("certificate_bundle_patches_total{configuration=\"validating\",result=\"failed\"} 1\n"));
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 13, "{text}");
    }
}
