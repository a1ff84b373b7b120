//! Installs SnapWatcher's custom resource definition as a user does: `snapwatcher crd | kubectl apply --server-side -f
//! -`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::access::Access;

/// How long the API server may take until it serves the new kind.
const TIMEOUT: &str = "30s";

#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    #[error("could not run `{}`", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("`{}` failed ({}): {}", program.display(), output.status, String::from_utf8_lossy(&output.stderr).trim())]
    Failed { program: PathBuf, output: Output },
    #[error("the task that installs the custom resource definition was cancelled")]
    CutShort,
}

/// Installs what `snapwatcher crd` prints and waits until the API server serves it.
pub async fn install(access: &Access, snapwatcher: &Path) -> Result<(), CrdError> {
    let (snapwatcher, kubectl) = (snapwatcher.to_owned(), access.kubectl());
    let kubeconfig = access.kubeconfig();
    let work = move || {
        let printed = finished(&snapwatcher, Command::new(&snapwatcher).arg("crd"), b"")?;
        let mut apply = Command::new(&kubectl);
        apply.arg("--kubeconfig").arg(&kubeconfig).args(["apply", "--server-side", "-f", "-"]);
        finished(&kubectl, &mut apply, &printed.stdout)?;
        let mut wait = Command::new(&kubectl);
        wait.arg("--kubeconfig").arg(&kubeconfig).args(["wait", "--for=condition=Established", "-f", "-"]);
        finished(&kubectl, wait.arg(format!("--timeout={TIMEOUT}")), &printed.stdout)?;
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| CrdError::CutShort)?
}

fn finished(program: &Path, command: &mut Command, input: &[u8]) -> Result<Output, CrdError> {
    let failed = |source| CrdError::Run { program: program.to_owned(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the program does not read its input, its exit status says whether it needed to.
        drop(stdin.write_all(input));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() { Ok(output) } else { Err(CrdError::Failed { program: program.to_owned(), output }) }
}
