//! A limit on the memory of one process, as a container has it: a control group of its own. It needs root on Linux.

use std::fs;
use std::io;

use crate::node::MemoryGroup;

/// The file of the limit and that of the peak, of both versions of control groups.
const FILES: [(&str, &str); 2] =
    [("memory.limit_in_bytes", "memory.max_usage_in_bytes"), ("memory.max", "memory.peak")];

/// The limit. The kernel kills the process if it needs more.
///
/// Drop it after the process has ended: a group is busy before.
#[derive(Debug)]
pub struct MemoryLimit {
    group: MemoryGroup,
    peak: &'static str,
}

impl MemoryLimit {
    /// Limits a process that runs. What it used before does not count.
    pub fn apply(pid: u32, bytes: u64) -> io::Result<Self> {
        let group = MemoryGroup::create()?;
        let is_here = |(limit, _): &(&str, &str)| group.folder().join(limit).exists();
        let (limit, peak) =
            FILES.into_iter().find(is_here).ok_or_else(|| io::Error::other("no control groups limit memory here"))?;
        fs::write(group.folder().join(limit), bytes.to_string())?;
        fs::write(group.folder().join("cgroup.procs"), pid.to_string())?;
        Ok(Self { group, peak })
    }

    /// The largest memory that the process has had, in bytes, with the files that the kernel caches for it.
    pub fn peak(&self) -> io::Result<u64> {
        fs::read_to_string(self.group.folder().join(self.peak))?.trim().parse().map_err(io::Error::other)
    }
}
