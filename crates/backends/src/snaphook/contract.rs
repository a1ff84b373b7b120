//! The three ways in which SNAP servers are asked for a checkpoint: path and body of each.
//!
//! docs/contracts.md shows them with examples.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::request::CheckpointRequest;

/// Which request a SNAP server understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Contract {
    /// SnapHook: the pod and the address of its API server.
    #[default]
    KubeletCheckpoint,
    /// SnapApi: the pod and the name of its cluster.
    SnapapiKubelet,
    /// SnapApi: the whole pod; it also builds the image and pushes it.
    SnapapiPodSpec,
}

impl Contract {
    pub const ALL: [Self; 3] = [Self::KubeletCheckpoint, Self::SnapapiKubelet, Self::SnapapiPodSpec];

    /// The value of `--snap-back-api-contract`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KubeletCheckpoint => "kubelet-checkpoint",
            Self::SnapapiKubelet => "snapapi-kubelet",
            Self::SnapapiPodSpec => "snapapi-pod-spec",
        }
    }

    /// What is appended to the path of the server's URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::KubeletCheckpoint => "/kubelet/checkpoint",
            Self::SnapapiKubelet => "/checkpoint/kubelet/checkpoint",
            Self::SnapapiPodSpec => "/checkpoint/pod-spec/checkpoint-and-push",
        }
    }

    /// Whether the body holds the whole pod.
    pub fn needs_pod(self) -> bool {
        self == Self::SnapapiPodSpec
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of a request, field by field as its contract has it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Container {
        #[serde(flatten)]
        container: Container<'a>,
        kube_api_address: &'a str,
    },
    ContainerOfCluster {
        #[serde(flatten)]
        container: Container<'a>,
        cluster_name: &'a str,
    },
    Pod {
        pod_spec: &'a Value,
    },
}

#[expect(clippy::struct_field_names, reason = "the contract names its fields")]
#[derive(Debug, Serialize)]
pub(super) struct Container<'a> {
    pod_name: &'a str,
    namespace: &'a str,
    node_name: &'a str,
    container_name: &'a str,
}

impl<'a> From<&'a CheckpointRequest> for Container<'a> {
    fn from(ask: &'a CheckpointRequest) -> Self {
        Self {
            pod_name: &ask.pod.name,
            namespace: &ask.pod.namespace,
            node_name: &ask.node,
            container_name: &ask.container,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_contract_has_one_name_for_flags_and_logs() {
        for contract in Contract::ALL {
            assert_eq!(Contract::from_str(contract.as_str(), false), Ok(contract));
        }
        assert_eq!(Contract::value_variants(), Contract::ALL);
    }
}
