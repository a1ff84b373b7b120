//! Child processes that never outlive the lab.
//!
//! Linux can send a signal to a child when its parent dies (`prctl(2)`, PR_SET_PDEATHSIG), even if the parent was
//! killed by SIGKILL. The kernel sends the signal when the *thread* that started the child ends. So one thread starts
//! all children, and it lives as long as the process. `setpriv --pdeathsig` requests the signal, so this crate needs no
//! unsafe code.
//!
//! Each child has its own process group. A Ctrl-C in the terminal reaches only the lab, which then stops its children
//! in order.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::oneshot;

/// How often the lab checks whether a child has ended.
const POLL: Duration = Duration::from_millis(20);

/// How often the lab checks whether a child is stopped.
const PAUSE_POLL: Duration = Duration::from_millis(1);

/// How often `wait_and_report` reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// Lines of a log in an error message.
const TAIL: usize = 15;

/// A running child process. Dropping it kills and reaps the child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    group: Pid,
    log: Option<PathBuf>,
}

/// The command line and log of a child.
#[derive(Debug)]
pub struct Launch {
    name: String,
    program: PathBuf,
    command: Command,
    // None: the child writes to the terminal of this process.
    log: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("could not open the log file `{}` of {name}", path.display())]
    Log { name: String, path: PathBuf, source: io::Error },
    #[error("could not start {name} (`{}`); the lab also needs `setpriv` of util-linux", program.display())]
    Start { name: String, program: PathBuf, source: io::Error },
    #[error("the thread that starts processes has ended, so {name} was not started")]
    SpawnerGone { name: String },
    #[error("could not send {signal} to {name}")]
    Signal { name: String, signal: Signal, source: nix::Error },
    #[error("could not wait for the end of {name}")]
    Wait { name: String, source: io::Error },
    #[error("{name} ended with {status}; the end of its log:\n{tail}")]
    Ended { name: String, status: ExitStatus, tail: String },
}

impl Launch {
    /// Prepares `program`. Its output is appended to `log`.
    pub fn new(name: &str, program: &Path, log: &Path) -> Self {
        Self { log: Some(log.to_owned()), ..Self::on_terminal(name, program) }
    }

    /// Prepares `program`. Its output goes to the terminal of this process.
    pub fn on_terminal(name: &str, program: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null()).process_group(0);
        Self { name: name.to_owned(), program: program.to_owned(), command, log: None }
    }

    /// The command, for arguments, environment and working folder.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        self.command.args(args);
        self
    }
}

impl Process {
    pub async fn start(launch: Launch) -> Result<Self, ProcessError> {
        let Launch { name, program, mut command, log } = launch;
        if let Some(path) = &log {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            match opened.and_then(|file| Ok((file.try_clone()?, file))) {
                Ok((out, err)) => command.stdout(out).stderr(err),
                Err(source) => return Err(ProcessError::Log { name, path: path.clone(), source }),
            };
        }
        let (reply, answer) = oneshot::channel();
        if spawner().send(Order { command, reply }).is_err() {
            return Err(ProcessError::SpawnerGone { name });
        }
        match answer.await {
            Ok(Ok(child)) => {
                let group = Pid::from_raw(child.id().cast_signed());
                Ok(Self { name, child, group, log })
            }
            Ok(Err(source)) => Err(ProcessError::Start { name, program, source }),
            Err(_) => Err(ProcessError::SpawnerGone { name }),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last `count` lines of the child's log. Empty if the child writes to the terminal.
    pub fn last_lines(&self, count: usize) -> String {
        self.log.as_deref().map(|log| last_lines(log, count)).unwrap_or_default()
    }

    /// Fails if the child has ended. The error has the end of its log.
    pub fn check_running(&mut self) -> Result<(), ProcessError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(ProcessError::Ended { name: self.name.clone(), status, tail: self.last_lines(TAIL) }),
        }
    }

