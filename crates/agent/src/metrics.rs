//! Metrics of the agent, below `snapwatcher_agent_`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use snapwatcher_daemon::telemetry::metrics::{counter, gauge};

/// Cloning gives another handle to the same values.
#[derive(Debug, Clone)]
pub struct AgentMetrics {
    saved: Counter,
    refused: Counter,
    failures: Counter,
    read_bytes: Counter,
    pushed_bytes: Counter,
    evicted: Counter,
    removed_archives: Counter,
    waiting: Gauge,
    copies: Gauge,
    copy_bytes: Gauge,
    free_bytes: Gauge,
    disk_pressure: Gauge,
    unknown_archives: Gauge,
    unknown_bytes: Gauge,
}

impl AgentMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| counter(registry, &format!("agent_{name}"), help);
        let saved = counter("saved", "Archives that were saved and removed from the folder of the kubelet");
        let refused = counter("refused", "Archives that were refused: broken, unsafe, or of another container");
        let failures =
            counter("failures", "Failed tries to save, to look after the node store, or to remove an archive");
        let read_bytes = counter("read_bytes", "Bytes of archives that were read to their end");
        let pushed_bytes = counter("pushed_bytes", "Bytes of blobs that the registry has stored");
        let evicted = counter("evicted_copies", "Copies that were deleted to make room");
        let removed_archives = counter("removed_archives", "Archives that were removed because they are not needed");
        let mut gauge = |name: &str, help: &str| gauge(registry, &format!("agent_{name}"), help);
        Self {
            saved,
            refused,
            failures,
            read_bytes,
            pushed_bytes,
            evicted,
            removed_archives,
            waiting: gauge("waiting", "Snapshots of this node that are not saved yet"),
            copies: gauge("copies", "Unpacked copies in the node store"),
            copy_bytes: gauge("copy_bytes", "Bytes of the unpacked copies in the node store"),
            free_bytes: gauge("free_disk_bytes", "Free bytes of the disk of the node store"),
            disk_pressure: gauge("disk_pressure", "Whether the node has the condition DiskPressure"),
            unknown_archives: gauge("unknown_archives", "Archives on the node that no Checkpoint names"),
            unknown_bytes: gauge("unknown_archive_bytes", "Bytes of the archives that no Checkpoint names"),
        }
    }

    pub(crate) fn saved(&self) {
        self.saved.inc();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.read_bytes.inc_by(bytes);
    }

    pub(crate) fn pushed(&self, bytes: u64) {
        self.pushed_bytes.inc_by(bytes);
    }

    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    pub(crate) fn archive_removed(&self) {
        self.removed_archives.inc();
    }

    pub(crate) fn waiting(&self, snapshots: usize) {
        self.waiting.set(i64::try_from(snapshots).unwrap_or(i64::MAX));
    }

    pub(crate) fn store(&self, copies: usize, bytes: u64, free: u64) {
        self.copies.set(i64::try_from(copies).unwrap_or(i64::MAX));
        self.copy_bytes.set(signed(bytes));
        self.free_bytes.set(signed(free));
    }

    pub(crate) fn disk_pressure(&self, has_pressure: bool) {
        self.disk_pressure.set(i64::from(has_pressure));
    }

    pub(crate) fn unknown_archives(&self, archives: u64, bytes: u64) {
        self.unknown_archives.set(signed(archives));
        self.unknown_bytes.set(signed(bytes));
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use snapwatcher_daemon::telemetry::metrics::{registry, render};

    use super::*;

    #[test]
    fn every_series_exists_from_the_start() {
        let mut registry = registry();
        let metrics = AgentMetrics::register(&mut registry);
        metrics.store(2, 7, 9);
        metrics.pushed(5);
        let text = render(&registry).unwrap();
        for line in [
            "snapwatcher_agent_saved_total 0",
            "snapwatcher_agent_refused_total 0",
            "snapwatcher_agent_pushed_bytes_total 5",
            "snapwatcher_agent_copies 2",
            "snapwatcher_agent_copy_bytes 7",
            "snapwatcher_agent_free_disk_bytes 9",
            "snapwatcher_agent_unknown_archives 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
