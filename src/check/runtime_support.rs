//! Which versions of container runtimes and kubelets can take checkpoints, and which can restore them.
//!
//! Checkpoint: the kubelet since 1.25 with the feature gate ContainerCheckpoint, on by default since 1.30
//! (<https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/>); containerd since 2.0 (its pull request 6965).
//!
//! Restore from an image that contains an archive: containerd since 2.1 (10365), only with a setting since 2.2.7 and 2.3.4
//! (13937, 13913), removed in 2.4 (13871); CRI-O only with a setting since 1.34.14, 1.35.9, 1.36.6 and in 1.37 (10248).

use std::fmt;

/// Major, minor, patch.
pub(super) type Version = (u64, u64, u64);

/// A container runtime as in the status of a node: `containerd://2.1.9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Runtime {
    name: String,
    version: String,
}

/// Whether a version supports something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Support {
    Yes,
    /// Only with this setting.
    WithSetting(&'static str),
    /// Not, for this reason.
    No(&'static str),
    Unknown,
}

impl Runtime {
    /// From `status.nodeInfo.containerRuntimeVersion`.
    pub(super) fn of(text: &str) -> Self {
        let (name, version) = text.split_once("://").unwrap_or((text, ""));
        Self { name: name.to_owned(), version: version.to_owned() }
    }

    /// Whether it takes checkpoints for a kubelet.
    pub(super) fn checkpoints(&self) -> Support {
        match (self.name.as_str(), version(&self.version)) {
            ("containerd", Some(found)) if found < (2, 0, 0) => {
                Support::No("containerd can take checkpoints since 2.0")
            }
            ("containerd" | "cri-o", Some(_)) => Support::Yes,
            ("docker", _) => Support::No("Docker cannot take checkpoints for a kubelet"),
            _ => Support::Unknown,
        }
    }

    /// Whether it starts a container from an image that contains an archive.
    pub(super) fn restores(&self) -> Support {
        let create_setting = "enable_experimental_restore_via_create = true in containerd's configuration";
        let level_setting = "container_level_enabled = \"checkpoint_restore\" in the table crio.checkpoint_restore";
        match (self.name.as_str(), version(&self.version)) {
            ("containerd", Some(found)) => match found {
                (..2, ..) | (2, 0, _) => Support::No("containerd can start containers from checkpoints since 2.1"),
                (2, 1, _) | (2, 2, ..7) | (2, 3, ..4) => Support::Yes,
                (2, 2..=3, _) => Support::WithSetting(create_setting),
                _ => Support::No("containerd 2.4 and later no longer start containers from checkpoints"),
            },
            ("cri-o", Some(found)) => match found {
                (1, ..34, _) | (1, 34, ..14) | (1, 35, ..9) | (1, 36, ..6) => Support::Yes,
                _ => Support::WithSetting(level_setting),
            },
            ("docker", _) => Support::No("Docker cannot start containers from checkpoints for a kubelet"),
            _ => Support::Unknown,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.version.is_empty() { f.write_str(&self.name) } else { write!(f, "{} {}", self.name, self.version) }
    }
}

/// Whether a kubelet of this version accepts checkpoint requests.
pub(super) fn kubelet_checkpoints(text: &str) -> Support {
    match version(text) {
        Some(found) if found < (1, 25, 0) => Support::No("kubelets can take checkpoints since 1.25"),
        Some(found) if found < (1, 30, 0) => {
            Support::WithSetting("the feature gate ContainerCheckpoint, which is off by default before 1.30")
        }
        Some(_) => Support::Yes,
        None => Support::Unknown,
    }
}

/// Parses three numbers and ignores what a distribution appends: `v1.30.2+k3s1`, `2.1.9~ds1`, `2.4.0-rc.1`.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.trim().trim_start_matches('v').split('.').map(|part| {
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse::<u64>().ok()
    });
    let major = parts.next()??;
    let mut next = || parts.next().flatten().unwrap_or(0);
    Some((major, next(), next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_parsed_whatever_is_appended_to_it() {
        for (text, expected) in [
            ("v1.30.2", Some((1, 30, 2))),
            ("1.30.2+k3s1", Some((1, 30, 2))),
            ("2.1.9~ds1", Some((2, 1, 9))),
            ("2.4.0-rc.1", Some((2, 4, 0))),
            ("2.4", Some((2, 4, 0))),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn support_for_checkpoints_follows_from_the_version() {
        for (text, expected) in [
            ("containerd://1.7.24", "no"),
            ("containerd://2.0.0", "yes"),
            ("containerd://2.4.1", "yes"),
            ("cri-o://1.30.0", "yes"),
            ("docker://27.0.1", "no"),
            ("kwok://0.8", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(word(&Runtime::of(text).checkpoints()), expected, "{text}");
        }
        for (text, expected) in [("v1.24.9", "no"), ("v1.29.9", "setting"), ("v1.30.0", "yes"), ("x", "unknown")] {
            assert_eq!(word(&kubelet_checkpoints(text)), expected, "{text}");
        }
    }

    #[test]
    fn support_for_restore_follows_from_the_version() {
        for (text, expected) in [
            ("containerd://1.7.24", "no"),
            ("containerd://2.0.9", "no"),
            ("containerd://2.1.9", "yes"),
            ("containerd://2.2.6", "yes"),
            ("containerd://2.2.7", "setting"),
            ("containerd://2.3.3", "yes"),
            ("containerd://2.3.4", "setting"),
            ("containerd://2.4.0", "no"),
            ("containerd://3.0.0", "no"),
            ("cri-o://1.30.5", "yes"),
            ("cri-o://1.34.13", "yes"),
            ("cri-o://1.34.14", "setting"),
            ("cri-o://1.35.9", "setting"),
            ("cri-o://1.36.6", "setting"),
            ("cri-o://1.37.0", "setting"),
            ("docker://27.0.1", "no"),
            ("kwok://0.8", "unknown"),
        ] {
            assert_eq!(word(&Runtime::of(text).restores()), expected, "{text}");
        }
    }

    fn word(support: &Support) -> &'static str {
        match support {
            Support::Yes => "yes",
            Support::WithSetting(_) => "setting",
            Support::No(_) => "no",
            Support::Unknown => "unknown",
        }
    }

    #[test]
    fn a_runtime_is_shown_with_name_and_version() {
        assert_eq!(Runtime::of("containerd://2.1.9").to_string(), "containerd 2.1.9");
        assert_eq!(Runtime::of("odd").to_string(), "odd");
    }
}
