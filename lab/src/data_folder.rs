//! The folder of a control plane: data, logs, keys; gone when the lab ends.
//!
//! A lab that was killed can't remove its own. Each is locked as long as its lab lives, so the next lab tells one that
//! was left from one in use, and removes it: with a real node it may be large.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "snapwatcher-lab-";
const LOCK: &str = "lock";

/// A folder of one's own; removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct DataFolder {
    folder: TempDir,
    // None: it is to be kept, also by later labs. Unlocked by the kernel however this process ends.
    _lock: Option<File>,
}

impl DataFolder {
    /// Makes a folder among the temporary files and removes those that killed labs left there.
    pub(crate) fn create(keep: bool) -> io::Result<Self> {
        Self::create_in(&env::temp_dir(), keep)
    }

    /// Removes those that killed labs left among the temporary files.
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

/// Makes a lock file that nobody ever sees unlocked as long as this process lives.
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
            // What can't be removed is another user's, or is being removed by another lab.
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
