//! The folder into which an archive is unpacked.
//!
//! Files are created one below the other by descriptors of their folders, never by a path, so nothing that is put into the
//! folder meanwhile leads to another place. A file that exists is an error. Folders have mode 0700 and files 0600: they contain
//! the memory of processes. Owners, times and attributes of the archive are not kept, because CRIU does not need them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::names::{FileName, is_component};
use crate::sink::Sink;

/// What could not be done with which folder.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} the folder `{name}` of the node store: check its disk")]
pub struct FolderError {
    pub operation: &'static str,
    pub name: String,
    pub source: io::Error,
}

impl FolderError {
    pub(crate) fn new(operation: &'static str, name: &str, source: io::Error) -> Self {
        Self { operation, name: name.escape_debug().to_string(), source }
    }
}

/// A folder that is being filled. Until [`Self::finish`], its content may be lost with the power.
#[derive(Debug)]
pub struct Folder {
    name: String,
    directory: OwnedFd,
    /// The folder of CRIU's images, once it exists.
    images: Option<OwnedFd>,
    /// The file that is being written.
    current: Option<File>,
    /// Whether it is an image, and its name.
    written: Vec<(bool, Box<str>)>,
}

impl Folder {
    /// Creates a folder in another one. The name is one component of a path, and does not exist.
    pub fn create(parent: impl AsFd, name: &str) -> Result<Self, FolderError> {
        let directory = component(name).and_then(|name| create_folder(&parent, name));
        let directory = directory.map_err(|source| FolderError::new("create", name, source))?;
        Ok(Self { name: name.to_owned(), directory, images: None, current: None, written: Vec::new() })
    }

    /// Waits until all files and their names are on the disk. The name of the folder itself is not: the caller gives it a name
    /// that stays, and syncs the parent.
    pub fn finish(self) -> Result<(), FolderError> {
        self.sync().map_err(|source| FolderError::new("write", &self.name, source))
    }

    /// Files are opened again, because an archive may have more of them than a process may have open.
    fn sync(&self) -> io::Result<()> {
        for (is_image, name) in &self.written {
            let file = rustix::fs::openat(self.of(*is_image)?, &**name, READ, Mode::empty())?;
            rustix::fs::fsync(file)?;
        }
        if let Some(images) = &self.images {
            rustix::fs::fsync(images)?;
        }
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    fn of(&self, is_image: bool) -> io::Result<&OwnedFd> {
        let directory = if is_image { self.images.as_ref() } else { Some(&self.directory) };
        directory.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Sink for Folder {
    fn folder(&mut self) -> io::Result<()> {
        self.images = Some(create_folder(&self.directory, FileName::FOLDER)?);
        Ok(())
    }

    fn begin(&mut self, name: FileName<'_>, _: u64) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.of(name.is_image())?, name.last(), flags, Mode::RUSR | Mode::WUSR)?;
        self.written.push((name.is_image(), name.last().into()));
        self.current = Some(file.into());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some(file) => file.write_all(bytes),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.current = None;
        Ok(())
    }
}

/// Only to wait for the disk.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn create_folder(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
    Ok(rustix::fs::openat(&parent, name, READ | OFlags::DIRECTORY, Mode::empty())?)
}

fn component(name: &str) -> io::Result<&str> {
    if is_component(name) { Ok(name) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
