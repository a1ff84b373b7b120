//! SnapWatcher as a process on the host, as a user runs it: arguments, environment, log, ports and signals.
//!
//! Its environment is empty at first, so that variables of the test's environment have no effect. The kernel chooses
//! the ports, and the lab reads them from the log. A restart uses the same ports, so that webhook configurations stay
//! valid.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::access::install_crypto_provider;
use crate::must::must;
use crate::process::{Launch, Process, ProcessError, last_lines};
use crate::text_log;

/// The log's messages before the two addresses.
const WEBHOOK_LINE: &str = "Serving admission reviews on https://";
const ADMIN_LINE: &str = "Serving the admin port on http://";

/// How long a start may take until the ports are open, and until SnapWatcher is ready.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long SnapWatcher may take to stop: it drains, answers open requests and finishes attempts.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// Timeout of requests to the admin port.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How to start SnapWatcher.
#[derive(Clone, Debug, Default)]
pub struct SnapwatcherOptions {
    /// Path of the program.
    pub binary: PathBuf,
    pub kubeconfig: PathBuf,
    /// Flags. Without `--webhook-listen`, `--admin-listen` and `--drain-delay` the lab adds its own. With `agent` in front, the process
    /// is an agent.
    pub args: Vec<String>,
    /// Variables besides PATH, HOME and KUBECONFIG.
    pub env: BTreeMap<String, String>,
}

