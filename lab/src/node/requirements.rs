//! Checks whether this machine can run a real node. An unmet requirement is one line that says what to do.
//!
//! These checks are fast and come before anything is built. `criu check` runs later, when the node's root file system
//! exists.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::root_file_system::{is_made, mirror, which};

/// Programs that start a node, and their Debian packages.
const PROGRAMS: [(&str, &str); 6] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("pivot_root", "util-linux"),
    ("mount", "mount"),
    ("hostname", "hostname"),
];

/// This file exists only if the kernel was built with CONFIG_CHECKPOINT_RESTORE.
const CHECKPOINT_RESTORE: &str = "/proc/sys/kernel/ns_last_pid";

/// The first unmet requirement. None: all are met.
pub(super) fn unmet() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("a real node needs Linux".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("a real node needs root (namespaces, mounts, control groups): run this as root".to_owned());
    }
    for (program, package) in PROGRAMS {
        if which(program).is_none() {
            return Some(format!("a real node needs `{program}`: apt-get install {package}"));
        }
    }
    if !is_made() && which("debootstrap").is_none() {
        return Some("a real node needs `debootstrap`, once: apt-get install debootstrap".to_owned());
    }
    if !is_made()
        && let Err(error) = mirror()
    {
        return Some(error.to_string());
    }
    if !Path::new(CHECKPOINT_RESTORE).exists() {
        return Some(format!(
            "criu needs a kernel with CONFIG_CHECKPOINT_RESTORE, which this one lacks ({CHECKPOINT_RESTORE} is \
             missing): use another kernel"
        ));
    }
    if !may_unshare() {
        return Some(
            "this process is root but cannot create namespaces, perhaps because it runs in a container without \
             privileges: run it on a machine or in a privileged container"
                .to_owned(),
        );
    }
    let folder = env::temp_dir();
    if !holds_overlays(&folder) {
        return Some(format!(
            "no overlay can be mounted in the folder `{}`, because it is on an overlay itself (as in a container) or \
             the kernel has no overlayfs: set TMPDIR to a folder on another file system",
            folder.display()
        ));
    }
    None
}

/// Runs a command in new namespaces, with which its mounts end. Returns whether it succeeded.
fn runs_unshared<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]).args(command);
    let quiet = unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn may_unshare() -> bool {
    runs_unshared(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
}

/// Whether a node's root file system can be mounted: an overlay whose upper layer is in this folder.
fn holds_overlays(folder: &Path) -> bool {
    const MOUNT: &str = "cd \"$1\" && mkdir lower upper scratch root && \
                         mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=scratch root";
    // If the folder cannot be created, starting the node reports it.
    tempfile::tempdir_in(folder).map_or(true, |folder| {
        runs_unshared(["sh", "-c", MOUNT, "mount"].map(OsStr::new).into_iter().chain([folder.path().as_os_str()]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks something only on machines that can mount overlays.
    #[test]
    fn an_overlay_cannot_be_mounted_over_an_overlay() {
        if !nix::unistd::geteuid().is_root() || !may_unshare() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let inner = "mkdir \"$1/lower\" \"$1/upper\" \"$1/scratch\" \"$1/root\"; cd \"$1\"; \
                     mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=scratch root && \
                     mkdir root/lower root/upper root/scratch root/root && cd root && \
                     ! mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=scratch root";
        let command = ["sh", "-c", inner, "sh"].map(OsStr::new);
        assert_eq!(
            runs_unshared(command.into_iter().chain([folder.path().as_os_str()])),
            holds_overlays(folder.path())
        );
    }
}
