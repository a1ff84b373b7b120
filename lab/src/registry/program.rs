//! Real registries on 127.0.0.1, as child processes.
//!
//! - Docker's registry 2.8, of the Debian package `docker-registry`: `make test` downloads it.
//! - Docker's registry 3 ("distribution"), built from a Go module like the programs of the control plane.
//! - The registry of go-containerregistry, built likewise. It keeps everything in memory, does not say how much of an upload it
//!   has, and has neither TLS nor authentication.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::build_cache::{BuildCache, BuildError};
use crate::cluster_ca::ClusterCa;
use crate::go_module::GoModule;
use crate::process::{Launch, Process, ProcessError};
use crate::until::{WaitTimeout, try_until};

/// The program of the Debian package, below the root or below the folder in the cache.
const DEBIAN: &str = "usr/bin/docker-registry";
/// The folder in the cache into which `make test` unpacks the package.
const UNPACKED: &str = "docker-registry";

/// User and password of a registry that requires them.
const USER: &str = "lab-user";
const PASSWORD: &str = "lab-password";

/// The same as a line of htpasswd, by bcrypt: the registries read no other form.
const HTPASSWD: &str = "lab-user:$2y$04$abcdefghijklmnopqrstuuRmh8HtELSGLRIbn8Tav9ZLLfCC8wwMW\n";

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryKind {
    /// Docker's registry 2.8.
    Docker2,
    /// Docker's registry 3.
    Docker3,
    /// The one of go-containerregistry.
    InMemory,
}

/// How one of Docker's registries runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// It requires a user and a password.
    pub basic: bool,
    /// It serves by TLS with a certificate of its own CA.
    pub tls: bool,
    /// It refuses to delete manifests.
    pub keeps_all: bool,
}

/// A running registry. Dropping it ends the process and removes its data.
#[derive(Debug)]
pub struct RegistryProgram {
    kind: RegistryKind,
    folder: TempDir,
    program: PathBuf,
    address: SocketAddr,
    process: Process,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryProgramError {
    #[error("`docker-registry` is missing: run `make registries`, or install the package docker-registry")]
    NoDebianPackage,
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("could not prepare a registry")]
    Prepare(#[from] io::Error),
    #[error("could not make certificates for a registry")]
    Certificates(#[from] rcgen::Error),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the registry does not listen; the end of its log:\n{log}")]
    NotListening { source: WaitTimeout, log: String },
}

impl RegistryKind {
    pub const ALL: [Self; 3] = [Self::Docker2, Self::Docker3, Self::InMemory];
    /// Those that have TLS, authentication and data on a disk.
    pub const DOCKER: [Self; 2] = [Self::Docker2, Self::Docker3];

    /// The program; it is built if it is missing, which takes some minutes.
    pub async fn program(self) -> Result<PathBuf, RegistryProgramError> {
        let module = match self {
            Self::Docker2 => {
                let folders = [PathBuf::from("/"), BuildCache::of_user()?.folder().join(UNPACKED)];
                let mut programs = folders.iter().map(|folder| folder.join(DEBIAN));
                return programs.find(|program| program.is_file()).ok_or(RegistryProgramError::NoDebianPackage);
            }
            Self::Docker3 => GoModule::distribution(),
            Self::InMemory => GoModule::go_container_registry(),
        };
        let cache = BuildCache::of_user()?;
        cache.build(std::slice::from_ref(&module)).await?;
        Ok(cache.programs(&module)?.join("registry"))
    }
}

impl RegistryProgram {
    pub async fn start(kind: RegistryKind, options: RegistryOptions) -> Result<Self, RegistryProgramError> {
        let program = kind.program().await?;
        let folder = tempfile::Builder::new().prefix("snapwatcher-registry-").tempdir()?;
        // Another process may take the port before the registry does; then the registry ends, and the test says so.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::create_dir(folder.path().join("data"))?;
        fs::write(folder.path().join("htpasswd"), HTPASSWD)?;
        if options.tls {
            let authority = ClusterCa::generate()?;
            let server = authority.server(&["127.0.0.1".to_owned()])?;
            fs::write(folder.path().join("ca.crt"), authority.certificate())?;
            fs::write(folder.path().join("tls.crt"), server.certificate)?;
            fs::write(folder.path().join("tls.key"), server.key)?;
        }
        fs::write(folder.path().join("config.json"), configuration(options, folder.path(), address.port()))?;
        let process = launched(kind, &program, folder.path(), address).await?;
        Ok(Self { kind, folder, program, address, process })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that verifies it, if it serves by TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A `.dockerconfigjson` with its user and this password.
    pub fn credentials_with(&self, password: &str) -> String {
        json!({"auths": {self.address.to_string(): {"username": USER, "password": password}}}).to_string()
    }

    /// A `.dockerconfigjson` with its user and password.
    pub fn credentials(&self) -> String {
        self.credentials_with(PASSWORD)
    }

    /// Kills the process.
    pub async fn kill(&mut self) -> Result<(), RegistryProgramError> {
        self.process.kill().await?;
        Ok(())
    }

    /// Starts it again on the same port, after it was killed.
    pub async fn restart(&mut self) -> Result<(), RegistryProgramError> {
        self.process = launched(self.kind, &self.program, self.folder.path(), self.address).await?;
        Ok(())
    }
}

async fn launched(
    kind: RegistryKind,
    program: &Path,
    folder: &Path,
    address: SocketAddr,
) -> Result<Process, RegistryProgramError> {
    let log = folder.join("log");
    let arguments = match kind {
        RegistryKind::Docker2 | RegistryKind::Docker3 => {
            ["serve".to_owned(), folder.join("config.json").display().to_string()]
        }
        RegistryKind::InMemory => ["-port".to_owned(), address.port().to_string()],
    };
    let launch = Launch::new("the registry", program, &log).args(arguments);
    let mut process = Process::start(launch).await?;
    let listening = try_until("the registry listens", START_TIMEOUT, async || {
        process.check_running().map_err(|error| error.to_string())?;
        TcpStream::connect(address).await.map(drop).map_err(|error| format!("{kind:?}: {error}"))
    });
    match listening.await {
        Ok(()) => Ok(process),
        Err(source) => Err(RegistryProgramError::NotListening { source, log: process.last_lines(15) }),
    }
}

/// The configuration of Docker's registries. JSON is YAML too.
fn configuration(options: RegistryOptions, folder: &Path, port: u16) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut configuration = json!({
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": file("data")}, "delete": {"enabled": !options.keeps_all}},
        // Without it each start has another one, and uploads end with it.
        "http": {"addr": format!("127.0.0.1:{port}"), "secret": "lab"},
    });
    if options.tls {
        configuration["http"]["tls"] = json!({"certificate": file("tls.crt"), "key": file("tls.key")});
    }
    if options.basic {
        configuration["auth"] = json!({"htpasswd": {"realm": "lab", "path": file("htpasswd")}});
    }
    configuration.to_string()
}