    /// The exit status, if the child has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child.try_wait().map_err(|source| ProcessError::Wait { name: self.name.clone(), source })
    }

    /// Waits for the end of the child.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for the end of the child and calls `report` every 30 s.
    pub async fn wait_and_report(&mut self, report: impl Fn()) -> Result<ExitStatus, ProcessError> {
        loop {
            match tokio::time::timeout(REPORT_INTERVAL, self.wait()).await {
                Ok(status) => return status,
                Err(_) => report(),
            }
        }
    }

    /// Sends SIGTERM and waits. If the child has not ended after `timeout`, kills it.
    pub async fn stop(&mut self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill().await
    }

    /// Kills the child (SIGKILL) and waits for its end.
    pub async fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::SIGKILL)?;
        self.wait().await
    }

    /// Stops the child (SIGSTOP) until `resume`. Returns when all its threads are stopped, because threads on other
    /// processors receive the signal a moment later.
    pub fn pause(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGSTOP)?;
        while self.ended()?.is_none() && !self.is_stopped() {
            thread::sleep(PAUSE_POLL);
        }
        Ok(())
    }

    /// Whether all threads are stopped, by the third field of `/proc/PID/task/TID/stat` (`proc(5)`).
    fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let states = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        // The second field is the name in parentheses, which may contain anything.
        states.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// Resumes a stopped child (SIGCONT).
    pub fn resume(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends a signal to the child's process group, unless the child has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        // After a child is reaped, another process may have its process id.
        if self.ended()?.is_some() {
            return Ok(());
        }
        match killpg(self.group, signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(source) => Err(ProcessError::Signal { name: self.name.clone(), signal, source }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if the child has ended already.
        if self.signal(Signal::SIGKILL).is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The last `count` lines of a file. Empty if the file cannot be read.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Sends commands to the thread that starts all children.
fn spawner() -> mpsc::Sender<Order> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    SPAWNER
        .get_or_init(|| {
            let (orders, inbox) = mpsc::channel::<Order>();
            thread::spawn(move || {
                for Order { mut command, reply } in inbox {
                    // The receiver was dropped, so nothing would own the child.
                    if let Err(Ok(mut orphan)) = reply.send(command.spawn()) {
                        drop(orphan.kill());
                        drop(orphan.wait());
                    }
                }
            });
            orders
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(log: &Path) -> Launch {
        Launch::new("sleeper", Path::new("sleep"), log).args(["60"])
    }

    #[tokio::test]
    async fn output_goes_to_the_log_and_the_exit_status_is_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("sh.log");
        let launch = Launch::new("sh", Path::new("sh"), &log).args(["-c", "echo out; echo err >&2; exit 3"]);
        let mut process = Process::start(launch).await.unwrap();
        assert_eq!(process.wait().await.unwrap().code(), Some(3));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
        let message = process.check_running().unwrap_err().to_string();
        assert!(message.contains("exit status: 3") && message.contains("err"), "{message}");
    }

    #[tokio::test]
    async fn dropping_a_process_kills_it() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(sleeper(&folder.path().join("log"))).await.unwrap();
        let group = process.group;
        drop(process);
        assert_eq!(killpg(group, None), Err(nix::Error::ESRCH));
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let launch = Launch::new("deaf", Path::new("sh"), &log)
            .args(["-c", "trap '' TERM; echo deaf; while true; do sleep 0.05; done"]);
        let mut process = Process::start(launch).await.unwrap();
        while last_lines(&log, 1) != "deaf" {
            tokio::time::sleep(POLL).await;
        }
        let status = process.stop(Duration::from_millis(200)).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch::new("ghost", Path::new("/no/such/program"), &folder.path().join("log"));
        let mut process = Process::start(launch).await.unwrap();
        assert!(!process.wait().await.unwrap().success());
        assert!(process.check_running().unwrap_err().to_string().contains("/no/such/program"));
    }
}
