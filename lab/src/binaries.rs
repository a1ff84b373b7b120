//! The control plane's programs, built from Go modules into a cache folder that all clones share.
//!
//! Only the first build costs anything (kube-apiserver: about eight minutes on two cores), so it shows its progress. A
//! binary is built under another name and renamed, so that what stands in the cache is always complete; a lock file
//! keeps two processes from building the same thing twice.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::go_module::{GoModule, GoModuleError, KubernetesVersion, Program};
use crate::process::{Launch, Process, ProcessError, last_lines};
use crate::terminal::print_progress;

/// How often a long build says that it is still alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often a build in another process is looked at.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Where each program of the control plane lies.
#[derive(Clone, Debug)]
pub struct Binaries {
    etcd: PathBuf,
    kubernetes: PathBuf,
    kwok: PathBuf,
    // None: nobody asked for Services.
    core_dns: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error(transparent)]
    Module(#[from] GoModuleError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(
        "`go` was not found; the lab builds a Kubernetes control plane from source: install Go 1.26 or later \
         (https://go.dev/doc/install) and put it on PATH"
    )]
    NoGo { source: io::Error },
    #[error("neither XDG_CACHE_HOME nor HOME is set, so there is no place for the built control plane")]
    NoCache,
    #[error("could not write to the cache folder `{}`", path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error("building {program} failed; the end of `{}`:\n{tail}", log.display())]
    Build { program: &'static str, log: PathBuf, tail: String },
}

impl Binaries {
    /// Builds what is missing of the control plane of `version`.
    pub async fn built(version: &KubernetesVersion) -> Result<Self, BinariesError> {
        let cache = cache_folder()?;
        Ok(Self {
            etcd: module_built(&cache, &GoModule::etcd()).await?,
            kubernetes: module_built(&cache, &GoModule::kubernetes(version)).await?,
            kwok: module_built(&cache, &GoModule::kwok()).await?,
            core_dns: None,
        })
    }

    /// Builds what a real node needs beyond that; other users of the lab do not pay for it.
    pub(crate) async fn with_modified_node(self, version: &KubernetesVersion) -> Result<Self, BinariesError> {
        module_built(&cache_folder()?, &GoModule::kubelet(version)).await?;
        Ok(self)
    }

    /// Builds what Services and names need beyond that.
    pub(crate) async fn with_services(self, version: &KubernetesVersion) -> Result<Self, BinariesError> {
        let cache = cache_folder()?;
        module_built(&cache, &GoModule::kube_proxy(version)).await?;
        Ok(Self { core_dns: Some(module_built(&cache, &GoModule::core_dns()).await?), ..self })
    }

    pub fn etcd(&self) -> PathBuf {
        self.etcd.join("etcd")
    }

    pub fn api_server(&self) -> PathBuf {
        self.kubernetes.join("kube-apiserver")
    }

    pub fn controller_manager(&self) -> PathBuf {
        self.kubernetes.join("kube-controller-manager")
    }

    pub fn scheduler(&self) -> PathBuf {
        self.kubernetes.join("kube-scheduler")
    }

    pub fn kubectl(&self) -> PathBuf {
        self.kubernetes.join("kubectl")
    }

    /// The folder of Kubernetes' own programs, with the kubelet where a node was asked for.
    pub(crate) fn kubernetes(&self) -> &Path {
        &self.kubernetes
    }

    /// CoreDNS, where Services were asked for.
    pub(crate) fn core_dns(&self) -> Option<PathBuf> {
        self.core_dns.as_ref().map(|folder| folder.join("coredns"))
    }

    pub fn kwok(&self) -> PathBuf {
        self.kwok.join("kwok")
    }
}

/// Where Helm lies, which is built if it is missing; nothing of the control plane needs it.
pub(crate) async fn helm() -> Result<PathBuf, BinariesError> {
    Ok(module_built(&cache_folder()?, &GoModule::helm()).await?.join("helm"))
}

/// The folder of everything that is made once and shared by all clones.
pub(crate) fn cache_folder() -> Result<PathBuf, BinariesError> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let root = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(root.ok_or(BinariesError::NoCache)?.join("snapwatcher-lab"))
}

