//! The images that every node has: the pause container of each pod, and a shell.

use std::fs;

use super::error::NodeError;
use super::image::{Files, Image};
use super::namespaces::NodeNamespaces;
use super::settings::PAUSE;

/// An image with a shell.
pub(super) const BUSYBOX: &str = "busybox:lab";

/// The path of the statically linked busybox in Debian.
const PROGRAM: &str = "usr/bin/busybox";

/// The commands that scripts can use. busybox runs the command by whose name it is called.
const APPLETS: [&str; 17] = [
    "cat", "cp", "date", "echo", "env", "grep", "httpd", "id", "kill", "ls", "mkdir", "nc", "nslookup", "sh", "sleep",
    "touch", "wget",
];

/// All base images, by name.
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
