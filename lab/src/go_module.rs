//! The Go modules under `lab/modules` and the digests by which the cache stores their programs.
//!
//! The digest covers everything that decides the result of a build (go.mod, go.sum, linker flags), so that clones which
//! share the cache never get a program of other sources.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use sha2::{Digest, Sha256};

const CORE_DNS: &str = "coredns-1.15.0";
const DISTRIBUTION: &str = "distribution-3.1.1";
const ETCD: &str = "etcd-3.7.3";
const GO_CONTAINER_REGISTRY: &str = "go-containerregistry-0.22.1";
const KWOK: &str = "kwok-0.8.0";
const HELM: &str = "helm-4.3.1";
const KUBERNETES: &str = "kubernetes-";

/// Leaves out symbols, which makes the programs a third smaller.
const STRIPPED: &str = "-s -w";

/// 80 bits of the digest keep folder names readable.
const DIGEST_LENGTH: usize = 20;

/// A Kubernetes version for which `lab/modules` has a Go module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesVersion(String);

/// A Go module and the programs to build in it.
#[derive(Clone, Debug)]
pub(crate) struct GoModule {
    pub(crate) folder: PathBuf,
    pub(crate) ldflags: String,
    pub(crate) programs: Vec<Program>,
}

/// A program: the name of its binary and its Go package.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: String,
}

#[derive(Debug, thiserror::Error)]
pub enum GoModuleError {
    #[error("the lab has no Kubernetes version `{requested}`; known versions: {known}")]
    UnknownVersion { requested: String, known: String },
    #[error("could not read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl KubernetesVersion {
    /// The version that SnapWatcher is developed with.
    pub const DEFAULT: &str = "1.37.2";

    fn known() -> Vec<String> {
        let entries = fs::read_dir(modules()).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut versions: Vec<_> = names.filter_map(|name| name.strip_prefix(KUBERNETES).map(str::to_owned)).collect();
        versions.sort();
        versions
    }
}

