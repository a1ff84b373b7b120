//! The journal: a file for each Snapshot that this node has worked on. It says which step is next after a kill.
//!
//! A file is written completely and then gets its name, so it is the old or the new one, never a part. A file that can't be read is
//! reported and left out: the Snapshot is then worked on from its start.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use snapwatcher_archive::Stamp;
use snapwatcher_archive::requirements::Requirements;

use crate::state_folder::StateFolder;

/// The largest file, in bytes. The list of a processor's features is the longest part.
const LARGEST: u64 = 64 << 10;

/// What was done with one Snapshot. Each step adds to it, and is written before the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// The UID of the Snapshot.
    pub(crate) snapshot: Uuid,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The name of the archive in the folder of the kubelet.
    pub(crate) archive: String,
    pub(crate) stamp: Stamp,
    /// The digest of the archive, `sha256:...`.
    pub(crate) archive_digest: String,
    /// The size of the archive.
    pub(crate) bytes: u64,
    pub(crate) shape: String,
    pub(crate) requirements: Requirements,
    pub(crate) engine: String,
    /// The blob that is in the registry, or is about to be. Without a registry there is none.
    pub(crate) layer: Option<LayerEntry>,
    /// The manifest that the registry has returned, `sha256:...`.
    pub(crate) manifest: Option<String>,
    /// The bytes of the unpacked copy in the node store, while there is one.
    pub(crate) copy_bytes: Option<u64>,
    /// The archive of the kubelet was removed.
    pub(crate) is_archive_removed: bool,
    pub(crate) last_used: Timestamp,
}

/// A blob in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerEntry {
    /// `sha256:...`
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

impl Entry {
    /// The name of the copy in the node store: the digits of the archive's digest.
    pub(crate) fn copy_name(&self) -> &str {
        self.archive_digest.strip_prefix("sha256:").unwrap_or(&self.archive_digest)
    }

    fn file_name(snapshot: Uuid) -> String {
        format!("{snapshot}.json")
    }

    /// Writes the file, and waits until it is on the disk.
    pub(crate) fn write(&self, folder: &StateFolder) -> io::Result<()> {
        let name = Self::file_name(self.snapshot);
        let temporary = format!("{name}.new");
        let path = folder.journal_path().join(&temporary);
        let mut file = File::create(&path)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        rustix::fs::renameat(&folder.journal, &temporary, &folder.journal, &name)?;
        folder.journal.sync_all()
    }

    /// Deletes the file. That it does not exist is no error.
    pub(crate) fn delete(folder: &StateFolder, snapshot: Uuid) -> io::Result<()> {
        match std::fs::remove_file(folder.journal_path().join(Self::file_name(snapshot))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => folder.journal.sync_all(),
        }
    }
}

/// Reads all files.
pub(crate) fn read_all(folder: &StateFolder) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(folder.journal_path())? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            // What a kill has left of a write.
            std::fs::remove_file(&path)?;
            continue;
        }
        match read(&path) {
            Ok(entry) => entries.push(entry),
            Err(error) => tracing::warn!(
                "The journal `{}` of the node store cannot be read and is left out, delete it: {error}",
                path.display()
            ),
        }
    }
    Ok(entries)
}

fn read(path: &Path) -> io::Result<Entry> {
    let mut json = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut json)?;
    let entry: Entry = serde_json::from_slice(&json)?;
    let is_named = path.file_name().is_some_and(|name| *name == *Entry::file_name(entry.snapshot));
    if is_named { Ok(entry) } else { Err(io::Error::other("it is that of another Snapshot")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(number: u128) -> Entry {
        Entry {
            snapshot: Uuid::from_u128(number),
            namespace: "shop".to_owned(),
            name: "web-app-1".to_owned(),
            archive: "checkpoint-web.tar".to_owned(),
            stamp: Stamp { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) },
            archive_digest: format!("sha256:{number:064}"),
            bytes: 100,
            shape: "0".repeat(64),
            requirements: Requirements::default(),
            engine: "containerd".to_owned(),
            layer: None,
            manifest: None,
            copy_bytes: Some(100),
            is_archive_removed: false,
            last_used: Timestamp::UNIX_EPOCH,
        }
    }

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn what_was_written_is_read_at_the_next_start() {
        let (_place, folder) = folder();
        entry(1).write(&folder).unwrap();
        let changed = Entry { manifest: Some("sha256:1".to_owned()), ..entry(1) };
        changed.write(&folder).unwrap();
        entry(2).write(&folder).unwrap();
        let mut found = read_all(&folder).unwrap();
        found.sort_by_key(|entry| entry.snapshot);
        assert_eq!(found, [changed, entry(2)]);
        Entry::delete(&folder, entry(2).snapshot).unwrap();
        Entry::delete(&folder, entry(2).snapshot).unwrap();
        assert_eq!(read_all(&folder).unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_is_broken_or_half_written_is_left_out() {
        let (place, folder) = folder();
        entry(1).write(&folder).unwrap();
        let journal = place.path().join("journal");
        for (name, content) in [
            (format!("{}.json", Uuid::from_u128(2)), "{".to_owned()),
            (format!("{}.json", Uuid::from_u128(3)), serde_json::to_string(&entry(1)).unwrap()),
            (format!("{}.json", Uuid::from_u128(4)), " ".repeat(1 << 17)),
            (format!("{}.json.new", Uuid::from_u128(5)), "{".to_owned()),
        ] {
            std::fs::write(journal.join(name), content).unwrap();
        }
        assert_eq!(read_all(&folder).unwrap(), [entry(1)]);
        assert_eq!(std::fs::read_dir(journal).unwrap().count(), 4, "the half written one is removed");
    }
}
