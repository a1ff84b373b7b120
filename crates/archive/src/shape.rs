//! The shape of a container: what has to be equal in the container that is restored from a checkpoint.
//!
//! The shape is one digest, so two shapes can only be equal or not. It is what admission and agents know early. Whether a
//! restore is safe is decided on the node, field by field, from `spec.dump` and the new container's `config.json`.
//!
//! Left out is what differs between two pods of one template, as seen with containerd 2.1 and 2.4: the sources of mounts, the
//! paths of cgroups and namespaces, all annotations, the order of the environment, and some of its variables.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::documents::{Capabilities, SpecDump};
use crate::environment::Ignored;

/// Changes with what is in a shape, so that an old one is never equal to a new one.
const VERSION: &str = "snapwatcher shape 1";

/// The digest in hexadecimal.
///
/// Ignored in the environment are `HOSTNAME`, what the kubelet adds for Services, and the variables of these names.
pub fn shape(spec: &SpecDump, ignored: &[&str]) -> String {
    let mut form = Form::new();
    let process = &spec.process;
    // Process: what runs, and with which input.
    form.texts("args", &process.args);
    form.text("cwd", &process.cwd);
    form.number("terminal", u64::from(process.terminal));
    let ignored = Ignored::new(&process.env, ignored);
    form.sorted("env", process.env.iter().filter(|variable| !ignored.has(variable)));
    // User: owner of files and processes.
    form.number("uid", u64::from(process.user.uid));
    form.number("gid", u64::from(process.user.gid));
    form.text("umask", &process.user.umask.map(|umask| umask.to_string()).unwrap_or_default());
    form.sorted("groups", process.user.additional_gids.iter().map(u32::to_string));
    // Privileges. There is no field for a privileged container: it has all capabilities, no seccomp filter, and no masked
    // and read-only paths.
    let Capabilities { bounding, effective, inheritable, permitted, ambient } = &process.capabilities;
    form.sorted("bounding", bounding);
    form.sorted("effective", effective);
    form.sorted("inheritable", inheritable);
    form.sorted("permitted", permitted);
    form.sorted("ambient", ambient);
    form.number("noNewPrivileges", u64::from(process.no_new_privileges));
    form.text("apparmor", &process.apparmor_profile);
    form.text("selinux", without_level(&process.selinux_label));
    let seccomp = spec.linux.seccomp.map(|digest| hexadecimal(&digest.0)).unwrap_or_default();
    form.text("seccomp", &seccomp);
    form.sorted("maskedPaths", &spec.linux.masked_paths);
    form.sorted("readonlyPaths", &spec.linux.readonly_paths);
    // Limits.
    let memory = spec.linux.resources.memory.limit.filter(|limit| *limit > 0);
    form.text("memory", &memory.map(|limit| limit.to_string()).unwrap_or_default());
    let rlimits = process.rlimits.iter().map(|limit| format!("{} {} {}", limit.kind, limit.soft, limit.hard));
    form.sorted("rlimits", rlimits);
    // What the container sees: where something is mounted, and which namespaces it shares with its pod or its node.
    form.sorted("mounts", spec.mounts.iter().map(|mount| format!("{} {}", mount.kind, mount.destination)));
    form.number("rootReadonly", u64::from(spec.root.readonly));
    let namespaces = spec.linux.namespaces.iter();
    let joined = |path: &str| if path.is_empty() { "own" } else { "joined" };
    form.sorted("namespaces", namespaces.map(|one| format!("{} {}", joined(&one.path), one.kind)));
    form.finish()
}

/// User, role and type of an SELinux label. CRI-O draws the level for each pod.
fn without_level(label: &str) -> &str {
    label.match_indices(':').nth(2).map_or(label, |(at, _)| &label[..at])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}"); // writing to a String can't fail
        digits
    })
}

/// What is hashed: fields in a fixed order, each text with its length before it, so that no two shapes have the same bytes.
struct Form(Sha256);

impl Form {
    fn new() -> Self {
        let mut form = Self(Sha256::new());
        form.bytes(VERSION);
        form
    }

    fn bytes(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    fn text(&mut self, field: &str, value: &str) {
        self.bytes(field);
        self.bytes(value);
    }

    fn number(&mut self, field: &str, value: u64) {
        self.bytes(field);
        self.0.update(value.to_be_bytes());
    }

    fn texts<T: AsRef<str>>(&mut self, field: &str, values: &[T]) {
        self.number(field, values.len() as u64);
        for value in values {
            self.bytes(value.as_ref());
        }
    }

    /// Of values whose order has no meaning.
    fn sorted<T: AsRef<str> + Ord>(&mut self, field: &str, values: impl IntoIterator<Item = T>) {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort();
        self.texts(field, &values);
    }

    fn finish(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

#[cfg(test)]
mod tests;