/// A running SnapWatcher. Dropping it kills the process.
#[derive(Debug)]
pub struct Snapwatcher {
    // Dropped before the folder, so that nothing writes into the log when it is removed.
    process: Mutex<Process>,
    options: SnapwatcherOptions,
    /// None: it was started without the webhook.
    webhook: Option<SocketAddr>,
    admin: SocketAddr,
    http: reqwest::Client,
    folder: TempDir,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapwatcherError {
    #[error("could not make a folder for SnapWatcher's log")]
    Folder { source: io::Error },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("SnapWatcher's log has no line `{line}` after {} s; its end:\n{tail}", TIMEOUT.as_secs())]
    NotServing { line: &'static str, tail: String },
    #[error("SnapWatcher was not ready after {} s: {seen}; the end of its log:\n{tail}", TIMEOUT.as_secs())]
    NotReady { seen: String, tail: String },
    #[error("could not read `{url}` of SnapWatcher")]
    Admin { url: String, source: reqwest::Error },
}

impl Snapwatcher {
    /// Starts the process and waits until its ports are open, but not until it is ready.
    pub async fn start(mut options: SnapwatcherOptions) -> Result<Self, SnapwatcherError> {
        install_crypto_provider();
        // Without a drain delay a test stops sooner. Only its own clients would need the delay.
        let of_run = [("--webhook-listen", "127.0.0.1:0"), ("--drain-delay", "0s")];
        let of_run = of_run.into_iter().filter(|_| !is_agent(&options));
        for (flag, value) in of_run.chain([("--admin-listen", "127.0.0.1:0")]).collect::<Vec<_>>() {
            if !options.args.iter().any(|argument| argument.starts_with(flag)) {
                options.args.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        let folder = tempfile::Builder::new().prefix("snapwatcher-").tempdir();
        let folder = folder.map_err(|source| SnapwatcherError::Folder { source })?;
        let mut process = Process::start(launch(&options, folder.path())).await?;
        let log = log_path(folder.path());
        let admin = address_after(ADMIN_LINE, &mut process, &log).await?;
        let webhook =
            if serves_webhook(&options) { Some(address_after(WEBHOOK_LINE, &mut process, &log).await?) } else { None };
        // A connection from before a restart would fail the first request after it.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(ADMIN_TIMEOUT).no_proxy();
        let http = http.build().map_err(|source| SnapwatcherError::Admin { url: "-".to_owned(), source })?;
        Ok(Self { process: Mutex::new(process), options, webhook, admin, http, folder })
    }

    /// The address of the webhooks, which this process has to serve.
    pub fn webhook_addr(&self) -> SocketAddr {
        must("find the webhook", self.webhook.ok_or("this SnapWatcher was started without it"))
    }

    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The complete log, including that of processes before a restart.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(log_path(self.folder.path())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The blocks of this pod in the text log, without the prefix of the first line.
    pub fn blocks(&self, namespace: &str, pod: &str) -> Vec<String> {
        text_log::blocks(&self.log(), namespace, pod)
    }

    /// The path of the log, which is removed with this handle.
    pub fn log_path(&self) -> PathBuf {
        log_path(self.folder.path())
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) -> Result<(), SnapwatcherError> {
        let deadline = Instant::now() + TIMEOUT;
        let mut seen = "no answer".to_owned();
        while Instant::now() < deadline {
            self.process.lock().await.check_running()?;
            match self.http.get(format!("{}/readyz?verbose", self.admin_url())).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => seen = format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => seen = error.to_string(),
            }
            sleep(POLL).await;
        }
        let tail = last_lines(&log_path(self.folder.path()), 15);
        Err(SnapwatcherError::NotReady { seen, tail })
    }

    /// What `/pods` shows, all of its responses as one.
    pub async fn pod_timelines(&self) -> Result<Value, SnapwatcherError> {
        let failed = |source| SnapwatcherError::Admin { url: "/pods".to_owned(), source };
        let (mut path, mut pods) = ("/pods".to_owned(), Vec::new());
        loop {
            let answer = self.get(&path).await?.error_for_status().map_err(failed)?;
            let mut shown: Value = answer.json().await.map_err(failed)?;
            pods.append(shown["pods"].as_array_mut().unwrap_or(&mut Vec::new()));
            let Some(next) = shown["continue"].as_str() else {
                shown["pods"] = pods.into();
                return Ok(shown);
            };
            path = format!("/pods?continue={next}");
        }
    }

    /// What `/pods` shows of the pod with this UID.
    pub async fn pod_timeline(&self, uid: &str) -> Result<Option<Value>, SnapwatcherError> {
        let timelines = self.pod_timelines().await?;
        let mut all = timelines["pods"].as_array().into_iter().flatten();
        Ok(all.find(|timeline| timeline["uid"] == uid).cloned())
    }

    /// The value of this series in `/metrics`, with its labels as they are printed there.
    pub async fn metric(&self, series: &str) -> Result<Option<f64>, SnapwatcherError> {
        let metrics = self.metrics().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.and_then(|value| value.parse().ok()))
    }

    /// What `/metrics` shows.
    pub async fn metrics(&self) -> Result<String, SnapwatcherError> {
        let failed = |source| SnapwatcherError::Admin { url: "/metrics".to_owned(), source };
        self.get("/metrics").await?.error_for_status().map_err(failed)?.text().await.map_err(failed)
    }

    /// Reads a path of the admin port.
    pub async fn get(&self, path: &str) -> Result<reqwest::Response, SnapwatcherError> {
        let url = format!("{}{path}", self.admin_url());
        self.http.get(&url).send().await.map_err(|source| SnapwatcherError::Admin { url, source })
    }

    /// Stops the process (SIGTERM), starts it again with the same arguments and ports, and waits until it is ready.
    pub async fn restart(&self) -> Result<(), SnapwatcherError> {
        self.stop().await?;
        self.start_again().await
    }

    /// Starts the process again after `stop` or `kill` on the same ports, and waits until it is ready.
    pub async fn start_again(&self) -> Result<(), SnapwatcherError> {
        let mut options = self.options.clone();
        if let Some(webhook) = self.webhook {
            fix_port(&mut options.args, "--webhook-listen", webhook);
        }
        fix_port(&mut options.args, "--admin-listen", self.admin);
        let process = Process::start(launch(&options, self.folder.path())).await?;
        *self.process.lock().await = process;
        self.ready().await
    }

    /// Stops the process (SIGTERM) and returns its exit status.
    pub async fn stop(&self) -> Result<ExitStatus, SnapwatcherError> {
        Ok(self.process.lock().await.stop(STOP_TIMEOUT).await?)
    }

    /// Stops the process as Ctrl-C does (SIGINT) and returns its exit status.
    pub async fn interrupt(&self) -> Result<ExitStatus, SnapwatcherError> {
        self.signal(Signal::SIGINT).await?;
        self.ended().await
    }

    /// Sends SIGTERM and does not wait.
    pub async fn terminate(&self) -> Result<(), SnapwatcherError> {
        self.signal(Signal::SIGTERM).await
    }

    /// Waits for the end of the process and returns its exit status. Kills it after a timeout.
    pub async fn ended(&self) -> Result<ExitStatus, SnapwatcherError> {
        let mut process = self.process.lock().await;
        match tokio::time::timeout(STOP_TIMEOUT, process.wait()).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Ok(process.kill().await?),
        }
    }

    async fn signal(&self, signal: Signal) -> Result<(), SnapwatcherError> {
        Ok(self.process.lock().await.signal(signal)?)
    }

    /// Kills the process (SIGKILL), as the loss of a node does.
    pub async fn kill(&self) -> Result<(), SnapwatcherError> {
        self.process.lock().await.kill().await?;
        Ok(())
    }

    /// Freezes the process (SIGSTOP).
    pub async fn pause(&self) -> Result<(), SnapwatcherError> {
        Ok(self.process.lock().await.pause()?)
    }

    /// Resumes a frozen process.
    pub async fn resume(&self) -> Result<(), SnapwatcherError> {
        Ok(self.process.lock().await.resume()?)
    }

