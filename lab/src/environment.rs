//! The environment variables that choose how the lab runs.

use std::env;
use std::path::PathBuf;

/// Names the Kubernetes version.
const VERSION: &str = "K8S";

/// `1` keeps everything running, `data` keeps data and logs on disk.
const KEEP: &str = "KEEP";

/// Names a folder with kube-apiserver and etcd, as `setup-envtest` makes it.
pub(crate) const KUBEBUILDER_ASSETS: &str = "KUBEBUILDER_ASSETS";

pub(crate) fn kubernetes_version() -> Option<String> {
    env::var(VERSION).ok().filter(|version| !version.is_empty())
}

/// Whether data and logs stay on disk at the end (KEEP=data).
pub(crate) fn keeps_data() -> bool {
    env::var(KEEP).is_ok_and(|value| value == "data")
}

/// Whether everything keeps running at the end, for a person to look at (KEEP=1).
pub fn keeps_running() -> bool {
    env::var(KEEP).is_ok_and(|value| value == "1")
}

/// The folder that KUBEBUILDER_ASSETS names.
pub(crate) fn kubebuilder_assets() -> Option<PathBuf> {
    env::var_os(KUBEBUILDER_ASSETS).filter(|value| !value.is_empty()).map(PathBuf::from)
}
