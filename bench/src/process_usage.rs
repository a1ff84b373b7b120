//! The CPU time and memory of a process, read from /proc.

use std::fs;
use std::io;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessUsage {
    pub(crate) pid: u32,
}

impl ProcessUsage {
    /// The CPU time of all live threads: the first number of each thread's schedstat, in nanoseconds
    /// (Documentation/scheduler/sched-stats.rst of Linux).
    pub(crate) fn cpu_time(self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // The thread may have ended since the folder was read.
            let Ok(statistics) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let first = statistics.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok());
            total += Duration::from_nanos(first.ok_or(io::ErrorKind::InvalidData)?);
        }
        if total.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no schedstat of threads (CONFIG_SCHED_INFO)",
            ));
        }
        Ok(total)
    }

    /// Resident memory.
    pub(crate) fn memory_mib(self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or(io::ErrorKind::InvalidData)?;
        let kib: f64 =
            line.split_whitespace().next().and_then(|kib| kib.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(kib / 1024.0)
    }
}
