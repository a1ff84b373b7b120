//! The back-end `kubelet`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use snapwatcher_backends::kubelet::{AddressType, KubeletTrust};

use super::values::{byte_quantity, object_name, timeout};

#[derive(Debug, Clone, Args)]
pub struct KubeletArgs {
    /// File with the CA certificates that verify the kubelets' serving certificates, instead of the cluster's CA.
    #[arg(long, env = "SNAPWATCHER_KUBELET_CA_FILE", value_name = "FILE")]
    pub kubelet_ca_file: Option<PathBuf>,
    /// Does not verify the kubelets' serving certificates. Any server at the address of a node then gets the token.
    #[arg(long, env = "SNAPWATCHER_KUBELET_INSECURE_SKIP_VERIFY", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub kubelet_insecure_skip_verify: bool,
    /// Types of node addresses, comma-separated, the preferred one first. SnapWatcher connects to the first that a node has.
    #[arg(
        long,
        env = "SNAPWATCHER_KUBELET_PREFERRED_ADDRESS_TYPES",
        value_name = "TYPES",
        default_value = "InternalIP,Hostname,ExternalIP",
        value_delimiter = ','
    )]
    pub kubelet_preferred_address_types: Vec<AddressType>,
    /// Time limit of a node's container runtime for one checkpoint. The kubelet has 10 s more to respond.
    #[arg(long, env = "SNAPWATCHER_KUBELET_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = timeout)]
    pub kubelet_timeout: Duration,
    /// How many bytes of archives a namespace may have written to the disk of a node in a day, as a Kubernetes quantity. An archive
    /// counts as large as the limits of its container on memory, huge pages and ephemeral storage, without a memory limit as the memory
    /// of the node, and without a limit on ephemeral storage 1 GiB for its files. 0: no limit, and no interval between automatic
    /// checkpoints.
    #[arg(long, env = "SNAPWATCHER_KUBELET_ARCHIVE_BUDGET", value_name = "BYTES", default_value = "20Gi", value_parser = byte_quantity)]
    pub kubelet_archive_budget: u64,
    /// Name of the ServiceAccount, in the namespace of `--service-namespace`, whose tokens authenticate requests to kubelets.
    /// It needs the right `create` on `nodes/checkpoint` and no other.
    #[arg(long, env = "SNAPWATCHER_KUBELET_SERVICE_ACCOUNT", value_name = "NAME", default_value = "snapwatcher-kubelet", value_parser = object_name)]
    pub kubelet_service_account: String,
}

impl KubeletArgs {
    pub(super) fn trust(&self) -> KubeletTrust {
        match &self.kubelet_ca_file {
            _ if self.kubelet_insecure_skip_verify => KubeletTrust::Unverified,
            Some(path) => KubeletTrust::CaFile(path.clone()),
            None => KubeletTrust::ClusterCa,
        }
    }
}
