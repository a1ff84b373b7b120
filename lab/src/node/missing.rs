//! What a machine lacks to have a real node, in one line that says what to do.
//!
//! CRIU's own verdict is the best one on a kernel; it is asked for when the node's root is there. This look costs
//! nothing and comes first, so that a machine which can't is told before minutes are spent on it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::root::{is_made, which};

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
pub(super) fn missing() -> Option<String> {
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
    None
}

fn may_unshare() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    let quiet = unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
