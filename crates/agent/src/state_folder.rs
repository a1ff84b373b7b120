//! The folder of the agent on its node: `store` has the unpacked copies, `partial` what is being unpacked, `journal` a file for each
//! Snapshot that the node has worked on. All have mode 0700.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use snapwatcher_archive::FolderError;

/// The folder, with its parts open.
#[derive(Debug)]
pub(crate) struct StateFolder {
    root: PathBuf,
    /// Locked while this process runs.
    _lock: File,
    pub(crate) store: File,
    pub(crate) partial: File,
    pub(crate) journal: File,
}

/// The folder can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "could not use the folder `{path}` of --state-folder: check that it is on a disk of the node and may be written to"
)]
pub struct StateFolderError {
    pub path: String,
    pub source: io::Error,
}

impl StateFolder {
    /// Creates what does not exist, and removes what an earlier process has not finished to unpack.
    pub(crate) fn open(root: &Path) -> Result<Self, StateFolderError> {
        let failed = |source| StateFolderError { path: root.display().to_string(), source };
        let lock = created(root).map_err(failed)?;
        // Two agents would remove what the other one unpacks.
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let text = if error == Errno::WOULDBLOCK { "another agent uses it" } else { "it cannot be locked" };
            failed(io::Error::new(io::Error::from(error).kind(), text))
        })?;
        let [store, partial, journal] = ["store", "partial", "journal"].map(|name| root.join(name));
        let folder = Self {
            root: root.to_owned(),
            _lock: lock,
            store: created(&store).map_err(failed)?,
            partial: created(&partial).map_err(failed)?,
            journal: created(&journal).map_err(failed)?,
        };
        for name in names(&partial).map_err(failed)? {
            snapwatcher_archive::remove(&folder.partial, &name).map_err(|FolderError { source, .. }| failed(source))?;
        }
        Ok(folder)
    }

    /// The path, to ask for the free disk.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The names of the copies.
    pub(crate) fn copies(&self) -> io::Result<Vec<String>> {
        names(&self.root.join("store"))
    }

    /// Gives an unpacked archive its name in the store. An older copy of the same archive is replaced.
    pub(crate) fn keep(&self, partial: &str, copy: &str) -> io::Result<()> {
        snapwatcher_archive::remove(&self.store, copy).map_err(|error| error.source)?;
        rustix::fs::renameat(&self.partial, partial, &self.store, copy)?;
        rustix::fs::fsync(&self.store)?;
        Ok(())
    }

    /// Removes a copy. That it does not exist is no error.
    pub(crate) fn remove_copy(&self, copy: &str) -> Result<(), FolderError> {
        snapwatcher_archive::remove(&self.store, copy)
    }

    /// Removes what was unpacked and is not used.
    pub(crate) fn remove_partial(&self, name: &str) -> Result<(), FolderError> {
        snapwatcher_archive::remove(&self.partial, name)
    }
}

fn created(path: &Path) -> io::Result<File> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    File::open(path)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_root_can_look_into_the_folder() {
        let place = tempfile::tempdir().unwrap();
        StateFolder::open(&place.path().join("state")).unwrap();
        for name in ["store", "partial", "journal"] {
            let mode = std::fs::metadata(place.path().join("state").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{name}");
        }
    }

    #[test]
    fn what_was_not_unpacked_to_its_end_is_removed_at_the_next_start() {
        let place = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(place.path()).unwrap();
        std::fs::create_dir_all(place.path().join("partial/a/checkpoint")).unwrap();
        std::fs::create_dir(place.path().join("store/b")).unwrap();
        drop(folder);
        let folder = StateFolder::open(place.path()).unwrap();
        assert_eq!((names(&place.path().join("partial")).unwrap().len(), folder.copies().unwrap().len()), (0, 1));
    }

    #[test]
    fn a_second_agent_does_not_use_the_folder_of_the_first() {
        let place = tempfile::tempdir().unwrap();
        let first = StateFolder::open(place.path()).unwrap();
        let error = StateFolder::open(place.path()).unwrap_err();
        assert_eq!(error.source.to_string(), "another agent uses it");
        drop(first);
        StateFolder::open(place.path()).unwrap();
    }

    #[test]
    fn a_copy_replaces_an_older_one_of_the_same_name() {
        let place = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(place.path()).unwrap();
        for content in ["old", "new"] {
            std::fs::create_dir(place.path().join("partial/p")).unwrap();
            std::fs::write(place.path().join("partial/p/file"), content).unwrap();
            folder.keep("p", "c").unwrap();
        }
        assert_eq!(std::fs::read_to_string(place.path().join("store/c/file")).unwrap(), "new");
        folder.remove_copy("c").unwrap();
        folder.remove_copy("c").unwrap();
        assert!(folder.copies().unwrap().is_empty());
    }
}
