//! Settings of the back-end `kubelet`.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use crate::ca_file::CaFileError;
use crate::http::RequestTimeouts;

/// How much longer than its container runtime a kubelet may take.
const KUBELET_OVERHEAD: Duration = Duration::from_secs(10);

/// How kubelets are reached.
#[derive(Debug, Clone)]
pub struct KubeletSettings {
    /// For reading the Node, creating the token, connecting and TLS, all together.
    pub request_timeout: Duration,
    /// How long the container runtime of the node may take. The kubelet receives it in whole seconds.
    pub checkpoint_timeout: Duration,
    pub trust: KubeletTrust,
    /// Which of a node's addresses is used: the first type that the node has.
    pub address_types: Vec<AddressType>,
    /// Name of the service account whose token is sent.
    pub service_account: String,
    /// How many bytes of archives a namespace may have written to the disk of a node in a day; 0: no limit.
    pub archive_bytes_per_day: u64,
}

/// The type of an address of a node, as in `status.addresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AddressType {
    #[value(name = "InternalIP")]
    InternalIP,
    #[value(name = "Hostname")]
    Hostname,
    #[value(name = "ExternalIP")]
    ExternalIP,
    #[value(name = "InternalDNS")]
    InternalDNS,
    #[value(name = "ExternalDNS")]
    ExternalDNS,
}

impl AddressType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InternalIP => "InternalIP",
            Self::Hostname => "Hostname",
            Self::ExternalIP => "ExternalIP",
            Self::InternalDNS => "InternalDNS",
            Self::ExternalDNS => "ExternalDNS",
        }
    }
}

/// What verifies the serving certificate of a kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeletTrust {
    /// The CA that also verifies the API server.
    ClusterCa,
    /// The certificates in this PEM file.
    CaFile(PathBuf),
    /// Nothing: any server at a node's address receives the token.
    Unverified,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("could not use the CA of the cluster to verify kubelets; name another CA by `--kubelet-ca-file`")]
    ClusterCa(#[source] Box<dyn Error + Send + Sync>),
    #[error("could not set up the HTTP client for kubelets; if the kubeconfig has no CA, set `--kubelet-ca-file`")]
    Client(#[source] reqwest::Error),
}

impl KubeletSettings {
    /// The longest time that one attempt can take.
    pub fn longest_attempt(&self) -> Duration {
        self.timeouts().total()
    }

    /// How long a kubelet may take to respond once it is connected.
    pub fn response_timeout(&self) -> Duration {
        self.checkpoint_timeout + KUBELET_OVERHEAD
    }

    pub(super) fn timeouts(&self) -> RequestTimeouts {
        RequestTimeouts { connect: self.request_timeout, response: self.response_timeout() }
    }

    /// The query parameter `timeout`, rounded up to whole seconds: the kubelet replaces 0 by its own default.
    pub(super) fn timeout_seconds(&self) -> u64 {
        self.checkpoint_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }
}
