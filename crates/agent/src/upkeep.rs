//! Looks after the node store: deletes copies when the disk is full, and what is left of Snapshots that are gone.

use kube::ResourceExt as _;

use snapwatcher_daemon::telemetry::error_chain;

use crate::disk::Disk;
use crate::journal::Entry;
use crate::make_room::excess;
use crate::save_error::SaveError;
use crate::shared::Shared;

/// One look at the disk.
pub(crate) async fn upkeep(shared: &Shared) -> Result<(), SaveError> {
    match shared.access.has_disk_pressure().await {
        Ok(has_pressure) => shared.set_disk_pressure(has_pressure),
        // The last answer counts until the API server responds again.
        Err(error) => {
            if shared.may_warn("", "disk pressure") {
                tracing::warn!("Whether the node has DiskPressure is not known: {}", error_chain(&error));
            }
        }
    }
    let disk = Disk::of(shared.store.folder.root())?;
    for snapshot in excess(&shared.copies(), disk, shared.limits(), shared.has_disk_pressure()) {
        shared.evict(snapshot)?;
    }
    forget_deleted(shared).await?;
    let copies = shared.copies();
    shared.metrics.store(copies.len(), copies.iter().map(|copy| copy.bytes).sum(), disk.free);
    Ok(())
}

/// Deletes what the node has of Snapshots that do not exist any more, their archives too.
async fn forget_deleted(shared: &Shared) -> Result<(), SaveError> {
    let gone: Vec<Entry> = {
        let known = shared.known();
        let entries = shared.store.entries().into_iter();
        if known.is_complete() { entries.filter(|entry| !known.contains(entry.snapshot)).collect() } else { Vec::new() }
    };
    for entry in gone {
        // The watch may be behind, and what is deleted is not read again.
        let found = shared.access.read_snapshot(&entry.namespace, &entry.name).await?;
        if found.is_some_and(|found| found.uid().as_deref() == Some(&entry.snapshot.to_string())) {
            continue;
        }
        if !entry.is_archive_removed {
            shared.remove_archive(&entry.archive, Some(entry.stamp))?;
        }
        shared.store.forget(entry.snapshot)?;
        let Entry { namespace, name, .. } = entry;
        tracing::info!(
            namespace,
            snapshot = name,
            "Snapshot `{namespace}/{name}` was deleted, and its copy on this node too"
        );
    }
    Ok(())
}
