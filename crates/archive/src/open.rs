//! Opens the archive of a kubelet, and removes it.
//!
//! A kubelet writes archives into one folder of its own (`/var/lib/kubelet/checkpoints`, mode 0700), as root, with mode 0600. What is
//! not like that is refused, because another program than the runtime may have written it. Neither a link nor a name can lead
//! out of the folder: `openat2` refuses both (Linux 5.6, `openat2(2)`).

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::names::is_component;
use crate::open_error::{OpenError, OpenFault};

/// The right of group and others to write.
const WRITABLE: u32 = 0o022;

/// What an archive has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The user to whom the folder and the archive belong. The container runtime runs as user 0.
    pub owner: u32,
    /// The largest archive in bytes.
    pub longest: u64,
}

/// Which file, with which content: it changes whenever the file is written to.
///
/// A caller that stores it can remove the same file after a restart, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// Of the content, the owner, the mode or the links.
    pub changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// What [`Archive::remove`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// There was no file of that name.
    WasGone,
}

/// An open archive that is what [`Rules`] require.
#[derive(Debug)]
pub struct Archive {
    path: (PathBuf, String),
    directory: File,
    file: File,
    stamp: Stamp,
}

impl Archive {
    /// Opens the file of that name in the folder.
    pub fn open(folder: &Path, name: &str, rules: &Rules) -> Result<Self, OpenError> {
        Self::try_open(folder, name, rules).map_err(|fault| OpenError::new(folder, name, fault))
    }

    fn try_open(folder: &Path, name: &str, rules: &Rules) -> Result<Self, OpenFault> {
        if !is_component(name) {
            return Err(OpenFault::Name);
        }
        let directory = open_folder(folder, rules)?;
        let file = open_beneath(&directory, name)?;
        let metadata = file.metadata().map_err(OpenFault::Open)?;
        check(&metadata, rules)?;
        Ok(Self { path: (folder.to_owned(), name.to_owned()), directory, file, stamp: Stamp::of(&metadata) })
    }

    /// Bytes, when it was opened.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The content, from where the last read ended.
    pub fn reader(&self) -> &File {
        &self.file
    }

    /// Whether the file was written to since it was opened.
    pub fn verify_unchanged(&self) -> Result<(), OpenError> {
        let metadata = self.file.metadata().map_err(|error| self.error(OpenFault::Open(error)))?;
        if Stamp::of(&metadata) == self.stamp { Ok(()) } else { Err(self.error(OpenFault::Changed)) }
    }

    /// Deletes the archive, if its name still is that of this file with this content.
    ///
    /// Linux can't do both in one step. A program that replaces the file between them would have to be allowed to write to the
    /// folder, so to be the owner.
    pub fn remove(self) -> Result<Removal, OpenError> {
        self.try_remove().map_err(|fault| self.error(fault))
    }

    fn try_remove(&self) -> Result<Removal, OpenFault> {
        let name = self.path.1.as_str();
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let found = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Removal::WasGone),
            Err(error) => return Err(OpenFault::Open(error.into())),
            Ok(found) => File::from(found).metadata().map_err(OpenFault::Open)?,
        };
        let found = Stamp::of(&found);
        if !found.is_same_file(self.stamp) {
            return Err(OpenFault::Replaced);
        }
        if found != self.stamp {
            return Err(OpenFault::Changed);
        }
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) => Ok(Removal::Removed),
            Err(Errno::NOENT) => Ok(Removal::WasGone),
            Err(error) => Err(OpenFault::Delete(error.into())),
        }
    }

    fn error(&self, fault: OpenFault) -> OpenError {
        OpenError::new(&self.path.0, &self.path.1, fault)
    }
}

fn open_folder(folder: &Path, rules: &Rules) -> Result<File, OpenFault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => OpenFault::FolderIsNone,
        _ => OpenFault::Folder(error.into()),
    })?;
    let directory = File::from(directory);
    let metadata = directory.metadata().map_err(OpenFault::Folder)?;
    let (found, expected) = (metadata.uid(), rules.owner);
    if found != expected {
        return Err(OpenFault::FolderOwner { found, expected });
    }
    if metadata.mode() & WRITABLE != 0 {
        return Err(OpenFault::FolderMode(metadata.mode() & 0o7777));
    }
    Ok(directory)
}

fn open_beneath(directory: &File, name: &str) -> Result<File, OpenFault> {
    // Without NONBLOCK, a FIFO would wait for a program that writes to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(directory, name, flags, Mode::empty(), beneath);
    Ok(File::from(file.map_err(|error| match error {
        Errno::NOENT => OpenFault::Missing,
        Errno::LOOP => OpenFault::Link,
        // What Linux says when a socket is opened.
        Errno::NXIO => OpenFault::Kind("socket"),
        _ => OpenFault::Open(error.into()),
    })?))
}

fn check(file: &Metadata, rules: &Rules) -> Result<(), OpenFault> {
    let kind = file.file_type();
    if !kind.is_file() {
        return Err(OpenFault::Kind(match kind {
            _ if kind.is_dir() => "folder",
            _ if kind.is_fifo() => "FIFO",
            _ if kind.is_char_device() || kind.is_block_device() => "device",
            _ => "special file",
        }));
    }
    if file.nlink() != 1 {
        return Err(OpenFault::HardLinks(file.nlink()));
    }
    if file.uid() != rules.owner {
        return Err(OpenFault::Owner { found: file.uid(), expected: rules.owner });
    }
    if file.mode() & WRITABLE != 0 {
        return Err(OpenFault::Mode(file.mode() & 0o7777));
    }
    if file.size() > rules.longest {
        return Err(OpenFault::TooLarge { size: file.size(), limit: rules.longest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such names are refused before. This is the second guard.
    #[test]
    fn linux_refuses_a_name_that_leads_out_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("checkpoints");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
        let directory = File::open(&folder).unwrap();
        for name in ["../file", "/etc/passwd", "up/file", "./../file"] {
            assert!(open_beneath(&directory, name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = named.as_file().metadata().unwrap();
        let (found, expected) = (file.uid(), file.uid() + 1);
        let result = check(&file, &Rules { owner: expected, longest: 0 });
        assert!(matches!(result, Err(OpenFault::Owner { found: a, expected: b }) if (a, b) == (found, expected)));
        assert!(check(&file, &Rules { owner: found, longest: 0 }).is_ok());
    }
}
