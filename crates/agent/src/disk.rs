//! The disk of the node store.

use std::io;
use std::path::Path;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// What a program without privileges may still write.
    pub(crate) free: u64,
    pub(crate) total: u64,
}

impl Disk {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        let block = found.f_frsize;
        Ok(Self { free: found.f_bavail.saturating_mul(block), total: found.f_blocks.saturating_mul(block) })
    }

    /// That many percent of the disk, in bytes.
    pub(crate) fn percent(self, percent: u8) -> u64 {
        self.total / 100 * u64::from(percent)
    }
}
