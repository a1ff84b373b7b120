//! What can go wrong with a real node, each with what to do about it.

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
    #[error("no pair of links could be made that joins the node to this machine: {seen}")]
    Link { seen: String },
    #[error("could not run `{command}` in the node; it has ended, or this is not root")]
    Enter { command: String, source: io::Error },
    #[error("`{command}` failed in the node ({status}): {output}")]
    Command { command: String, status: ExitStatus, output: String },
    #[error("criu says that this kernel can't do what it needs; `criu check`: {output}")]
    Criu { output: String },
    #[error("{timeout}; the end of the log of {program}:\n{tail}")]
    NotReady { timeout: WaitTimeout, program: &'static str, tail: String },
    #[error(
        "no real node is described in `{}`: this test needs one; run `make e2e` as root, which starts one for all such \
         tests",
        file.display()
    )]
    NotThere { file: PathBuf, source: io::Error },
}
