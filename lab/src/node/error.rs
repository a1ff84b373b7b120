//! The errors of a real node. Each says what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::kubelet_api::KubeletApiError;
use super::registry::PushError;
use super::root_file_system::RootFileSystemError;
use crate::access::AccessError;
use crate::process::ProcessError;
use crate::until::WaitTimeout;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("{0}")]
    Missing(String),
    #[error(transparent)]
    Root(#[from] RootFileSystemError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Kubelet(#[from] KubeletApiError),
    #[error("could not {what} for the node")]
    Prepare { what: &'static str, source: io::Error },
    #[error("could not connect the node to this machine by a pair of virtual links: {seen}")]
    Link { seen: String },
    #[error("could not run `{command}` in the node: the node has ended, or this process is not root")]
    Enter { command: String, source: io::Error },
    #[error("`{command}` failed in the node ({status}): {output}")]
    Command { command: String, status: ExitStatus, output: String },
    #[error("criu cannot work on this kernel; `criu check` says: {output}")]
    Criu { output: String },
    #[error("{timeout}; the end of the log of {program}:\n{tail}")]
    NotReady { timeout: WaitTimeout, program: &'static str, tail: String },
    #[error(
        "there is no description of a real node in `{}`: this test needs a real node; run `make e2e` as root, which \
         starts one for all such tests",
        file.display()
    )]
    NotThere { file: PathBuf, source: io::Error },
}
