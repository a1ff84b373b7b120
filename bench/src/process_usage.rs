//! What a process has used, read from /proc.

use std::fs;
use std::io;
use std::time::Duration;

/// A process that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) pid: u32,
}

impl Server {
    /// Time on a processor so far, of the threads that there are: the first number of each one's schedstat, in
    /// nanoseconds (Documentation/scheduler/sched-stats.rst of Linux).
    pub(crate) fn cpu(self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // One may just have ended.
            let Ok(statistics) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let first = statistics.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok());
            total += Duration::from_nanos(first.ok_or(io::ErrorKind::InvalidData)?);
        }
        if total.is_zero() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel keeps no schedstat of threads"));
        }
        Ok(total)
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or(io::ErrorKind::InvalidData)?;
        let kib: f64 =
            line.split_whitespace().next().and_then(|kib| kib.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(kib / 1024.0)
    }
}
