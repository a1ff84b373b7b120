//! The images that every node has: the first container of each pod, and a shell to try things with.

use std::fs;

use super::error::NodeError;
use super::image::{Files, Image};
use super::namespaces::NodeNamespaces;
use super::settings::PAUSE;

/// The shell's image; its program is a shell.
pub(super) const BUSYBOX: &str = "busybox:lab";

/// Where Debian puts the statically linked busybox.
const PROGRAM: &str = "usr/bin/busybox";

/// What a shell script may call; busybox acts as the name that it is called by.
const APPLETS: [&str; 17] = [
    "cat", "cp", "date", "echo", "env", "grep", "httpd", "id", "kill", "ls", "mkdir", "nc", "nslookup", "sh", "sleep",
    "touch", "wget",
];

/// All of them, by name.
pub(super) fn images(inside: NodeNamespaces) -> Result<[(&'static str, Image); 2], NodeError> {
    let failed = |what| move |source| NodeError::Prepare { what, source };
    let busybox = fs::read(inside.path(PROGRAM)).map_err(failed("read busybox"))?;
    let packed = |command: &[&str]| {
        let mut files =
            Files::new().folder("bin", 0o755)?.folder("tmp", 0o1777)?.file("bin/busybox", 0o755, &busybox)?;
        for applet in APPLETS {
            files = files.link(&format!("bin/{applet}"), "busybox")?;
        }
        files.image(command)
    };
    let pause = packed(&["/bin/sleep", "2147483647"]).map_err(failed("pack an image"))?;
    let shell = packed(&["/bin/sh"]).map_err(failed("pack an image"))?;
    Ok([(PAUSE, pause), (BUSYBOX, shell)])
}
