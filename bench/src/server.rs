//! What a process has used, read from /proc.

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// A process that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) pid: u32,
}

impl Server {
    /// Time on a processor so far, in user and system mode, see proc_pid_stat(5).
    pub(crate) fn cpu(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name stands in parentheses and may hold spaces; utime and stime are the 12th and 13th after it.
        let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
        Ok(Duration::from_millis(ticks * 1000 / second))
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
