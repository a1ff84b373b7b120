//! What a machine lacks to have a real node, in one line that says what to do.
//!
//! CRIU's own verdict is the best one on a kernel; it is asked for when the node's root is there. This look costs
//! nothing and comes first, so that a machine which can't is told before minutes are spent on it.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::root_file_system::{is_made, mirror, which};

/// Programs of this machine that a node is started by, and the Debian package of each.
const PROGRAMS: [(&str, &str); 6] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("pivot_root", "util-linux"),
    ("mount", "mount"),
    ("hostname", "hostname"),
];

/// The setting of the kernel that exists only where it was built with CHECKPOINT_RESTORE.
const CHECKPOINT_RESTORE: &str = "/proc/sys/kernel/ns_last_pid";

/// What is missing on this machine; None: a node can be tried.
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
            "this kernel was built without CONFIG_CHECKPOINT_RESTORE ({CHECKPOINT_RESTORE} is missing), which criu \
             needs: use another kernel"
        ));
    }
    if !may_unshare() {
        return Some(
            "this process may not make namespaces, though it is root (a container without privileges?): run it on a \
             machine, or in a privileged container"
                .to_owned(),
        );
    }
    let folder = env::temp_dir();
    if !holds_overlays(&folder) {
        return Some(format!(
            "no overlay can be mounted over the folder `{}` (it lies on an overlay itself, as in a container, or the \
             kernel has no overlayfs): name one on another file system by TMPDIR",
            folder.display()
        ));
    }
    None
}

/// Runs a command in namespaces of its own, in which whatever it mounts ends; whether it succeeded.
fn runs_unshared<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]).args(command);
    let quiet = unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn may_unshare() -> bool {
    runs_unshared(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
}

/// Whether a node's root file system, an overlay that is written to in this folder, can be mounted.
fn holds_overlays(folder: &Path) -> bool {
    const MOUNT: &str = "cd \"$1\" && mkdir lower upper scratch root && \
                         mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=scratch root";
    // Where even no folder can be made, starting a node tells so in its own words.
    tempfile::tempdir_in(folder).map_or(true, |folder| {
        runs_unshared(["sh", "-c", MOUNT, "mount"].map(OsStr::new).into_iter().chain([folder.path().as_os_str()]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows something only where overlays can be mounted at all.
    #[test]
    fn an_overlay_over_an_overlay_is_refused_and_over_a_file_system_of_its_own_is_not() {
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