/// Returns the folder with all programs of `module`, building those that are missing.
async fn module_built(cache: &Path, module: &GoModule) -> Result<PathBuf, BinariesError> {
    let home = cache.join(module.digest()?);
    let bin = home.join("bin");
    let missing = || module.programs.iter().filter(|program| !bin.join(program.name).exists());
    if missing().next().is_none() {
        return Ok(bin);
    }
    Command::new("go").arg("version").output().map_err(|source| BinariesError::NoGo { source })?;
    fs::create_dir_all(&bin).map_err(|source| BinariesError::Cache { path: bin.clone(), source })?;
    // Held until the end of this function; released by the kernel however the process ends.
    let _lock = locked(&home.join("lock")).await?;
    for program in missing() {
        build(&home, &bin, module, program).await?;
    }
    Ok(bin)
}

/// Waits for the lock without blocking a thread, so that Ctrl-C still ends the wait.
pub(crate) async fn locked(path: &Path) -> Result<File, BinariesError> {
    let failed = |source| BinariesError::Cache { path: path.to_owned(), source };
    let file = File::create(path).map_err(failed)?;
    let mut announced = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if announced => {}
            Err(TryLockError::WouldBlock) => {
                print_progress("another process is building a part of the lab; waiting for it");
                announced = true;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

async fn build(home: &Path, bin: &Path, module: &GoModule, program: &Program) -> Result<(), BinariesError> {
    let cached = |source| BinariesError::Cache { path: home.to_owned(), source };
    let work = tempfile::Builder::new().prefix("work-").tempdir_in(home).map_err(cached)?;
    let log = home.join(format!("{}.log", program.name));
    fs::write(&log, "").map_err(cached)?;
    let fresh = work.path().join(program.name);
    let mut launch = Launch::new("go", Path::new("go"), &log)
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &module.ldflags, "-o"])
        .args([fresh.as_os_str(), program.package.as_ref()]);
    launch
        .command()
        .current_dir(&module.folder)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOTMPDIR", work.path());

    let name = program.name;
    print_progress(&format!("building {name} (the first time this takes up to several minutes)"));
    let started = Instant::now();
    let mut go = Process::start(launch).await?;
    let status = loop {
        match tokio::time::timeout(HEARTBEAT, go.wait()).await {
            Ok(status) => break status?,
            Err(_) => print_progress(&format!("  still building {name} ... {} s", started.elapsed().as_secs())),
        }
    };
    if !status.success() {
        // Compilers that `go` started may still run; they share its process group.
        drop(go.signal(Signal::SIGKILL));
        return Err(BinariesError::Build { program: name, tail: last_lines(&log, 15), log });
    }
    fs::rename(&fresh, bin.join(name)).map_err(cached)?;
    print_progress(&format!("  built {name} in {} s", started.elapsed().as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_module_whose_programs_stand_in_the_cache_is_not_built() {
        let cache = tempfile::tempdir().unwrap();
        let module = GoModule::etcd();
        let bin = cache.path().join(module.digest().unwrap()).join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("etcd"), "not a program").unwrap();
        assert_eq!(module_built(cache.path(), &module).await.unwrap(), bin);
        assert_eq!(fs::read_to_string(bin.join("etcd")).unwrap(), "not a program");
    }

    #[tokio::test]
    async fn a_build_that_fails_shows_what_the_compiler_said_and_leaves_no_binary() {
        let cache = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("go.mod"), "module example.invalid/broken\n").unwrap();
        fs::write(folder.path().join("go.sum"), "").unwrap();
        fs::write(folder.path().join("main.go"), "package main\nfunc main() { nonsense }\n").unwrap();
        let module = GoModule {
            folder: folder.path().to_owned(),
            ldflags: String::new(),
            programs: vec![Program { name: "broken", package: ".".to_owned() }],
        };
        let message = module_built(cache.path(), &module).await.unwrap_err().to_string();
        assert!(message.contains("nonsense"), "{message}");
        assert!(!cache.path().join(module.digest().unwrap()).join("bin/broken").exists());
    }

    #[tokio::test]
    async fn a_second_process_waits_for_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = locked(&path).await.unwrap();
        let mut second = Box::pin(locked(&path));
        assert!(tokio::time::timeout(LOCK_POLL * 2, &mut second).await.is_err());
        drop(first);
        second.await.unwrap();
    }
}
