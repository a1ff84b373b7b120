//! The programs of a control plane: built from Go modules, or taken from the folder that KUBEBUILDER_ASSETS names.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::build_cache::{BuildCache, BuildError};
use crate::environment::{KUBEBUILDER_ASSETS, kubebuilder_assets};
use crate::go_module::{GoModule, KubernetesVersion};
use crate::node::NodeKind;

/// Where a control plane's programs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BinarySource {
    /// Built from `lab/modules`: a whole control plane, with kwok for fake nodes.
    GoModules,
    /// A folder with kube-apiserver and etcd, as `setup-envtest` makes it. It has no controllers, so the lab simulates
    /// them.
    Assets(PathBuf),
}

/// Paths of a control plane's programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    etcd: PathBuf,
    api_server: PathBuf,
    kubectl: PathBuf,
    controllers: Option<Controllers>,
    core_dns: Option<PathBuf>,
}

/// The programs that run pods on fake nodes.
#[derive(Clone, Debug)]
pub(crate) struct Controllers {
    /// The folder of Kubernetes' own programs. For a real node, the kubelet is there too.
    pub(crate) kubernetes: PathBuf,
    pub(crate) kwok: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(
        "{KUBEBUILDER_ASSETS} names the folder `{}`, which has no `{program}`: set it to the folder that \
         `setup-envtest use -p path` prints, or unset it to build the program from source",
        folder.display()
    )]
    MissingAsset { folder: PathBuf, program: &'static str },
}

impl BinarySource {
    /// The folder that KUBEBUILDER_ASSETS names, or the Go modules where it is not set.
    pub fn from_environment() -> Self {
        kubebuilder_assets().map_or(Self::GoModules, Self::Assets)
    }
}

impl fmt::Display for BinarySource {
    /// Says which part of the control plane comes from where, one line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoModules => {
                let programs = "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kwok";
                writeln!(f, "  {programs}: built from lab/modules")?;
                write!(f, "  kubelets of two fake nodes: kwok")
            }
            Self::Assets(folder) => {
                let has_kubectl = folder.join("kubectl").is_file();
                let from_folder = if has_kubectl { "etcd, kube-apiserver, kubectl" } else { "etcd, kube-apiserver" };
                writeln!(f, "  {from_folder}: from {} ({KUBEBUILDER_ASSETS})", folder.display())?;
                if !has_kubectl {
                    writeln!(f, "  kubectl: built from lab/modules")?;
                }
                let simulated = "controllers of Deployments and StatefulSets, scheduler, kubelets of two fake nodes";
                write!(f, "  {simulated}: simulated by the lab")
            }
        }
    }
}

impl Binaries {
    /// Finds the programs of a control plane. Builds those that come from Go modules and are not in the cache.
    pub async fn find(
        source: &BinarySource,
        version: &KubernetesVersion,
        node: NodeKind,
    ) -> Result<Self, BinariesError> {
        match source {
            BinarySource::GoModules => Self::built(version, node).await,
            BinarySource::Assets(folder) => Self::from_assets(folder, version).await,
        }
    }

    async fn built(version: &KubernetesVersion, node: NodeKind) -> Result<Self, BinariesError> {
        let (etcd, kubernetes, kwok) = (GoModule::etcd(), GoModule::kubernetes(version), GoModule::kwok());
        let mut modules = vec![etcd.clone(), kubernetes.clone(), kwok.clone()];
        if node.is_real() {
            modules.push(GoModule::kubelet(version));
        }
        let has_services = node == NodeKind::RealWithServices;
        if has_services {
            modules.extend([GoModule::kube_proxy(version), GoModule::core_dns()]);
        }
        let cache = BuildCache::of_user()?;
        cache.build(&modules).await?;
        let kubernetes = cache.programs(&kubernetes)?;
        let core_dns = cache.programs(&GoModule::core_dns())?.join("coredns");
        Ok(Self {
            etcd: cache.programs(&etcd)?.join("etcd"),
            api_server: kubernetes.join("kube-apiserver"),
            kubectl: kubernetes.join("kubectl"),
            controllers: Some(Controllers { kubernetes, kwok: cache.programs(&kwok)?.join("kwok") }),
            core_dns: has_services.then_some(core_dns),
        })
    }

