//! The root file system of a node: a small Debian with containerd, runc and criu, which debootstrap makes once.
//!
//! Its folder in the cache is named by a digest of the recipe and is never changed, because each node mounts an overlay
//! over it. The mirror is that of this machine's apt, or the one in the environment variable.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use crate::build_cache::{BuildCache, BuildError, locked};
use crate::process::{Launch, Process, ProcessError, last_lines};
use crate::terminal::print_progress;

/// Names the Debian mirror, for machines whose apt has none.
const MIRROR_VARIABLE: &str = "SNAPWATCHER_LAB_MIRROR";

/// A release whose criu works on current kernels. criu 3.17 of Debian 12 fails on kernel 6.18.
const SUITE: &str = "forky";

/// The programs of a node, and a tool to inspect its archives.
const PACKAGES: [&str; 16] = [
    "busybox-static",
    "ca-certificates",
    "checkpointctl",
    "containerd",
    "containernetworking-plugins",
    "criu",
    "docker-registry",
    "iproute2",
    "iptables",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "runc",
    "tini",
    "util-linux",
];

/// The script of all Debian releases. Older versions of debootstrap have no script named after this release.
const SCRIPT: &str = "/usr/share/debootstrap/scripts/sid";

/// Runs in its own namespaces, with which all processes and mounts of the packages end.
const MAKE: &str = r#"set -eu
debootstrap --variant=minbase --include="$1" "$2" "$3" "$4" "$5"
rm -rf "$3"/var/cache/apt/archives/*.deb "$3"/var/lib/apt/lists/*
"#;

#[derive(Debug, thiserror::Error)]
pub enum RootFileSystemError {
    #[error(transparent)]
    Cache(#[from] BuildError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(
        "`debootstrap` was not found, but the root file system of a node is made by it: apt-get install debootstrap"
    )]
    NoDebootstrap,
    #[error(
        "apt has no Debian mirror for the root file system of a node: set {MIRROR_VARIABLE} to the URL of a mirror"
    )]
    NoMirror,
    #[error("could not write to the cache folder `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "debootstrap could not make the root file system of a node (Debian {SUITE}); {MIRROR_VARIABLE} names another \
         mirror; the end of `{}`:\n{tail}",
        log.display()
    )]
    Make { log: PathBuf, tail: String },
}

/// Whether the root file system exists, so that debootstrap is not needed.
pub(crate) fn is_made() -> bool {
    home().is_ok_and(|home| home.join("root").exists())
}

/// Returns the root file system. Makes it first if it is missing, which takes two minutes.
pub(crate) async fn made() -> Result<PathBuf, RootFileSystemError> {
    let home = home()?;
    let root = home.join("root");
    if root.exists() {
        return Ok(root);
    }
    let failed = |source| RootFileSystemError::Write { path: home.clone(), source };
    fs::create_dir_all(&home).map_err(failed)?;
    let _lock = locked(&home.join("lock")).await?;
    if root.exists() {
        return Ok(root);
    }
    if which("debootstrap").is_none() {
        return Err(RootFileSystemError::NoDebootstrap);
    }
    let mirror = mirror()?;
    // This process holds the lock, so these folders were left by labs that were killed.
    for entry in fs::read_dir(&home).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("work-") {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    let work = tempfile::Builder::new().prefix("work-").tempdir_in(&home).map_err(failed)?;
    make(&work.path().join("root"), &mirror, &home.join("debootstrap.log")).await?;
    fs::rename(work.path().join("root"), &root).map_err(failed)?;
    Ok(root)
}

async fn make(root: &Path, mirror: &str, log: &Path) -> Result<(), RootFileSystemError> {
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source| RootFileSystemError::Write { path, source }
    };
    // The parent folder is private. This one is the root of containers with other users, so it has the usual mode.
    fs::create_dir_all(root).map_err(written(root))?;
    fs::write(log, "").map_err(written(log))?;
    let launch = Launch::new("debootstrap", Path::new("unshare"), log)
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["sh", "-c", MAKE, "make", &PACKAGES.join(","), SUITE])
        .args([root.as_os_str(), mirror.as_ref(), SCRIPT.as_ref()]);
    print_progress("Making the root file system of a node by debootstrap (once, about two minutes).");
    let started = Instant::now();
    let mut debootstrap = Process::start(launch).await?;
    let report = || print_progress(&format!("  {} s: {}", started.elapsed().as_secs(), last_lines(log, 1)));
    let status = debootstrap.wait_and_report(report).await?;
    if !status.success() {
        drop(debootstrap.signal(Signal::SIGKILL));
        return Err(RootFileSystemError::Make { tail: last_lines(log, 15), log: log.to_owned() });
    }
    print_progress(&format!("Made the root file system in {} s.", started.elapsed().as_secs()));
    Ok(())
}

fn home() -> Result<PathBuf, BuildError> {
    Ok(BuildCache::of_user()?.folder().join(format!("node-{}", digest())))
}

/// Identifies the result of the recipe.
fn digest() -> String {
    let mut hash = Sha256::new();
    for part in PACKAGES.into_iter().chain([SUITE, SCRIPT, MAKE]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut hex = format!("{:x}", hash.finalize());
    hex.truncate(20);
    hex
}

/// The path of a program on PATH.
pub(super) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // The PATH of a user who became root may lack these folders.
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The mirror for the packages of a node.
pub(super) fn mirror() -> Result<String, RootFileSystemError> {
    if let Some(mirror) = env::var(MIRROR_VARIABLE).ok().filter(|mirror| !mirror.is_empty()) {
        return Ok(mirror);
    }
    let listed = Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(COMPONENT)"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    mirror_of(&listed).ok_or(RootFileSystemError::NoMirror)
}

/// The first of apt's repositories that is a mirror of a Debian release. Its path ends in `debian`; those of security
/// updates and backports end in other words.
fn mirror_of(listed: &str) -> Option<String> {
    let mut repositories = listed.lines().filter_map(|line| line.split_once(' '));
    let is_debian = |uri: &str| uri.starts_with("http") && uri.trim_end_matches('/').ends_with("/debian");
    let found = repositories.find(|(uri, component)| is_debian(uri) && component.trim() == "main");
    found.map(|(uri, _)| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release() {
        let listed = "http://mirror.invalid/debian-security/ main\n\
                      https://other.invalid/apt/ main\n\
                      http://mirror.invalid/debian/ contrib\n\
                      http://mirror.invalid/debian/ main\n";
        assert_eq!(mirror_of(listed).as_deref(), Some("http://mirror.invalid/debian/"));
        assert_eq!(mirror_of("file:/srv/debian main\n"), None);
        assert_eq!(mirror_of(""), None);
    }

    #[test]
    fn without_a_mirror_the_error_names_the_variable() {
        assert!(RootFileSystemError::NoMirror.to_string().contains(MIRROR_VARIABLE));
    }
}