impl FromStr for KubernetesVersion {
    type Err = GoModuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let requested = text.trim_start_matches('v').to_owned();
        let known = Self::known();
        if known.contains(&requested) {
            Ok(Self(requested))
        } else {
            Err(GoModuleError::UnknownVersion { requested, known: known.join(", ") })
        }
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl GoModule {
    pub(crate) fn etcd() -> Self {
        Self {
            folder: modules().join(ETCD),
            ldflags: STRIPPED.to_owned(),
            programs: vec![Program { name: "etcd", package: "go.etcd.io/etcd/server/v3".to_owned() }],
        }
    }

    pub(crate) fn kwok() -> Self {
        Self {
            folder: modules().join(KWOK),
            ldflags: STRIPPED.to_owned(),
            programs: vec![Program { name: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok".to_owned() }],
        }
    }

    pub(crate) fn helm() -> Self {
        Self {
            folder: modules().join(HELM),
            // Charts and plugins can require a version of Helm.
            ldflags: format!("{STRIPPED} -X helm.sh/helm/v4/internal/version.version=v{}", HELM.replace("helm-", "")),
            programs: vec![Program { name: "helm", package: "helm.sh/helm/v4/cmd/helm".to_owned() }],
        }
    }

    /// Docker's registry 3.
    pub(crate) fn distribution() -> Self {
        let package = "github.com/distribution/distribution/v3/cmd/registry".to_owned();
        Self {
            folder: modules().join(DISTRIBUTION),
            ldflags: STRIPPED.to_owned(),
            programs: vec![Program { name: "registry", package }],
        }
    }

    /// The registry of go-containerregistry, which keeps everything in memory.
    pub(crate) fn go_container_registry() -> Self {
        let package = "github.com/google/go-containerregistry/cmd/registry".to_owned();
        Self {
            folder: modules().join(GO_CONTAINER_REGISTRY),
            ldflags: STRIPPED.to_owned(),
            programs: vec![Program { name: "registry", package }],
        }
    }

    pub(crate) fn kubernetes(version: &KubernetesVersion) -> Self {
        // Without these flags the server reports version v0.0.0-master, which clients take for a very old one.
        let at = "k8s.io/component-base/version";
        let mut parts = version.0.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let ldflags =
            format!("{STRIPPED} -X {at}.gitVersion=v{version} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}");
        let folder = modules().join(format!("{KUBERNETES}{version}"));
        let programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
        Self { folder, ldflags, programs: programs.map(of_kubernetes).to_vec() }
    }

    /// kubectl alone, from the module of the control plane.
    pub(crate) fn kubectl(version: &KubernetesVersion) -> Self {
        Self { programs: vec![of_kubernetes("kubectl")], ..Self::kubernetes(version) }
    }

    /// The kubelet. Its program is in the folder of the control plane's programs, but only real nodes need it.
    pub(crate) fn kubelet(version: &KubernetesVersion) -> Self {
        Self { programs: vec![of_kubernetes("kubelet")], ..Self::kubernetes(version) }
    }

    /// kube-proxy, which only Services of real nodes need.
    pub(crate) fn kube_proxy(version: &KubernetesVersion) -> Self {
        Self { programs: vec![of_kubernetes("kube-proxy")], ..Self::kubernetes(version) }
    }

    /// CoreDNS, which only Services of real nodes need.
    pub(crate) fn core_dns() -> Self {
        Self {
            folder: modules().join(CORE_DNS),
            ldflags: STRIPPED.to_owned(),
            programs: vec![Program { name: "coredns", package: "github.com/coredns/coredns".to_owned() }],
        }
    }

    /// Identifies the result of a build of this module.
    pub(crate) fn digest(&self) -> Result<String, GoModuleError> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"] {
            let path = self.folder.join(file);
            let content = fs::read(&path).map_err(|source| GoModuleError::Read { path, source })?;
            hash.update(content.len().to_be_bytes());
            hash.update(content);
        }
        hash.update(&self.ldflags);
        let mut hex = format!("{:x}", hash.finalize());
        hex.truncate(DIGEST_LENGTH);
        Ok(hex)
    }
}

fn of_kubernetes(name: &'static str) -> Program {
    Program { name, package: format!("k8s.io/kubernetes/cmd/{name}") }
}

fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("modules")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(go_mod: &str, go_sum: &str, ldflags: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("go.mod"), go_mod).unwrap();
        fs::write(folder.path().join("go.sum"), go_sum).unwrap();
        let module = GoModule { folder: folder.path().to_owned(), ldflags: ldflags.to_owned(), programs: Vec::new() };
        module.digest().unwrap()
    }

    #[test]
    fn whatever_changes_a_build_changes_its_digest() {
        let digests = [
            module("module a", "sums", "-s"),
            module("module b", "sums", "-s"),
            module("module a", "other sums", "-s"),
            module("module a", "sums", "-s -w"),
            module("module asums", "", "-s"),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert_eq!(digest.len(), DIGEST_LENGTH);
            assert!(!digests[..index].contains(digest), "row {index}");
        }
        assert_eq!(digests[0], module("module a", "sums", "-s"), "the same module in another folder");
    }

    #[test]
    fn the_default_version_is_known_and_in_the_linker_flags() {
        let version: KubernetesVersion = KubernetesVersion::DEFAULT.parse().unwrap();
        let module = GoModule::kubernetes(&version);
        assert!(module.ldflags.contains("gitVersion=v1.37.2"), "{}", module.ldflags);
        assert!(module.ldflags.contains("gitMinor=37"), "{}", module.ldflags);
    }

    #[test]
    fn an_unknown_version_is_answered_with_the_known_ones() {
        let message = "1.2.3".parse::<KubernetesVersion>().unwrap_err().to_string();
        assert!(message.contains("`1.2.3`") && message.contains(KubernetesVersion::DEFAULT), "{message}");
    }
}
