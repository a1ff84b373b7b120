//! The programs that are measured, each a process of its own that runs alone.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::snaphook::SnapHook;
use lab::{Launch, Process, Snapwatcher, SnapwatcherOptions};
use tempfile::TempDir;
use tokio::time::sleep;

use super::namespace::NAMESPACE;
use crate::process_usage::ProcessUsage;

/// As many requests at once as SnapWatcher sends by default.
const WORKERS: usize = 8;
/// For the start of a program, which lists up to 100,000 pods.
const START_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// A program that uses less CPU time in a second has nothing to do.
const IDLE: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Snapwatcher,
    ControllerRuntime,
    Without,
}

/// The paths of the two programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) snapwatcher: PathBuf,
    pub(crate) controller_runtime: PathBuf,
}

/// A running program. Dropping it ends its process.
#[expect(clippy::large_enum_variant, reason = "only one exists at a time")]
pub(crate) enum Watcher {
    Snapwatcher(Snapwatcher, ProcessUsage),
    ControllerRuntime(Process, TempDir),
    Without,
}

impl Contestant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snapwatcher => "SnapWatcher",
            Self::ControllerRuntime => "controller-runtime",
            Self::Without => "no watcher",
        }
    }
}

impl Watcher {
    /// Starts the program. It has begun its listing when this returns.
    pub(crate) async fn start(
        contestant: Contestant,
        programs: &Programs,
        kubeconfig: &Path,
        snaphook: &SnapHook,
    ) -> Result<Self, Box<dyn Error>> {
        match contestant {
            Contestant::Snapwatcher => {
                let flags =
                    [format!("--service-namespace={NAMESPACE}"), format!("--snap-back-api-url={}", snaphook.url())];
                let snapwatcher = Snapwatcher::start(SnapwatcherOptions {
                    binary: programs.snapwatcher.clone(),
                    kubeconfig: kubeconfig.to_owned(),
                    args: flags.to_vec(),
                    ..SnapwatcherOptions::default()
                })
                .await?;
                let usage = ProcessUsage { pid: snapwatcher.pid().await };
                Ok(Self::Snapwatcher(snapwatcher, usage))
            }
            Contestant::ControllerRuntime => {
                let folder = TempDir::with_prefix("bench-watcher-")?;
                let log = folder.path().join("log");
                let launch = Launch::new("the watcher of controller-runtime", &programs.controller_runtime, &log);
                let launch = launch.args(["--snap-back-api-url", &snaphook.url(), "--workers", &WORKERS.to_string()]);
                let process = Process::start(launch.args(["--kubeconfig"]).args([kubeconfig])).await?;
                Ok(Self::ControllerRuntime(process, folder))
            }
            Contestant::Without => Ok(Self::Without),
        }
    }

    /// Waits until the program watches pods.
    pub(crate) async fn wait_until_watching(&mut self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Snapwatcher(snapwatcher, _) => snapwatcher.ready().await?,
            Self::ControllerRuntime(process, folder) => {
                let deadline = Instant::now() + START_LIMIT;
                let log = folder.path().join("log");
                while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Starting workers")) {
                    process.check_running()?;
                    if Instant::now() > deadline {
                        return Err(format!("controller-runtime did not start within {START_LIMIT:?}").into());
                    }
                    sleep(POLL).await;
                }
            }
            Self::Without => {}
        }
        Ok(())
    }

    /// None without a program.
    pub(crate) fn usage(&self) -> Option<ProcessUsage> {
        match self {
            Self::Snapwatcher(_, usage) => Some(*usage),
            Self::ControllerRuntime(process, _) => Some(ProcessUsage { pid: process.pid() }),
            Self::Without => None,
        }
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration, Box<dyn Error>> {
        Ok(self.usage().map(ProcessUsage::cpu_time_of_all_threads).transpose()?.unwrap_or_default())
    }

    /// Waits until the program has had nothing to do for `time`, but not longer than `limit`.
    pub(crate) async fn wait_until_idle(&self, time: Duration, limit: Duration) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + limit;
        let mut idle_since = Instant::now();
        while idle_since.elapsed() < time && Instant::now() < deadline {
            let before = self.cpu_time()?;
            sleep(Duration::from_secs(1)).await;
            if self.cpu_time()?.saturating_sub(before) > IDLE {
                idle_since = Instant::now();
            }
        }
        Ok(())
    }

    /// Ends the program and waits for its end.
    pub(crate) async fn stop(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Snapwatcher(snapwatcher, _) => drop(snapwatcher.stop().await?),
            Self::ControllerRuntime(mut process, _) => drop(process.stop(START_LIMIT).await?),
            Self::Without => {}
        }
        Ok(())
    }
}
