//! Whether a node's kubelet would take a checkpoint, found out without one: it is asked for a pod that can't exist, and its
//! words tell how far that came.

use crate::NotSent;
use crate::redact::redact;
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};
use snapwatcher_daemon::clock;

use super::Kubelet;
use super::answer::{self, is_pod_unknown};

/// No pod has a name with capital letters, so that the probe is harmless for certain.
const NO_POD: &str = "SnapWatcher-asks-whether-it-may";
const NO_CONTAINER: &str = "none";

/// What a probe showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kubelet would pass a checkpoint on to its runtime. Whether the runtime can take it shows only with one.
    Ready,
    /// It has no such path: the feature gate `ContainerCheckpoint`, or `enableDebuggingHandlers`, is off.
    GateOff,
    /// We may not, or have no token; the message names the right.
    Forbidden,
    /// Its certificate is not trusted.
    Untrusted,
    /// The node is gone or not Ready, has no address, or its kubelet does not answer at it.
    Unreachable,
    /// No checkpoints are put on this node now.
    DiskPressure,
    /// It answered that it can't now: 429 or 503.
    Busy,
    /// It answered, and not as a kubelet does.
    Odd,
}

/// A verdict, with words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    pub verdict: Verdict,
    pub message: Redacted,
}

/// Asks the kubelet of that node; within [`Settings::longest_attempt`](super::Settings::longest_attempt), usually at once.
pub async fn probe(kubelet: &Kubelet, node: &str) -> Probed {
    let outcome = match kubelet.ask(node, [kubelet.tokens.namespace(), NO_POD, NO_CONTAINER]).await {
        Ok((answer, asked)) if is_pod_unknown(&answer) => {
            let message =
                Redacted::own(&format!("{} passes checkpoints on to its runtime, and we may ask for them", asked.whom));
            return Probed { verdict: Verdict::Ready, message };
        }
        Ok((answer, asked)) => answer::judge(&answer, &asked, clock::now()),
        Err(outcome) => outcome,
    };
    match outcome {
        Outcome::Failed { reason, message, .. } => Probed { verdict: verdict(reason), message },
        Outcome::Succeeded(_) => {
            let message =
                format!("the kubelet of node `{node}` says that it took a checkpoint of a pod that can't exist");
            Probed { verdict: Verdict::Odd, message: Redacted::own(&message) }
        }
    }
}

/// Whether there is a token to ask kubelets with; if not, why.
pub async fn token(kubelet: &Kubelet) -> Result<(), Redacted> {
    kubelet.tokens.get().await.map(drop).map_err(|NotSent(_, message)| redact(&message))
}

fn verdict(reason: Reason) -> Verdict {
    match reason {
        Reason::CheckpointApiDisabled => Verdict::GateOff,
        Reason::Unauthorized => Verdict::Forbidden,
        Reason::KubeletUntrusted => Verdict::Untrusted,
        Reason::Unreachable => Verdict::Unreachable,
        Reason::DiskPressure => Verdict::DiskPressure,
        Reason::Busy => Verdict::Busy,
        _ => Verdict::Odd,
    }
}
