//! The environment variables that choose how the lab runs.

use std::env;

/// Names the Kubernetes version.
const VERSION: &str = "K8S";

/// `1` keeps everything running, `data` keeps data and logs on disk.
const KEEP: &str = "KEEP";

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
