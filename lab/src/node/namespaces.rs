//! Access to a node's namespaces: running commands in them and finding the node's files from outside.
//!
//! Root can enter the namespaces by the process id of the node's first process, even from another process than the lab.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::error::NodeError;

/// The PATH of a node's programs.
pub(crate) const NODE_PATH: &str = "/opt/kubernetes:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The namespaces of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeNamespaces {
    pid: i32,
}

impl NodeNamespaces {
    pub(crate) fn of(pid: i32) -> Self {
        Self { pid }
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// The path of the node's file on this machine.
    pub(crate) fn path(self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new(&format!("/proc/{}/root", self.pid)).join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Arguments of `nsenter` that enter all namespaces of the node.
    pub(crate) fn entry(self) -> Vec<String> {
        let namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--"].map(str::to_owned);
        [format!("--target={}", self.pid)].into_iter().chain(namespaces).collect()
    }

    /// The environment of a node's programs.
    pub(crate) fn environment() -> [(&'static str, &'static str); 3] {
        [("PATH", NODE_PATH), ("HOME", "/root"), ("LC_ALL", "C.UTF-8")]
    }

    /// Runs a command in the node and returns its output.
    pub(crate) async fn run<S: AsRef<OsStr>>(self, command: impl IntoIterator<Item = S>) -> Result<Output, NodeError> {
        finished(&self.entry(), command).await
    }

    /// Runs a command in the node, which has to succeed.
    pub(crate) async fn must_run<S: AsRef<OsStr>>(
        self,
        command: impl IntoIterator<Item = S>,
    ) -> Result<String, NodeError> {
        let command_line: Vec<OsString> = command.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let Output { status, stdout, stderr } = self.run(&command_line).await?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let printed = if stderr.is_empty() { stdout } else { stderr };
        let output = String::from_utf8_lossy(&printed).trim().to_owned();
        Err(NodeError::Command { command: shown(&command_line), status, output })
    }

    /// Runs a program of the node with the links of this machine.
    pub(crate) async fn run_on_host_network<S: AsRef<OsStr>>(
        self,
        command: impl IntoIterator<Item = S>,
    ) -> Result<Output, NodeError> {
        finished(&[format!("--target={}", self.pid), "--mount".to_owned(), "--".to_owned()], command).await
    }
}

async fn finished<S: AsRef<OsStr>>(
    entry: &[String],
    command: impl IntoIterator<Item = S>,
) -> Result<Output, NodeError> {
    let command_line: Vec<OsString> = command.into_iter().map(|word| word.as_ref().to_owned()).collect();
    let mut nsenter = Command::new("nsenter");
    nsenter.args(entry).args(&command_line).env_clear().envs(NodeNamespaces::environment()).stdin(Stdio::null());
    let command = shown(&command_line);
    let ended = tokio::task::spawn_blocking(move || nsenter.output()).await.map_err(std::io::Error::other);
    ended.and_then(|output| output).map_err(|source| NodeError::Enter { command, source })
}

/// A command line for messages, cut to the first line of a script.
fn shown(command_line: &[OsString]) -> String {
    let whole = command_line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let line = whole.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(120).collect();
    if cut.len() < whole.len() { format!("{cut} ...") } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_node_is_found_below_its_root() {
        assert_eq!(NodeNamespaces::of(7).path("/etc/hosts"), PathBuf::from("/proc/7/root/etc/hosts"));
        assert_eq!(NodeNamespaces::of(7).path("etc/hosts"), PathBuf::from("/proc/7/root/etc/hosts"));
    }

    #[test]
    fn a_long_script_is_shown_by_its_first_line() {
        let command_line = ["sh", "-c", "set -eu\nip link"].map(OsString::from);
        assert_eq!(shown(&command_line), "sh -c set -eu ...");
        assert_eq!(shown(&["ls", "/"].map(OsString::from)), "ls /");
    }
}
