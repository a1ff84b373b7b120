//! A limit on the memory of one process, as a container has it: a control group of its own. It needs root on Linux.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file of the limit and that of the peak, of both versions of control groups.
const FILES: [(&str, &str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    ("/sys/fs/cgroup", "memory.max", "memory.peak"),
];

/// The limit. The kernel kills the process if it needs more.
///
/// Dropping it removes the group, if the process has ended.
#[derive(Debug)]
pub struct MemoryLimit {
    folder: PathBuf,
    peak: &'static str,
}

impl MemoryLimit {
    /// Limits a process that runs. What it used before does not count.
    pub fn apply(pid: u32, bytes: u64) -> io::Result<Self> {
        let is_here = |(root, limit, _): &(&str, &str, &str)| {
            // In version 2 the root has no limit itself, but its controllers are listed.
            let root = Path::new(root);
            root.join(limit).exists()
                || fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|all| all.contains("memory"))
        };
        let (root, limit, peak) =
            FILES.into_iter().find(is_here).ok_or_else(|| io::Error::other("no control groups limit memory here"))?;
        let folder = Path::new(root).join(format!("snapwatcher-limit-{pid}"));
        fs::create_dir(&folder)?;
        let group = Self { folder, peak };
        fs::write(group.folder.join(limit), bytes.to_string())?;
        fs::write(group.folder.join("cgroup.procs"), pid.to_string())?;
        Ok(group)
    }

    /// The largest memory that the process has had, in bytes, with the files that the kernel caches for it.
    pub fn peak(&self) -> io::Result<u64> {
        fs::read_to_string(self.folder.join(self.peak))?.trim().parse().map_err(io::Error::other)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // The group is busy while the process runs. An empty group that is left costs nothing.
        drop(fs::remove_dir(&self.folder));
    }
}
