//! The folder `target/lab`, by which `lab down`, kubectl and a person find a running control plane.
//!
//! The folder has `kubeconfig`, `kubectl` and `pid`. A lab holds a lock on `pid` as long as it runs. The lock shows
//! whether the file was left by a lab that was killed. A process id alone does not, because another process may have
//! it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::access::{Access, AccessError};

/// How long a lab may take to end after `lab down`.
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The claim of this process on the folder. Dropping it removes the folder.
#[derive(Debug)]
pub struct Registration {
    folder: PathBuf,
    access: Option<Access>,
    // Only held: the lock shows that this process runs.
    _pid: File,
}

/// The result of `lab down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Stopped { pid: i32 },
    NotRunning,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error("another lab is running (pid {pid}); stop it by `lab down`")]
    Running { pid: String },
    #[error("could not use the folder `{}`", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the pid file `{}` has the text `{text}`, which is not a process id; remove the file", path.display())]
    NotAPid { path: PathBuf, text: String },
    #[error("could not send SIGTERM to the lab (pid {pid})")]
    Signal { pid: i32, source: nix::Error },
    #[error("the lab (pid {pid}) is still running {} s after SIGTERM", TIMEOUT.as_secs())]
    StillRunning { pid: i32 },
}

impl Registration {
    /// The folder of this workspace.
    pub fn folder_of_workspace() -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        target.unwrap_or_else(|| root.join("target")).join("lab")
    }

    /// Claims `folder` for this process.
    pub fn claim(folder: &Path) -> Result<Self, RegistrationError> {
        let failed = |source| RegistrationError::Folder { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut pid = open(&folder.join("pid")).map_err(failed)?;
        match pid.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RegistrationError::Running { pid: text_of(&mut pid) }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        pid.set_len(0).and_then(|()| writeln!(pid, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), access: None, _pid: pid })
    }

    /// Writes this control plane's kubeconfig and kubectl into the folder.
    pub fn publish(&mut self, access: &Access) -> Result<&Access, RegistrationError> {
        let failed = |source| RegistrationError::Folder { folder: self.folder.clone(), source };
        let kubeconfig = fs::read_to_string(access.kubeconfig()).map_err(failed)?;
        let kubectl = fs::read_link(access.kubectl()).map_err(failed)?;
        Ok(self.access.insert(Access::create(&self.folder, &kubeconfig, &kubectl)?))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(access) = &self.access {
            access.remove();
        }
        // The folder is removed only if it is empty, because users may have put files into it.
        drop(fs::remove_file(self.folder.join("pid")));
        drop(fs::remove_dir(&self.folder));
    }
}

/// A path relative to the root of the repository, for messages.
pub fn shown(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path).display().to_string()
}

/// The shell command that selects the control plane which is registered in `folder`. It works in any folder.
pub fn export_command(folder: &Path) -> io::Result<String> {
    Ok(format!("export KUBECONFIG={}", absolute(folder.join("kubeconfig"))?.display()))
}

/// Stops the lab that is registered in `folder` and waits for its end.
pub async fn end(folder: &Path) -> Result<Ended, RegistrationError> {
    let path = folder.join("pid");
    if !path.exists() {
        return Ok(Ended::NotRunning);
    }
    let failed = |source| RegistrationError::Folder { folder: folder.to_owned(), source };
    let mut file = open(&path).map_err(failed)?;
    if is_free(&file).map_err(failed)? {
        // The lab was killed, and its processes died with it.
        drop(fs::remove_dir_all(folder));
        return Ok(Ended::NotRunning);
    }
    let text = text_of(&mut file);
    let Ok(pid) = text.parse::<i32>() else { return Err(RegistrationError::NotAPid { path, text }) };
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|source| RegistrationError::Signal { pid, source })?;
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        if is_free(&file).map_err(failed)? {
            return Ok(Ended::Stopped { pid });
        }
        tokio::time::sleep(POLL).await;
    }
    Err(RegistrationError::StillRunning { pid })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn is_free(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn text_of(file: &mut File) -> String {
    let mut text = String::new();
    // A file that cannot be read is reported as one without a process id.
    drop(file.rewind().and_then(|()| file.read_to_string(&mut text)));
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_process_at_a_time_claims_a_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("lab");
        let first = Registration::claim(&folder).unwrap();
        let message = Registration::claim(&folder).unwrap_err().to_string();
        assert!(message.contains(&std::process::id().to_string()) && message.contains("lab down"), "{message}");
        drop(first);
        assert!(!folder.exists());
        Registration::claim(&folder).unwrap();
    }

    #[test]
    fn the_kubeconfig_is_named_by_its_absolute_path_also_outside_the_repository() {
        assert_eq!(export_command(Path::new("/elsewhere/lab")).unwrap(), "export KUBECONFIG=/elsewhere/lab/kubeconfig");
        let here = std::env::current_dir().unwrap();
        let expected = format!("export KUBECONFIG={}", here.join("target/lab/kubeconfig").display());
        assert_eq!(export_command(Path::new("target/lab")).unwrap(), expected);
    }

    #[tokio::test]
    async fn the_folder_of_a_killed_lab_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("lab");
        assert_eq!(end(&folder).await.unwrap(), Ended::NotRunning);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("pid"), "1").unwrap();
        assert_eq!(end(&folder).await.unwrap(), Ended::NotRunning);
        assert!(!folder.exists());
    }
}
