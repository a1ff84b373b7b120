//! Runs `snapwatcher check` and reads its report.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::namespace::Namespace;

/// How the program ended and what it printed.
#[derive(Debug, Clone)]
pub struct CheckOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// One finding of the JSON report.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finding {
    pub topic: String,
    pub what: String,
    pub state: String,
    pub seen: String,
    pub remedy: Option<String>,
}

#[derive(Deserialize)]
struct Report {
    fine: bool,
    findings: Vec<Finding>,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("could not run `{}`", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("the task that runs `snapwatcher check` was cancelled")]
    CutShort,
    #[error("`snapwatcher check` printed no report: {stdout}{stderr}")]
    NoReport { stdout: String, stderr: String },
    #[error("`snapwatcher check` exited with {code:?}, but its report says fine={fine}")]
    Contradiction { code: Option<i32>, fine: bool },
}

impl CheckOutput {
    /// The findings of the JSON report. Fails if the exit code contradicts them.
    pub fn findings(&self) -> Result<Vec<Finding>, CheckError> {
        let Ok(Report { fine, findings }) = serde_json::from_str(&self.stdout) else {
            return Err(CheckError::NoReport { stdout: self.stdout.clone(), stderr: self.stderr.clone() });
        };
        if self.code != Some(i32::from(!fine)) {
            return Err(CheckError::Contradiction { code: self.code, fine });
        }
        Ok(findings)
    }
}

/// Runs `binary check` with an empty environment, but for this kubeconfig.
pub async fn run(binary: &Path, kubeconfig: &Path, arguments: &[&str]) -> Result<CheckOutput, CheckError> {
    let mut command = Command::new(binary);
    command.arg("check").args(arguments).env_clear().env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let program = binary.to_owned();
    // This runtime may serve what the program calls, so it must not block.
    let run = tokio::task::spawn_blocking(move || command.output()).await.map_err(|_| CheckError::CutShort)?;
    let output = run.map_err(|source| CheckError::Run { program, source })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(CheckOutput { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

impl Namespace {
    /// The flags that [`Namespace::start_snapwatcher`] adds, unless `arguments` has them.
    pub fn check_arguments(&self, arguments: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        for (flag, value) in [
            ("--namespaces", self.name()),
            ("--service-namespace", self.name()),
            ("--mutating-webhook-configuration", self.name()),
            ("--validating-webhook-configuration", self.name()),
            ("--snap-back-api-url", &self.snaphook().url()),
        ] {
            let assigned = format!("{flag}=");
            if !arguments.iter().any(|argument| *argument == flag || argument.starts_with(&assigned)) {
                all.push(format!("{flag}={value}"));
            }
        }
        all
    }
}
