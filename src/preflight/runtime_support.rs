//! Container runtimes and kubelets by their versions: which can take a checkpoint, and which start one again.
//!
//! Taking: the kubelet since 1.25 with the feature gate ContainerCheckpoint, on by default since 1.30
//! (<https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/>); containerd since 2.0 (its pull request 6965).
//!
//! Starting again from an image made of an archive: containerd since 2.1 (10365), only by a setting since 2.2.7 and 2.3.4
//! (13937, 13913), removed in 2.4 (13871); CRI-O only by a setting since 1.34.14, 1.35.9, 1.36.6 and in 1.37 (10248).

use std::fmt;

/// Major, minor, patch.
pub(super) type Version = (u64, u64, u64);

/// A container runtime as a node tells it: `containerd://2.1.9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Runtime {
    name: String,
    version: String,
}

/// Whether something goes with these versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ability {
    Able,
    /// Only where somebody set this.
    BySetting(&'static str),
    Unable(&'static str),
    Unknown,
}

impl Runtime {
    /// From `status.nodeInfo.containerRuntimeVersion`.
    pub(super) fn of(text: &str) -> Self {
        let (name, version) = text.split_once("://").unwrap_or((text, ""));
        Self { name: name.to_owned(), version: version.to_owned() }
    }

    /// Whether it takes checkpoints when the kubelet asks for one.
    pub(super) fn checkpoints(&self) -> Ability {
        match (self.name.as_str(), version(&self.version)) {
            ("containerd", Some(found)) if found < (2, 0, 0) => {
                Ability::Unable("containerd takes checkpoints since 2.0")
            }
            ("containerd" | "cri-o", Some(_)) => Ability::Able,
            ("docker", _) => Ability::Unable("Docker takes no checkpoints when a kubelet asks"),
            _ => Ability::Unknown,
        }
    }

    /// Whether it starts a container from an image that holds an archive.
    pub(super) fn restores(&self) -> Ability {
        let by_create = "enable_experimental_restore_via_create = true in containerd's configuration";
        let by_level = "container_level_enabled = \"checkpoint_restore\" in the table crio.checkpoint_restore";
        match (self.name.as_str(), version(&self.version)) {
            ("containerd", Some(found)) => match found {
                (..2, ..) | (2, 0, _) => Ability::Unable("containerd starts containers from checkpoints since 2.1"),
                (2, 1, _) | (2, 2, ..7) | (2, 3, ..4) => Ability::Able,
                (2, 2..=3, _) => Ability::BySetting(by_create),
                _ => Ability::Unable("containerd 2.4 and later no longer start containers from checkpoints"),
            },
            ("cri-o", Some(found)) => match found {
                (1, ..34, _) | (1, 34, ..14) | (1, 35, ..9) | (1, 36, ..6) => Ability::Able,
                _ => Ability::BySetting(by_level),
            },
            ("docker", _) => Ability::Unable("Docker starts no containers from checkpoints for a kubelet"),
            _ => Ability::Unknown,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.version.is_empty() { f.write_str(&self.name) } else { write!(f, "{} {}", self.name, self.version) }
    }
}

/// Whether a kubelet of this version answers requests for checkpoints.
pub(super) fn kubelet_checkpoints(text: &str) -> Ability {
    match version(text) {
        Some(found) if found < (1, 25, 0) => Ability::Unable("kubelets take checkpoints since 1.25"),
        Some(found) if found < (1, 30, 0) => {
            Ability::BySetting("the feature gate ContainerCheckpoint, which is off by default before 1.30")
        }
        Some(_) => Ability::Able,
        None => Ability::Unknown,
    }
}

/// Three numbers, whatever a distribution appends: `v1.30.2+k3s1`, `2.1.9~ds1`, `2.4.0-rc.1`.
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
    fn a_version_is_read_whatever_is_appended_to_it() {
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
    fn who_takes_checkpoints_follows_from_the_versions() {
        for (text, expected) in [
            ("containerd://1.7.24", "unable"),
            ("containerd://2.0.0", "able"),
            ("containerd://2.4.1", "able"),
            ("cri-o://1.30.0", "able"),
            ("docker://27.0.1", "unable"),
            ("kwok://0.8", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(word(&Runtime::of(text).checkpoints()), expected, "{text}");
        }
        for (text, expected) in [("v1.24.9", "unable"), ("v1.29.9", "setting"), ("v1.30.0", "able"), ("x", "unknown")] {
            assert_eq!(word(&kubelet_checkpoints(text)), expected, "{text}");
        }
    }

    #[test]
    fn who_starts_again_follows_from_the_version() {
        for (text, expected) in [
            ("containerd://1.7.24", "unable"),
            ("containerd://2.0.9", "unable"),
            ("containerd://2.1.9", "able"),
            ("containerd://2.2.6", "able"),
            ("containerd://2.2.7", "setting"),
            ("containerd://2.3.3", "able"),
            ("containerd://2.3.4", "setting"),
            ("containerd://2.4.0", "unable"),
            ("containerd://3.0.0", "unable"),
            ("cri-o://1.30.5", "able"),
            ("cri-o://1.34.13", "able"),
            ("cri-o://1.34.14", "setting"),
            ("cri-o://1.35.9", "setting"),
            ("cri-o://1.36.6", "setting"),
            ("cri-o://1.37.0", "setting"),
            ("docker://27.0.1", "unable"),
            ("kwok://0.8", "unknown"),
        ] {
            assert_eq!(word(&Runtime::of(text).restores()), expected, "{text}");
        }
    }

    fn word(ability: &Ability) -> &'static str {
        match ability {
            Ability::Able => "able",
            Ability::BySetting(_) => "setting",
            Ability::Unable(_) => "unable",
            Ability::Unknown => "unknown",
        }
    }

    #[test]
    fn a_runtime_is_told_by_name_and_version() {
        assert_eq!(Runtime::of("containerd://2.1.9").to_string(), "containerd 2.1.9");
        assert_eq!(Runtime::of("odd").to_string(), "odd");
    }
}
