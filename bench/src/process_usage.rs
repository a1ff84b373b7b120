//! The CPU time and memory of a process, read from /proc.

use std::fs;
use std::io;
use std::time::Duration;

/// The length of the ticks in /proc/PID/stat: USER_HZ is 100 on all of Linux's common architectures (`proc(5)`).
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessUsage {
    pub(crate) pid: u32,
}

/// The memory of a process in MiB, without the pages of its program file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    /// The highest value since the start of the process.
    pub(crate) peak: f64,
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

    /// The CPU time of all threads, also of those that have ended, in steps of 10 ms.
    pub(crate) fn cpu_time_of_all_threads(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        ticks(&stat).map(|ticks| TICK * ticks).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Resident memory without that of files, now and at its highest.
    pub(crate) fn memory(self) -> io::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        memory(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// The sum of utime and stime, fields 14 and 15 of /proc/PID/stat. Field 2, the name in parentheses, may contain anything.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?)
}

/// The kernel knows only the peak of all memory, so the pages of files count as many then as now.
fn memory(status: &str) -> Option<Memory> {
    let files = mib(status, "RssFile:")?;
    Some(Memory { now: mib(status, "VmRSS:")? - files, peak: mib(status, "VmHWM:")? - files })
}

fn mib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_without_that_of_files() {
        let status = "Name:\tx\nVmHWM:\t   40960 kB\nVmRSS:\t   30720 kB\nRssFile:\t   18432 kB\n";
        assert_eq!(memory(status), Some(Memory { now: 12.0, peak: 22.0 }));
        assert_eq!(memory("VmRSS:\t 1 kB\n"), None);
    }

    #[test]
    fn the_name_of_a_process_does_not_shift_the_fields_of_its_times() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 4194560 90 0 0 0 25 5 0 0 20 0 8 0"), Some(30));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_used_some_time_and_memory() {
        let own = ProcessUsage { pid: std::process::id() };
        let memory = own.memory().unwrap();
        assert!(memory.now > 0.0 && memory.peak >= memory.now, "{memory:?}");
        assert!(own.cpu_time_of_all_threads().unwrap() < Duration::from_secs(3600));
    }
}
