//! The three requests for a checkpoint that SNAP servers understand. docs/contracts.md shows them with examples.

use std::fmt;

/// Which request a SNAP server understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Contract {
    /// SnapHook: the pod and the URL of its API server.
    #[default]
    KubeletCheckpoint,
    /// SnapApi: the pod and the name of its cluster.
    SnapapiKubelet,
    /// SnapApi: the whole Pod object; SnapApi also builds the image and pushes it.
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

    /// The path that is appended to the server's URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::KubeletCheckpoint => "/kubelet/checkpoint",
            Self::SnapapiKubelet => "/checkpoint/kubelet/checkpoint",
            Self::SnapapiPodSpec => "/checkpoint/pod-spec/checkpoint-and-push",
        }
    }

    /// Whether the body holds the whole Pod object.
    pub fn needs_pod(self) -> bool {
        self == Self::SnapapiPodSpec
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
