//! The node store: the journal in memory, and the copies on the disk.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::journal::{Entry, read_all};
use crate::make_room::StoredCopy;
use crate::save_error::SaveError;
use crate::state_folder::{StateFolder, StateFolderError};

/// The node store.
pub(crate) struct Store {
    pub(crate) folder: StateFolder,
    entries: Mutex<HashMap<Uuid, Entry>>,
}

impl Store {
    /// Reads the journal, and removes copies that it does not name.
    pub(crate) fn open(root: &Path) -> Result<Self, StateFolderError> {
        let folder = StateFolder::open(root)?;
        let failed = |source| StateFolderError { path: root.display().to_string(), source };
        let entries = read_all(&folder).map_err(failed)?;
        let named: HashSet<&str> =
            entries.iter().filter(|entry| entry.copy_bytes.is_some()).map(Entry::copy_name).collect();
        for copy in folder.copies().map_err(failed)? {
            if !named.contains(copy.as_str()) {
                folder.remove_copy(&copy).map_err(|error| failed(error.source))?;
            }
        }
        let entries = entries.into_iter().map(|entry| (entry.snapshot, entry)).collect();
        Ok(Self { folder, entries: Mutex::new(entries) })
    }

    pub(crate) fn entry(&self, snapshot: Uuid) -> Option<Entry> {
        self.lock().get(&snapshot).cloned()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().values().cloned().collect()
    }

    /// Writes an entry. After a failure the store has the old one.
    pub(crate) fn write(&self, entry: &Entry) -> io::Result<()> {
        entry.write(&self.folder)?;
        self.lock().insert(entry.snapshot, entry.clone());
        Ok(())
    }

    /// Deletes the copy of a Snapshot. The journal says so first: a copy that it does not name is removed at the next start.
    pub(crate) fn delete_copy(&self, snapshot: Uuid) -> Result<Option<Entry>, SaveError> {
        let Some(entry) = self.entry(snapshot).filter(|entry| entry.copy_bytes.is_some()) else { return Ok(None) };
        let entry = Entry { copy_bytes: None, ..entry };
        self.write(&entry)?;
        self.folder.remove_copy(entry.copy_name())?;
        Ok(Some(entry))
    }

    /// Deletes all that the node has of a Snapshot.
    pub(crate) fn forget(&self, snapshot: Uuid) -> Result<(), SaveError> {
        self.delete_copy(snapshot)?;
        Entry::delete(&self.folder, snapshot)?;
        self.lock().remove(&snapshot);
        Ok(())
    }

    /// The copies. `is_kept` says which Snapshots are pinned.
    pub(crate) fn copies(&self, is_kept: impl Fn(Uuid) -> bool) -> Vec<StoredCopy> {
        let entries = self.lock();
        let copies = entries.values().filter_map(|entry| {
            Some(StoredCopy {
                snapshot: entry.snapshot,
                bytes: entry.copy_bytes?,
                is_saved: entry.manifest.is_some(),
                is_kept: is_kept(entry.snapshot),
                last_used: entry.last_used,
            })
        });
        copies.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::entry;

    fn with_copies(place: &Path, entries: &[Entry]) -> Store {
        let store = Store::open(place).unwrap();
        for entry in entries {
            std::fs::create_dir(place.join("store").join(entry.copy_name())).unwrap();
            store.write(entry).unwrap();
        }
        store
    }

    #[test]
    fn a_copy_that_the_journal_does_not_name_is_removed_at_the_next_start() {
        let place = tempfile::tempdir().unwrap();
        drop(with_copies(place.path(), &[entry(1), Entry { copy_bytes: None, ..entry(2) }]));
        std::fs::create_dir(place.path().join("store/unknown")).unwrap();
        let store = Store::open(place.path()).unwrap();
        assert_eq!(store.folder.copies().unwrap(), [entry(1).copy_name()]);
        assert_eq!(store.entries().len(), 2);
    }

    #[test]
    fn a_copy_is_deleted_before_its_snapshot_is_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let store = with_copies(place.path(), &[entry(1), entry(2)]);
        let deleted = store.delete_copy(entry(1).snapshot).unwrap().unwrap();
        assert_eq!((deleted.copy_bytes, store.copies(|_| false).len()), (None, 1));
        assert_eq!(store.delete_copy(entry(1).snapshot).unwrap(), None);
        store.forget(entry(1).snapshot).unwrap();
        store.forget(entry(2).snapshot).unwrap();
        store.forget(entry(2).snapshot).unwrap();
        assert!(store.entries().is_empty() && store.folder.copies().unwrap().is_empty());
    }
}
