//! What all parts of the agent share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use snapwatcher_archive::{Archive, OpenError, OpenFault, Rules, Stamp};
use snapwatcher_daemon::telemetry::RepeatedMessages;
use snapwatcher_kubernetes::cluster::Cluster;
use snapwatcher_registry::{Registry, Repository};

use crate::access::Access;
use crate::disk::Disk;
use crate::journal::Entry;
use crate::known::KnownSnapshots;
use crate::make_room::{self, Limits};
use crate::metrics::AgentMetrics;
use crate::queue::Key;
use crate::save_error::SaveError;
use crate::settings::{AgentSettings, LARGEST_ARCHIVE};
use crate::state_folder::StateFolderError;
use crate::store::Store;

pub(crate) struct Shared {
    pub(crate) access: Access,
    pub(crate) settings: AgentSettings,
    pub(crate) repository: Option<Repository>,
    pub(crate) store: Store,
    pub(crate) metrics: AgentMetrics,
    /// Cancelled at the stop: an archive that is being read is left.
    pub(crate) stop: CancellationToken,
    known: Mutex<KnownSnapshots>,
    has_disk_pressure: AtomicBool,
    /// Snapshots whose copies were deleted, to be reported.
    evicted: Mutex<Vec<Key>>,
    warnings: RepeatedMessages,
}

impl Shared {
    pub(crate) fn new(
        cluster: &Cluster,
        settings: AgentSettings,
        metrics: AgentMetrics,
        stop: CancellationToken,
    ) -> Result<Self, StateFolderError> {
        Ok(Self {
            access: Access::new(cluster, &settings.node),
            repository: settings.registry.as_ref().map(Registry::base),
            store: Store::open(&settings.state_folder)?,
            known: Mutex::new(KnownSnapshots::new(settings.scopes.len())),
            settings,
            metrics,
            stop,
            has_disk_pressure: AtomicBool::new(false),
            evicted: Mutex::default(),
            warnings: RepeatedMessages::default(),
        })
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, KnownSnapshots> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_disk_pressure(&self, has_pressure: bool) {
        self.has_disk_pressure.store(has_pressure, Ordering::Relaxed);
        self.metrics.disk_pressure(has_pressure);
    }

    pub(crate) fn has_disk_pressure(&self) -> bool {
        self.has_disk_pressure.load(Ordering::Relaxed)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { budget: self.settings.store_bytes, free_percent: self.settings.free_disk_percent }
    }

    /// What an archive has to be.
    pub(crate) fn rules(&self) -> Rules {
        Rules { owner: self.settings.archive_owner, longest: LARGEST_ARCHIVE }
    }

    /// Makes room for a copy of that size. False: it can't be written.
    pub(crate) fn make_room(&self, bytes: u64) -> Result<bool, SaveError> {
        if self.has_disk_pressure() {
            return Ok(false);
        }
        let disk = Disk::of(self.store.folder.root())?;
        let copies = self.copies();
        let Some(deleted) = make_room::make_room(&copies, bytes, disk, self.limits()) else { return Ok(false) };
        for snapshot in deleted {
            self.evict(snapshot)?;
        }
        Ok(true)
    }

    /// Deletes the copy of a Snapshot, and remembers to report that.
    pub(crate) fn evict(&self, snapshot: Uuid) -> Result<(), SaveError> {
        if let Some(Entry { namespace, name, .. }) = self.store.delete_copy(snapshot)? {
            tracing::info!(
                namespace,
                snapshot = name,
                "The copy of Snapshot `{namespace}/{name}` was deleted to make room"
            );
            self.metrics.evicted();
            self.evicted_keys().push(Key { namespace, name });
        }
        Ok(())
    }

    pub(crate) fn copies(&self) -> Vec<make_room::StoredCopy> {
        let known = self.known();
        self.store.copies(|snapshot| known.is_kept(snapshot))
    }

    /// The Snapshots whose copies were deleted since the last call.
    pub(crate) fn take_evicted(&self) -> Vec<Key> {
        std::mem::take(&mut *self.evicted_keys())
    }

    fn evicted_keys(&self) -> MutexGuard<'_, Vec<Key>> {
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes an archive of the kubelet, if it still is the same file. That it is gone is no error.
    pub(crate) fn remove_archive(&self, name: &str, stamp: Option<Stamp>) -> Result<(), SaveError> {
        match Archive::open(&self.settings.checkpoints_folder, name, &self.rules()) {
            Ok(archive) if stamp.is_none_or(|stamp| archive.stamp() == stamp) => archive.remove().map(drop)?,
            // Another archive has its name: it is not ours to remove.
            Ok(_) | Err(OpenError { fault: OpenFault::Missing, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether a warning may appear: what is wrong with one Snapshot is often wrong with all of its namespace.
    pub(crate) fn may_warn(&self, namespace: &str, key: &str) -> bool {
        self.warnings.should_log(namespace, key, Instant::now())
    }
}
