//! Access to a running control plane: its kubeconfig, its kubectl and a client.
//!
//! A control plane writes `kubeconfig` and `kubectl` into a folder. `lab test` passes that folder to the tests in an
//! environment variable. Without the variable a test fails and says how to run it, because a skipped test proves
//! nothing.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

/// Names the folder of the control plane that all tests share.
pub const LAB_VARIABLE: &str = "SNAPWATCHER_LAB";

const KUBECONFIG: &str = "kubeconfig";
const KUBECTL: &str = "kubectl";

/// A folder through which a control plane is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    folder: PathBuf,
}

/// The administrator's credentials, for clients other than kube's.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) server: String,
    /// The cluster's CA certificate, in PEM form.
    pub(crate) authority: Vec<u8>,
    pub(crate) token: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "{LAB_VARIABLE} is not set: this test needs a Kubernetes API server; run `make test`, which starts one for all \
         tests"
    )]
    NotAttached,
    #[error("`{}` has no kubeconfig, so its control plane has ended; run the tests by `make test`", folder.display())]
    Gone { folder: PathBuf },
    #[error("could not write to `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("could not read the kubeconfig `{}`", path.display())]
    Kubeconfig { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("could not make a client from the kubeconfig `{}`", path.display())]
    Client { path: PathBuf, source: Box<kube::Error> },
}

impl Access {
    /// Attaches to the control plane that `make test` started.
    pub fn attach() -> Result<Self, AccessError> {
        let folder = env::var_os(LAB_VARIABLE).filter(|value| !value.is_empty());
        Self::at(&folder.map(PathBuf::from).ok_or(AccessError::NotAttached)?)
    }

    /// The control plane whose folder this is.
    pub fn at(folder: &Path) -> Result<Self, AccessError> {
        let access = Self { folder: folder.to_owned() };
        if access.kubeconfig().is_file() { Ok(access) } else { Err(AccessError::Gone { folder: access.folder }) }
    }

    /// Writes both files into `folder` and replaces older ones.
    pub(crate) fn create(folder: &Path, kubeconfig: &str, kubectl: &Path) -> Result<Self, AccessError> {
        let access = Self { folder: folder.to_owned() };
        access.remove();
        let write =
            |path: PathBuf, outcome: io::Result<()>| outcome.map_err(|source| AccessError::Write { path, source });
        // The kubeconfig has a token with all rights.
        write(access.kubeconfig(), private_file(&access.kubeconfig(), kubeconfig))?;
        write(access.kubectl(), std::os::unix::fs::symlink(kubectl, access.kubectl()))?;
        Ok(access)
    }

    /// Removes both files, if they exist.
    pub(crate) fn remove(&self) {
        drop(std::fs::remove_file(self.kubeconfig()));
        drop(std::fs::remove_file(self.kubectl()));
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join(KUBECONFIG)
    }

    /// The API server's audit log, one JSON object a line. It is empty unless `Options::audit` is set.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("logs/audit.log")
    }

    /// A kubectl of the API server's version.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join(KUBECTL)
    }

    /// Reads the credentials from the kubeconfig.
    pub(crate) fn credentials(&self) -> Result<Credentials, AccessError> {
        let path = self.kubeconfig();
        let unreadable =
            |source: Box<dyn std::error::Error + Send + Sync>| AccessError::Kubeconfig { path: path.clone(), source };
        let text = std::fs::read(&path).map_err(|source| unreadable(source.into()))?;
        // The lab writes its kubeconfigs as JSON.
        let config: Value = serde_json::from_slice(&text).map_err(|source| unreadable(source.into()))?;
        let found = |pointer: &str| {
            let text = config.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| unreadable(format!("it has no `{pointer}`").into()))
        };
        let authority = std::fs::read(found("/clusters/0/cluster/certificate-authority")?);
        Ok(Credentials {
            server: found("/clusters/0/cluster/server")?,
            authority: authority.map_err(|source| unreadable(source.into()))?,
            token: found("/users/0/user/token")?,
        })
    }

    /// A client with all rights. It belongs to the current tokio runtime, so each test makes its own.
    pub async fn client(&self) -> Result<Client, AccessError> {
        install_crypto_provider();
        let path = self.kubeconfig();
        let unreadable =
            |source: Box<dyn std::error::Error + Send + Sync>| AccessError::Kubeconfig { path: path.clone(), source };
        let kubeconfig = Kubeconfig::read_from(&path).map_err(|source| unreadable(source.into()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|source| unreadable(source.into()))?;
        Client::try_from(config).map_err(|source| AccessError::Client { path: path.clone(), source: Box::new(source) })
    }
}

/// Installs ring as the TLS provider of this process. Further calls do nothing.
///
/// Without an installed provider, rustls panics at the first handshake.
pub fn install_crypto_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Fails only if the process has installed a provider already. That one works too.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// Writes a file that only its owner can read.
pub(crate) fn private_file(path: &Path, content: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_control_plane_the_error_names_the_command_that_starts_one() {
        assert!(AccessError::NotAttached.to_string().contains("make test"));
    }

    #[test]
    fn a_folder_whose_control_plane_is_gone_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let message = Access::at(folder.path()).unwrap_err().to_string();
        assert!(message.contains("make test"), "{message}");
    }

    #[test]
    fn what_was_created_can_be_attached_to_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::create(folder.path(), "{}", Path::new("/bin/true")).unwrap();
        assert_eq!(Access::at(folder.path()).unwrap(), access);
        access.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