    pub async fn pid(&self) -> u32 {
        self.process.lock().await.pid()
    }
}

/// Whether the options are those of `snapwatcher agent`.
fn is_agent(options: &SnapwatcherOptions) -> bool {
    options.args.first().is_some_and(|command| command == "agent")
}

fn serves_webhook(options: &SnapwatcherOptions) -> bool {
    if is_agent(options) {
        return false;
    }
    let by_variable = options.env.get("SNAPWATCHER_WEBHOOK").is_some_and(|value| value == "false");
    !by_variable && !options.args.iter().any(|argument| argument == "--webhook=false")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("snapwatcher.log")
}

fn launch(options: &SnapwatcherOptions, folder: &Path) -> Launch {
    let inherited = |name: &str| std::env::var_os(name).map(|value| (OsString::from(name), value));
    let mut launch = Launch::new("snapwatcher", &options.binary, &log_path(folder)).args(&options.args);
    launch
        .command()
        .env_clear()
        .envs(["PATH", "HOME"].into_iter().filter_map(inherited))
        .env("KUBECONFIG", &options.kubeconfig)
        .envs(&options.env);
    launch
}

/// Waits for the log line with an address.
async fn address_after(line: &'static str, process: &mut Process, log: &Path) -> Result<SocketAddr, SnapwatcherError> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        let text = std::fs::read(log).unwrap_or_default();
        if let Some(address) = address_in(&String::from_utf8_lossy(&text), line) {
            return Ok(address);
        }
        process.check_running()?;
        sleep(POLL).await;
    }
    Err(SnapwatcherError::NotServing { line, tail: last_lines(log, 15) })
}

/// The address after `line` in a log. None: the line is missing or incomplete.
fn address_in(log: &str, line: &str) -> Option<SocketAddr> {
    let (_, rest) = log.rsplit_once(line)?;
    let end = rest.find(|character: char| character.is_whitespace() || "\"`,\u{1b}".contains(character))?;
    rest[..end].parse().ok()
}

/// Replaces the flag's value by the address.
fn fix_port(args: &mut [String], flag: &str, address: SocketAddr) {
    let assigned = format!("{flag}=");
    for index in 0..args.len() {
        if args[index].starts_with(&assigned) {
            args[index] = format!("{assigned}{address}");
        } else if args[index] == flag
            && let Some(value) = args.get_mut(index + 1)
        {
            *value = address.to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_text_and_json_logs() {
        let expected: SocketAddr = "127.0.0.1:4321".parse().unwrap();
        for log in [
            "INFO Serving admission reviews on https://127.0.0.1:4321\n",
            "INFO Serving admission reviews on https://127.0.0.1:4321 address=x\n",
            r#"{"message":"Serving admission reviews on https://127.0.0.1:4321","level":"INFO"}"#,
        ] {
            assert_eq!(address_in(log, WEBHOOK_LINE), Some(expected), "{log}");
        }
        assert_eq!(address_in("Serving admission reviews on https://127.0.0.1:43", WEBHOOK_LINE), None, "cut off");
    }

    #[test]
    fn a_restart_keeps_the_port_in_both_forms_of_a_flag() {
        let mut args = ["--admin-listen", "127.0.0.1:0", "--webhook-listen=127.0.0.1:0"].map(str::to_owned);
        fix_port(&mut args, "--admin-listen", "127.0.0.1:1".parse().unwrap());
        fix_port(&mut args, "--webhook-listen", "127.0.0.1:2".parse().unwrap());
        assert_eq!(args, ["--admin-listen", "127.0.0.1:1", "--webhook-listen=127.0.0.1:2"]);
    }

    #[tokio::test]
    async fn the_error_of_a_program_that_ends_early_has_its_log() {
        let args = vec!["-c".to_owned(), "echo wrong flag; exit 2".to_owned()];
        let options = SnapwatcherOptions { binary: "/bin/sh".into(), args, ..SnapwatcherOptions::default() };
        let message = Snapwatcher::start(options).await.unwrap_err().to_string();
        assert!(message.contains("exit status: 2") && message.contains("wrong flag"), "{message}");
    }

    #[tokio::test]
    async fn the_tests_environment_has_no_effect() {
        let script = format!("env; echo {WEBHOOK_LINE}127.0.0.1:1; echo {ADMIN_LINE}127.0.0.1:2; exec sleep 60");
        let options = SnapwatcherOptions {
            binary: "/bin/sh".into(),
            kubeconfig: "/k".into(),
            args: vec!["-c".to_owned(), script],
            env: BTreeMap::from([("LOG_LEVEL".to_owned(), "DEBUG".to_owned())]),
        };
        let watcher = Snapwatcher::start(options).await.unwrap();
        let log = watcher.log();
        assert!(log.contains("KUBECONFIG=/k") && log.contains("LOG_LEVEL=DEBUG"), "{log}");
        assert!(!log.contains("CARGO"), "{log}");
        assert_eq!(watcher.admin_url(), "http://127.0.0.1:2");
    }
}
