//! Helm, built from source like the programs of the control plane.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::access::Access;
use crate::build_cache::{BuildCache, BuildError};
use crate::go_module::GoModule;

/// A Helm that ignores the user's own configuration.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    #[error("could not run `{}`", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("`helm {arguments}` failed: {output}")]
    Failed { arguments: String, output: String },
}

impl Helm {
    /// Builds Helm if it is missing, which takes some minutes.
    pub async fn built() -> Result<Self, BuildError> {
        let (cache, module) = (BuildCache::of_user()?, GoModule::helm());
        cache.build(std::slice::from_ref(&module)).await?;
        Ok(Self { program: cache.programs(&module)?.join("helm"), kubeconfig: None })
    }

    /// Uses this control plane.
    pub fn with_access(self, access: &Access) -> Self {
        Self { kubeconfig: Some(access.kubeconfig()), ..self }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs Helm and returns its output.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, HelmError> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        // Without access Helm must not find the user's own kubeconfig.
        command.env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(Path::new("/dev/null")));
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(folder, std::env::temp_dir().join("snapwatcher-helm"));
        }
        let failed = |source| HelmError::Run { program: self.program.clone(), source };
        let output = command.output().map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let command_line: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(HelmError::Failed { arguments: command_line.join(" "), output })
    }
}