    async fn from_assets(folder: &Path, version: &KubernetesVersion) -> Result<Self, BinariesError> {
        let asset = |program: &'static str| {
            // The kubeconfig's folder gets a link to kubectl, which has to be absolute.
            let path = std::path::absolute(folder.join(program)).unwrap_or_default();
            let missing = || BinariesError::MissingAsset { folder: folder.to_owned(), program };
            path.is_file().then_some(path).ok_or_else(missing)
        };
        let (etcd, api_server) = (asset("etcd")?, asset("kube-apiserver")?);
        let kubectl = if let Ok(kubectl) = asset("kubectl") {
            kubectl
        } else {
            let (cache, module) = (BuildCache::of_user()?, GoModule::kubectl(version));
            cache.build(std::slice::from_ref(&module)).await?;
            cache.programs(&module)?.join("kubectl")
        };
        Ok(Self { etcd, api_server, kubectl, controllers: None, core_dns: None })
    }

    pub fn etcd(&self) -> &Path {
        &self.etcd
    }

    pub fn api_server(&self) -> &Path {
        &self.api_server
    }

    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// None: the lab simulates the controllers.
    pub(crate) fn controllers(&self) -> Option<&Controllers> {
        self.controllers.as_ref()
    }

    /// CoreDNS, for a node with Services.
    pub(crate) fn core_dns(&self) -> Option<&Path> {
        self.core_dns.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn assets(programs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            fs::write(folder.path().join(program), "not a program").unwrap();
        }
        folder
    }

    async fn find(source: &BinarySource) -> Result<Binaries, BinariesError> {
        let version = KubernetesVersion::DEFAULT.parse().unwrap();
        Binaries::find(source, &version, NodeKind::Fake).await
    }

    #[tokio::test]
    async fn an_assets_folder_replaces_all_builds() {
        let folder = assets(&["etcd", "kube-apiserver", "kubectl"]);
        let found = find(&BinarySource::Assets(folder.path().to_owned())).await.unwrap();
        assert_eq!(found.etcd(), folder.path().join("etcd"));
        assert_eq!(found.api_server(), folder.path().join("kube-apiserver"));
        assert_eq!(found.kubectl(), folder.path().join("kubectl"));
        assert!(found.controllers().is_none() && found.core_dns().is_none());
    }

    #[tokio::test]
    async fn a_program_that_an_assets_folder_lacks_is_named() {
        for (programs, missing) in
            [(vec!["etcd"], "kube-apiserver"), (vec!["kube-apiserver"], "etcd"), (vec![], "etcd")]
        {
            let folder = assets(&programs);
            let message = find(&BinarySource::Assets(folder.path().to_owned())).await.unwrap_err().to_string();
            assert!(message.contains(&format!("has no `{missing}`")), "{message}");
            assert!(message.contains(&folder.path().display().to_string()), "{message}");
            assert!(message.contains("KUBEBUILDER_ASSETS") && message.contains("setup-envtest"), "{message}");
        }
    }

    #[test]
    fn the_description_says_where_each_part_comes_from() {
        let whole = assets(&["etcd", "kube-apiserver", "kubectl"]);
        let shown = BinarySource::Assets(whole.path().to_owned()).to_string();
        let first = format!("  etcd, kube-apiserver, kubectl: from {} (KUBEBUILDER_ASSETS)", whole.path().display());
        assert_eq!(shown.lines().next(), Some(first.as_str()));
        assert!(shown.contains("simulated by the lab") && !shown.contains("lab/modules"), "{shown}");
        let without_kubectl = assets(&["etcd", "kube-apiserver"]);
        let shown = BinarySource::Assets(without_kubectl.path().to_owned()).to_string();
        assert!(shown.contains("\n  kubectl: built from lab/modules\n"), "{shown}");
        let shown = BinarySource::GoModules.to_string();
        assert!(shown.contains("kube-controller-manager") && !shown.contains("simulated"), "{shown}");
    }
}
