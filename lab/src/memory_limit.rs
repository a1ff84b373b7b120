//! A limit on the memory of a process, as that of a container: the kernel ends the process that exceeds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the group may stay busy after its process has ended.
const TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A control group with a limit. Dropping it removes the group; its process must have ended.
#[derive(Debug)]
pub struct MemoryLimit {
    folder: PathBuf,
    peak: &'static str,
}

impl MemoryLimit {
    /// Creates a group of at most so many bytes. It needs root.
    pub fn create(bytes: u64) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("snapwatcher-limit-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Version 1 of control groups has a hierarchy for memory, version 2 has one for all.
        let first = Path::new("/sys/fs/cgroup/memory");
        let (hierarchy, limit, peak) = if first.is_dir() {
            (first, "memory.limit_in_bytes", "memory.max_usage_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max", "memory.peak")
        };
        let folder = hierarchy.join(name);
        fs::create_dir(&folder)?;
        let made = Self { folder, peak };
        fs::write(made.folder.join(limit), bytes.to_string())?;
        Ok(made)
    }

    /// Moves a process into the group.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// The most bytes that the group has had.
    pub fn peak(&self) -> io::Result<u64> {
        fs::read_to_string(self.folder.join(self.peak))?.trim().parse().map_err(io::Error::other)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while fs::remove_dir(&self.folder).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
            && Instant::now() < deadline
        {
            thread::sleep(POLL);
        }
    }
}
