//! The temporary folder of a control plane: data, logs and keys.
//!
//! A lab removes its folder at its end. A lab that was killed cannot, so the next lab does. Each lab holds a lock on
//! its folder, which shows whether the folder is still in use.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "snapwatcher-lab-";
const LOCK: &str = "lock";

/// A temporary folder. Dropping it removes the folder, unless it is kept.
#[derive(Debug)]
pub(crate) struct DataFolder {
    folder: TempDir,
    // None: the folder is kept, also by later labs. The kernel releases the lock if this process is killed.
    _lock: Option<File>,
}

impl DataFolder {
    /// Creates a folder, and removes the folders of labs that were killed.
    pub(crate) fn create(keep: bool) -> io::Result<Self> {
        Self::create_in(&env::temp_dir(), keep)
    }

    /// Removes the folders of labs that were killed.
    pub(crate) fn sweep() {
        sweep(&env::temp_dir());
    }

    fn create_in(parent: &Path, keep: bool) -> io::Result<Self> {
        sweep(parent);
        let mut folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        folder.disable_cleanup(keep);
        let lock = if keep { None } else { Some(locked(folder.path())?) };
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Creates a lock file that is already locked when it gets its name.
fn locked(folder: &Path) -> io::Result<File> {
    let unseen = folder.join("lock.new");
    let file = File::create(&unseen)?;
    file.lock()?;
    fs::rename(unseen, folder.join(LOCK))?;
    Ok(file)
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            // Fails if the folder belongs to another user, or if another lab removes it at the same time.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_lab_left_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("node/upper")).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let foreign = parent.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();
        let folder = DataFolder::create_in(parent.path(), false).unwrap();
        assert!(!left.exists() && foreign.exists() && folder.path().exists());
    }

    #[test]
    fn one_in_use_and_one_that_is_kept_stay() {
        let parent = tempfile::tempdir().unwrap();
        let used = DataFolder::create_in(parent.path(), false).unwrap();
        let kept = DataFolder::create_in(parent.path(), true).unwrap().path().to_owned();
        drop(DataFolder::create_in(parent.path(), false).unwrap());
        assert!(used.path().exists() && kept.exists());
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }
}
