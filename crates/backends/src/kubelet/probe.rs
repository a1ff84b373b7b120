//! Checks whether a node's kubelet would take a checkpoint, without taking one: the request names a pod that can't exist, and
//! the response shows how far the request came.

use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_daemon::clock;

use crate::redact::redact;

use super::client::Kubelet;
use super::response::{self, is_pod_unknown};

/// Pod names have no capital letters, so no pod has this name.
const NO_POD: &str = "SnapWatcher-probe";
const NO_CONTAINER: &str = "none";

/// What a probe showed of a kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeletReadiness {
    /// The kubelet would pass a checkpoint to its runtime. Whether the runtime can take it shows only a checkpoint.
    Ready,
    /// It does not serve the checkpoint API: the feature gate `ContainerCheckpoint`, or `enableDebuggingHandlers`, is off.
    ApiDisabled,
    /// A right or a token is missing; the message names it.
    Forbidden,
    /// Its certificate is not trusted.
    Untrusted,
    /// The node does not exist, is not Ready or has no address, or its kubelet can't be reached.
    Unreachable,
    /// The node has DiskPressure.
    DiskPressure,
    /// It answered 429 or 503.
    Busy,
    /// It did not answer as a kubelet does.
    Unexpected,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletProbe {
    pub readiness: KubeletReadiness,
    pub message: Redacted,
}

impl Kubelet {
    /// Probes the kubelet of that node. It takes at most
    /// [`longest_attempt`](super::settings::KubeletSettings::longest_attempt), and usually a few milliseconds.
    pub async fn probe(&self, node: &str) -> KubeletProbe {
        let outcome = match self.request(node, [self.tokens.namespace(), NO_POD, NO_CONTAINER], |_| Ok(())).await {
            Ok((response, request)) if is_pod_unknown(&response) => {
                let message = format!("{} serves the checkpoint API and accepts the token", request.kubelet);
                return KubeletProbe { readiness: KubeletReadiness::Ready, message: Redacted::own(&message) };
            }
            Ok((response, request)) => response::outcome(&response, &request, clock::now()),
            Err(outcome) => outcome,
        };
        match outcome {
            Outcome::Failed { reason, message, .. } => KubeletProbe { readiness: readiness(reason), message },
            Outcome::Succeeded(_) => {
                let message = format!("the kubelet of node `{node}` reports a checkpoint of a pod that does not exist");
                KubeletProbe { readiness: KubeletReadiness::Unexpected, message: Redacted::own(&message) }
            }
        }
    }

    /// Checks that there is a token for kubelets; the error says why not.
    pub async fn check_token(&self) -> Result<(), Redacted> {
        self.tokens.get().await.map(drop).map_err(|not_sent| redact(&not_sent.message))
    }
}

fn readiness(reason: Reason) -> KubeletReadiness {
    match reason {
        Reason::CheckpointApiDisabled => KubeletReadiness::ApiDisabled,
        Reason::Unauthorized => KubeletReadiness::Forbidden,
        Reason::KubeletUntrusted => KubeletReadiness::Untrusted,
        Reason::Unreachable => KubeletReadiness::Unreachable,
        Reason::DiskPressure => KubeletReadiness::DiskPressure,
        Reason::Busy => KubeletReadiness::Busy,
        _ => KubeletReadiness::Unexpected,
    }
}
