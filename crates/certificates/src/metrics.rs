//! Metrics of the bundle, under `snapwatcher_certificate_`.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::rotation::Step;
use super::status::{Keeping, Kind};

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
    configuration: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Applied {
    configuration: Kind,
    result: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    step: Step,
}

/// What became of one apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Applied,
    Failed,
}

impl CertificateMetrics {
    /// Registers the metrics. Patches start at zero, so that a rate can be taken of the first; whether a configuration
    /// is in sync can only be said of one that was looked at.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for configuration in Kind::ALL {
            for result in [Outcome::Applied, Outcome::Failed] {
                drop(metrics.patches.get_or_create(&Applied { configuration, result }));
            }
        }
        for step in Step::ALL {
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
    pub fn found(&self, configuration: Kind, keeping: &Keeping) {
        self.in_sync.get_or_create(&Of { configuration }).set(i64::from(matches!(keeping, Keeping::InSync(_))));
    }

    pub(super) fn ca_expires(&self, at: Timestamp) {
        self.ca_not_after.set(at.as_second());
    }

    pub(super) fn leaf_expires(&self, at: Timestamp) {
        self.leaf_not_after.set(at.as_second());
    }

    pub(super) fn rotated(&self, step: Step) {
        self.rotations.get_or_create(&Taken { step }).inc();
    }

    pub(super) fn patched(&self, configuration: Kind, result: Outcome) {
        self.patches.get_or_create(&Applied { configuration, result }).inc();
    }
}

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Step {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Outcome {
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
    use crate::status::Trust;

    #[test]
    fn the_series_are_thirteen() {
        let mut registry = Registry::default();
        let metrics = CertificateMetrics::register(&mut registry);
        for kind in Kind::ALL {
            metrics.found(kind, &Keeping::InSync(Trust { bundle: "PEM".into(), hosts: Vec::new(), generation: None }));
            metrics.patched(kind, Outcome::Applied);
            metrics.patched(kind, Outcome::Failed);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("certificate_bundle_in_sync{configuration=\"mutating\"} 1\n"), "{text}");
        assert!(text.contains("certificate_bundle_patches_total{configuration=\"validating\",result=\"failed\"} 1\n"));
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 13, "{text}");
    }
}
