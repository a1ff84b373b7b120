//! Builds Go programs from source into a cache that all clones share.
//!
//! A program is built under another name and then renamed, so every program in the cache is complete. A lock file keeps
//! two processes from building the same program twice.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::go_module::{GoModule, GoModuleError, Program};
use crate::process::{Launch, Process, ProcessError, last_lines};
use crate::terminal::print_progress;

/// How often a process looks whether another one has released the lock.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// The folder of everything that is built once and shared by all clones.
#[derive(Clone, Debug)]
pub(crate) struct BuildCache {
    folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Module(#[from] GoModuleError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(
        "`go` was not found: the lab builds a Kubernetes control plane from source; install Go 1.26 or later \
         (https://go.dev/doc/install) and put it on PATH"
    )]
    NoGo { source: io::Error },
    #[error(
        "neither XDG_CACHE_HOME nor HOME is set, so the lab has no cache folder for built programs: set one of them"
    )]
    NoCache,
    #[error("could not write to the cache folder `{}`", path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error("building {program} failed; the end of `{}`:\n{tail}", log.display())]
    Build { program: &'static str, log: PathBuf, tail: String },
}

impl BuildCache {
    /// The cache of the user who runs this process.
    pub(crate) fn of_user() -> Result<Self, BuildError> {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let root = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Ok(Self { folder: root.ok_or(BuildError::NoCache)?.join("snapwatcher-lab") })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that holds the programs of this module.
    pub(crate) fn programs(&self, module: &GoModule) -> Result<PathBuf, BuildError> {
        Ok(self.folder.join(module.digest()?).join("bin"))
    }

    /// Builds the programs of these modules that are missing, and prints how far the builds are.
    pub(crate) async fn build(&self, modules: &[GoModule]) -> Result<(), BuildError> {
        let mut builds = Vec::with_capacity(modules.len());
        for module in modules {
            builds.push(ModuleBuild { module, home: self.folder.join(module.digest()?) });
        }
        let steps = builds.iter().map(|build| build.missing().count()).sum();
        if steps == 0 {
            return Ok(());
        }
        Command::new("go").arg("version").output().map_err(|source| BuildError::NoGo { source })?;
        print_progress(&format!(
            "Building {steps} program(s) from source into {}, once. On two cores kube-apiserver takes about 8 minutes, \
             every other program less.",
            self.folder.display()
        ));
        let mut progress = Progress { steps, step: 0, started: Instant::now() };
        for build in builds {
            build.run(&mut progress).await?;
        }
        Ok(())
    }
}

/// The current step of the builds and the time since the first one.
struct Progress {
    steps: usize,
    step: usize,
    started: Instant,
}

impl Progress {
    fn print(&self, message: &str) {
        print_progress(&self.line(message, self.started.elapsed()));
    }

    fn line(&self, message: &str, elapsed: Duration) -> String {
        let (minutes, seconds) = (elapsed.as_secs() / 60, elapsed.as_secs() % 60);
        format!("step {} of {}, {minutes} min {seconds:02} s so far: {message}", self.step, self.steps)
    }
}

struct ModuleBuild<'a> {
    module: &'a GoModule,
    /// The module's folder in the cache.
    home: PathBuf,
}

impl ModuleBuild<'_> {
    fn bin(&self) -> PathBuf {
        self.home.join("bin")
    }

    fn missing(&self) -> impl Iterator<Item = &Program> {
        let bin = self.bin();
        self.module.programs.iter().filter(move |program| !bin.join(program.name).exists())
    }

    async fn run(&self, progress: &mut Progress) -> Result<(), BuildError> {
        if self.missing().next().is_none() {
            return Ok(());
        }
        let bin = self.bin();
        fs::create_dir_all(&bin).map_err(|source| BuildError::Cache { path: bin.clone(), source })?;
        // Held until the end of this function. The kernel releases it if the process is killed.
        let _lock = locked(&self.home.join("lock")).await?;
        for program in self.missing() {
            // Another process may have built some of these programs meanwhile, so there may be fewer steps.
            progress.step += 1;
            self.build(program, progress).await?;
        }
        Ok(())
    }

    async fn build(&self, program: &Program, progress: &Progress) -> Result<(), BuildError> {
        let cached = |source| BuildError::Cache { path: self.home.clone(), source };
        let work = tempfile::Builder::new().prefix("work-").tempdir_in(&self.home).map_err(cached)?;
        let name = program.name;
        let log = self.home.join(format!("{name}.log"));
        fs::write(&log, "").map_err(cached)?;
        let fresh = work.path().join(name);
        let mut launch = Launch::new("go", Path::new("go"), &log)
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &self.module.ldflags, "-o"])
            .args([fresh.as_os_str(), program.package.as_ref()]);
        launch
            .command()
            .current_dir(&self.module.folder)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOTMPDIR", work.path());

        progress.print(&format!("building {name}"));
        let started = Instant::now();
        let mut go = Process::start(launch).await?;
        let status = go.wait_and_report(|| progress.print(&format!("still building {name}"))).await?;
        if !status.success() {
            // Compilers that `go` started may still run. They are in its process group.
            drop(go.signal(Signal::SIGKILL));
            return Err(BuildError::Build { program: name, tail: last_lines(&log, 15), log });
        }
        fs::rename(&fresh, self.bin().join(name)).map_err(cached)?;
        progress.print(&format!("built {name} in {} s", started.elapsed().as_secs()));
        Ok(())
    }
}

/// Waits for the lock without blocking a thread, so that Ctrl-C ends the wait.
pub(crate) async fn locked(path: &Path) -> Result<File, BuildError> {
    let failed = |source| BuildError::Cache { path: path.to_owned(), source };
    let file = File::create(path).map_err(failed)?;
    let mut announced = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if announced => {}
            Err(TryLockError::WouldBlock) => {
                print_progress("Another process is building a part of the lab. Waiting for it.");
                announced = true;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_step_and_time() {
        let progress = Progress { steps: 7, step: 2, started: Instant::now() };
        let line = progress.line("building kubectl", Duration::from_secs(187));
        assert_eq!(line, "step 2 of 7, 3 min 07 s so far: building kubectl");
    }

    fn cache() -> (tempfile::TempDir, BuildCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = BuildCache { folder: folder.path().to_owned() };
        (folder, cache)
    }

    #[tokio::test]
    async fn a_program_in_the_cache_is_not_built() {
        let (_folder, cache) = cache();
        let module = GoModule::etcd();
        let etcd = cache.programs(&module).unwrap().join("etcd");
        fs::create_dir_all(etcd.parent().unwrap()).unwrap();
        fs::write(&etcd, "not a program").unwrap();
        cache.build(&[module]).await.unwrap();
        assert_eq!(fs::read_to_string(etcd).unwrap(), "not a program");
    }

    #[tokio::test]
    async fn a_failed_build_shows_the_compilers_message_and_leaves_no_binary() {
        let (_folder, cache) = cache();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("go.mod"), "module example.invalid/broken\n").unwrap();
        fs::write(folder.path().join("go.sum"), "").unwrap();
        fs::write(folder.path().join("main.go"), "package main\nfunc main() { nonsense }\n").unwrap();
        let module = GoModule {
            folder: folder.path().to_owned(),
            ldflags: String::new(),
            programs: vec![Program { name: "broken", package: ".".to_owned() }],
        };
        let binary = cache.programs(&module).unwrap().join("broken");
        let message = cache.build(&[module]).await.unwrap_err().to_string();
        assert!(message.contains("nonsense"), "{message}");
        assert!(!binary.exists());
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
