//! What a node has to have for a restore of a checkpoint that was taken on another.
//!
//! The version of CRIU is in none of its images: `inventory.img` only has the version of the image format (CRIU 4.2,
//! `images/inventory.proto`), and `stats-dump` only has times and counts. The first lines of `dump.log` have it, where the runtime
//! keeps that file.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::documents::ConfigDump;

/// The machine on which the checkpoint was taken. The caller reads these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine<'a> {
    /// Such as `x86_64`: `std::env::consts::ARCH`.
    pub architecture: &'a str,
    /// The text of /proc/cpuinfo.
    pub cpuinfo: &'a str,
    /// Such as `6.18.0-1-amd64`: `uname -r`.
    pub kernel: &'a str,
}

/// What a checkpoint requires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    pub architecture: String,
    /// What all processors have in common. Empty: /proc/cpuinfo has no line that names them.
    pub cpu_flags: BTreeSet<String>,
    pub kernel: String,
    /// Such as `4.2.1`. `None`: the archive does not contain it.
    pub criu: Option<String>,
    /// The name by which the container runtime calls the OCI runtime, such as `io.containerd.runc.v2` or `crun`.
    pub runtime: Option<String>,
}

/// The requirements of a checkpoint, by its `config.dump` and the beginning of its `dump.log`.
pub fn requirements(machine: &Machine<'_>, config: &ConfigDump, log_head: &[u8]) -> Requirements {
    Requirements {
        architecture: machine.architecture.to_owned(),
        cpu_flags: cpu_flags(machine.cpuinfo),
        kernel: machine.kernel.to_owned(),
        criu: criu_version(log_head),
        runtime: Some(config.runtime.clone()).filter(|name| is_word(name)),
    }
}

/// The line is `flags` on x86 and `Features` on ARM, once for each processor.
fn cpu_flags(cpuinfo: &str) -> BTreeSet<String> {
    let lists = cpuinfo.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        matches!(key.trim_end(), "flags" | "Features").then_some(value)
    });
    let sets = lists.map(|list| list.split_whitespace().collect::<BTreeSet<_>>());
    let common = sets.reduce(|one, other| one.intersection(&other).copied().collect());
    common.unwrap_or_default().into_iter().map(str::to_owned).collect()
}

/// CRIU writes `(00.000123) Version: 4.2.1 (gitid 0)` before anything of the container (`criu/log.c`, `print_versions`).
fn criu_version(log_head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(log_head);
    let version = text.lines().find_map(|line| {
        let (_, message) = line.strip_prefix('(')?.split_once(") ")?;
        message.strip_prefix("Version: ")?.split_whitespace().next()
    });
    version.filter(|version| is_word(version)).map(str::to_owned)
}

/// Whether a text of the archive can be stored and shown as it is.
fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'~' | b'/');
    (1..=64).contains(&text.len()) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86: &str =
        "processor\t: 0\nflags\t\t: fpu vme avx2\nbugs\t\t: none\n\nprocessor\t: 1\nflags\t\t: fpu avx2 sse\n";

    #[test]
    fn the_flags_are_those_of_all_processors() {
        for (cpuinfo, expected) in [
            (X86, &["avx2", "fpu"][..]),
            ("processor\t: 0\nFeatures\t: fp asimd\n", &["asimd", "fp"]),
            ("processor\t: 0\nvmx flags\t: vnmi\n", &[]),
            ("", &[]),
        ] {
            assert_eq!(cpu_flags(cpuinfo).iter().collect::<Vec<_>>(), expected, "{cpuinfo}");
        }
    }

    #[test]
    fn the_version_of_criu_is_in_the_first_lines_of_its_log() {
        for (log, expected) in [
            (&b"(00.000000) Version: 4.2.1 (gitid 0)\n(00.000011) Running on node Linux 6.18\n"[..], Some("4.2.1")),
            (b"(00.000000) Unable to get $HOME\n(00.000001) Version: 4.3 (gitid v4.3)\n", Some("4.3")),
            (b"(00.000000) Version: \xff\xfe (gitid 0)\n", None),
            (b"(00.000000) Version: \n", None),
            (b"Version: 4.2.1 (gitid 0)\n", None),
            (b"", None),
        ] {
            assert_eq!(criu_version(log).as_deref(), expected, "{}", String::from_utf8_lossy(log));
        }
    }

    #[test]
    fn the_name_of_the_runtime_is_kept_only_if_it_is_a_word() {
        let machine = Machine { architecture: "x86_64", cpuinfo: X86, kernel: "6.18.0" };
        let too_long = "x".repeat(65);
        for (name, expected) in [
            ("io.containerd.runc.v2", Some("io.containerd.runc.v2")),
            ("/usr/bin/crun", Some("/usr/bin/crun")),
            ("", None),
            ("a b", None),
            (too_long.as_str(), None),
        ] {
            let config = ConfigDump { runtime: name.to_owned(), ..ConfigDump::default() };
            let requirements = requirements(&machine, &config, b"");
            assert_eq!(requirements.runtime.as_deref(), expected, "{name}");
            assert_eq!((requirements.architecture.as_str(), requirements.criu), ("x86_64", None));
        }
    }
}
