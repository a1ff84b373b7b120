//! Why an archive could not be opened, was not what it has to be, or could not be removed.

use std::io;
use std::path::Path;

/// What was wrong with which archive.
#[derive(Debug, thiserror::Error)]
#[error("could not use the checkpoint archive `{path}`")]
pub struct OpenError {
    /// With control characters escaped.
    pub path: String,
    #[source]
    pub fault: OpenFault,
}

impl OpenError {
    pub(crate) fn new(directory: &Path, name: &str, fault: OpenFault) -> Self {
        Self { path: directory.join(name).to_string_lossy().escape_debug().to_string(), fault }
    }
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    #[error("its name is not that of one entry of a folder")]
    Name,
    #[error("its folder cannot be opened")]
    Folder(#[source] io::Error),
    #[error("its folder is a symbolic link or no folder; give the real path")]
    FolderIsNone,
    #[error("its folder belongs to user {found}, expected is {expected}")]
    FolderOwner { found: u32, expected: u32 },
    #[error("its folder has mode {0:04o}: remove the right of others to write")]
    FolderMode(u32),
    #[error("it does not exist")]
    Missing,
    #[error("it is a symbolic link")]
    Link,
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    #[error("it is a {0}, no regular file")]
    Kind(&'static str),
    #[error("it has {0} hard links, expected is 1")]
    HardLinks(u64),
    #[error("it belongs to user {found}, expected is {expected}")]
    Owner { found: u32, expected: u32 },
    #[error("it has mode {0:04o}: others can write to it")]
    Mode(u32),
    #[error("it has {size} bytes, allowed are {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("it was changed since it was opened")]
    Changed,
    #[error("its name is now that of another file")]
    Replaced,
    #[error("it cannot be deleted")]
    Delete(#[source] io::Error),
}
