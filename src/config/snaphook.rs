//! The back-end `snaphook`.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;

use snapwatcher_backends::snaphook::Contract;

use super::values::{BackendUrl, web_url};

#[derive(Debug, Clone, Args)]
pub struct SnapHookArgs {
    /// URL of SnapHook. Empty: the same as `--backend log`.
    #[arg(
        long,
        env = "SNAP_BACK_API_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://snap-back-api"
    )]
    pub snap_back_api_url: BackendUrl,
    /// Path and body of the requests to SnapHook, see docs/contracts.md.
    #[arg(
        long,
        env = "SNAPWATCHER_SNAP_BACK_API_CONTRACT",
        value_name = "CONTRACT",
        default_value = "kubelet-checkpoint"
    )]
    pub snap_back_api_contract: Contract,
    /// File with the bearer token for SnapHook. SnapWatcher reads it before each request.
    #[arg(long, env = "SNAPWATCHER_SNAP_BACK_API_TOKEN_FILE", value_name = "FILE")]
    pub snap_back_api_token_file: Option<PathBuf>,
    /// File with the CA certificates that verify SnapHook's certificate, instead of those of the system.
    #[arg(long, env = "SNAPWATCHER_SNAP_BACK_API_CA_FILE", value_name = "FILE")]
    pub snap_back_api_ca_file: Option<PathBuf>,
    /// Name of this cluster in requests to SnapHook. The contract `snapapi-kubelet` requires it.
    #[arg(
        long,
        env = "SNAPWATCHER_CLUSTER_NAME",
        value_name = "NAME",
        value_parser = clap::builder::NonEmptyStringValueParser::new(),
        required_if_eq("snap_back_api_contract", "snapapi-kubelet")
    )]
    pub cluster_name: Option<String>,
    /// Address of the API server that each request to SnapHook contains.
    #[arg(long, env = "KUBE_API_ADDRESS", value_name = "URL", default_value = "https://kubernetes.default.svc", value_parser = web_url)]
    pub kube_api_address: Url,
}
