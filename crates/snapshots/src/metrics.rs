//! Metrics of Snapshots, below `snapwatcher_snapshot_`.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use snapwatcher_api::snapshot::SnapshotPhase;
use snapwatcher_daemon::telemetry::metrics::{counter, family, gauge};

use crate::plan::NotSaved;
use crate::retention_choice::Cause;

/// Cloning gives another handle to the same values.
#[derive(Clone)]
pub struct SnapshotMetrics {
    phases: Family<PhaseLabels, Gauge>,
    bytes: Gauge,
    stored_bytes: Gauge,
    created: Counter,
    not_saved: Family<NotSavedLabels, Counter>,
    judged: Family<JudgedLabels, Counter>,
    deleted: Family<DeletedLabels, Counter>,
    deleted_manifests: Counter,
    created_keys: Counter,
    failures: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: PhaseLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PhaseLabel(SnapshotPhase);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NotSavedLabels {
    reason: NotSaved,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JudgedLabels {
    phase: PhaseLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeletedLabels {
    cause: Cause,
}

/// All phases.
pub(crate) const PHASES: [SnapshotPhase; 5] = [
    SnapshotPhase::Pending,
    SnapshotPhase::Local,
    SnapshotPhase::Saved,
    SnapshotPhase::Rejected,
    SnapshotPhase::Expired,
];
/// Those that a judgement ends in.
const JUDGED: [SnapshotPhase; 3] = [SnapshotPhase::Local, SnapshotPhase::Saved, SnapshotPhase::Rejected];

impl EncodeLabelValue for PhaseLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.0.as_str())
    }
}

impl EncodeLabelValue for NotSaved {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl SnapshotMetrics {
    /// Registers the metrics, with all series at zero so that a rate includes the first event.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("snapshot");
        let phases = PHASES.map(|phase| PhaseLabels { phase: PhaseLabel(phase) });
        let judged = JUDGED.map(|phase| JudgedLabels { phase: PhaseLabel(phase) });
        let reasons = NotSaved::ALL.map(|reason| NotSavedLabels { reason });
        let causes = Cause::ALL.map(|cause| DeletedLabels { cause });
        Self {
            phases: family(registry, "objects", "Snapshots that exist, by phase, as the leader sees them", phases),
            bytes: gauge(registry, "archive_bytes", "Bytes of the archives of all Snapshots before compression"),
            stored_bytes: gauge(registry, "stored_bytes", "Bytes of all Snapshots in the registry"),
            created: counter(registry, "created", "Snapshots that were created"),
            not_saved: family(registry, "not_saved", "Checkpoints of which no Snapshot was made, by reason", reasons),
            judged: family(registry, "judged", "Snapshots that were judged, by the phase after it", judged),
            deleted: family(registry, "deleted", "Snapshots that were deleted, by cause", causes),
            deleted_manifests: counter(
                registry,
                "orphaned_manifests_deleted",
                "Manifests in the registry that belonged to no Snapshot and were deleted",
            ),
            created_keys: counter(registry, "keys_created", "Keys of namespaces that were created"),
            failures: counter(registry, "failures", "Failed steps of work on a Snapshot or Checkpoint, each retried"),
        }
    }

    /// How many Snapshots are in each phase of [`PHASES`], and the bytes of all.
    pub(crate) fn seen(&self, phases: [i64; PHASES.len()], bytes: i64, stored_bytes: i64) {
        for (phase, count) in PHASES.into_iter().zip(phases) {
            self.phases.get_or_create(&PhaseLabels { phase: PhaseLabel(phase) }).set(count);
        }
        self.bytes.set(bytes);
        self.stored_bytes.set(stored_bytes);
    }

    pub(crate) fn created(&self) {
        self.created.inc();
    }

    pub(crate) fn not_saved(&self, reason: NotSaved) {
        self.not_saved.get_or_create(&NotSavedLabels { reason }).inc();
    }

    pub(crate) fn judged(&self, phase: SnapshotPhase) {
        if JUDGED.contains(&phase) {
            self.judged.get_or_create(&JudgedLabels { phase: PhaseLabel(phase) }).inc();
        }
    }

    pub(crate) fn deleted(&self, cause: Cause) {
        self.deleted.get_or_create(&DeletedLabels { cause }).inc();
    }

    pub(crate) fn manifest_deleted(&self) {
        self.deleted_manifests.inc();
    }

    pub(crate) fn key_created(&self) {
        self.created_keys.inc();
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_daemon::telemetry::metrics::{registry, render};

    use super::*;

    #[test]
    fn every_series_exists_from_the_start() {
        let mut registry = registry();
        let metrics = SnapshotMetrics::register(&mut registry);
        metrics.seen([1, 0, 2, 0, 0], 7, 3);
        metrics.judged(SnapshotPhase::Pending);
        let text = render(&registry).unwrap();
        for line in [
            "snapwatcher_snapshot_objects{phase=\"Saved\"} 2",
            "snapwatcher_snapshot_objects{phase=\"Local\"} 0",
            "snapwatcher_snapshot_stored_bytes 3",
            "snapwatcher_snapshot_created_total 0",
            "snapwatcher_snapshot_not_saved_total{reason=\"PodGone\"} 0",
            "snapwatcher_snapshot_judged_total{phase=\"Rejected\"} 0",
            "snapwatcher_snapshot_deleted_total{cause=\"unused\"} 0",
            "snapwatcher_snapshot_keys_created_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
