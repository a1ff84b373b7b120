//! What an answer of a kubelet makes of an attempt: the table "The kubelet" of docs/contracts.md.
//!
//! Pure: `now` is a parameter, and nothing here reads from a connection. Advice stands before what the kubelet said, whose
//! end may be cut off.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use rustls::CertificateError;
use serde::Deserialize;

use crate::exchange::{Answer, Broken};
use crate::{redact, stopped};
use snapwatcher_api::outcome::{Location, Outcome, Reason};

use super::runtime;

/// Who was asked, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    /// The kubelet, for people.
    pub whom: String,
    /// Where a path in the answer lies.
    pub node: &'a str,
    /// As whom the kubelet sees us.
    pub identity: &'a str,
}

/// A kubelet's answer to a checkpoint that was taken.
#[derive(Deserialize)]
struct Taken {
    items: Vec<String>,
}

/// Which outcome an answer stands for.
pub(super) fn judge(answer: &Answer, asked: &Asked<'_>, now: Timestamp) -> Outcome {
    if answer.status.is_success() {
        return judge_success(answer, asked);
    }
    let Asked { whom, identity, .. } = asked;
    let (said, status) = (answer.body.trim(), answer.status);
    let said = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let (reason, message) = match (reason(answer), status.as_u16()) {
        (Reason::Unauthorized, 401) => {
            (Reason::Unauthorized, format!("{whom} does not take the token of {identity}; it answered {said}"))
        }
        (Reason::Unauthorized, 403) => {
            let right = "needs the right `create` on `nodes/checkpoint`";
            (Reason::Unauthorized, format!("{identity} {right}; {whom} answered {said}"))
        }
        (Reason::PodNotOnNode, _) => {
            (Reason::PodNotOnNode, format!("{whom} does not know the pod (yet); it answered {said}"))
        }
        (Reason::CheckpointApiDisabled, _) => {
            let remedy = "switch on its feature gate `ContainerCheckpoint` and `enableDebuggingHandlers`";
            (Reason::CheckpointApiDisabled, format!("{whom} takes no checkpoints: {remedy}; it answered {said}"))
        }
        (Reason::NodeNotPrepared, _) => {
            let remedy = "install CRIU on the node and let the runtime use it";
            (
                Reason::NodeNotPrepared,
                format!("{whom} has no CRIU that its container runtime can use: {remedy}; {said}"),
            )
        }
        (Reason::CheckpointUnsupported, _) => {
            (Reason::CheckpointUnsupported, format!("the container runtime of {whom} takes no checkpoints; {said}"))
        }
        (Reason::CheckpointFailed, _) => {
            (Reason::CheckpointFailed, format!("the checkpoint failed; {whom} answered {said}"))
        }
        (reason, _) => (reason, format!("{whom} answered {said}")),
    };
    Outcome::Failed { reason, message: redact::redact(&message), retry_after: answer.wished_wait(now) }
}

/// What a request without an answer stands for; `shown` is the kubelet's address.
pub(super) fn failed(broken: &Broken, asked: &Asked<'_>, shown: &str) -> Outcome {
    let (reason, message) = broken.told(&asked.whom, shown);
    match broken.certificate_error() {
        Some(why) if reason == Reason::Unreachable && !gets_better(why) => {
            let remedies = "let kubelets have serving certificates of the cluster's CA (`serverTLSBootstrap: true`), name \
                            their CA by `--kubelet-ca-file`, or do without by `--kubelet-insecure-skip-verify`";
            let message = format!("the certificate of {} at {shown} is not trusted ({why}): {remedies}", asked.whom);
            stopped(Reason::KubeletUntrusted, &message)
        }
        _ => stopped(reason, &message),
    }
}

/// The reason that a status which is not 2xx stands for.
fn reason(answer: &Answer) -> Reason {
    match answer.status.as_u16() {
        401 | 403 => Reason::Unauthorized,
        404 if is_container_unknown(answer) => Reason::NoSuchContainer,
        // 405: what a kubelet without debugging handlers says of some of their paths.
        404 if is_pod_unknown(answer) => Reason::PodNotOnNode,
        404 | 405 => Reason::CheckpointApiDisabled,
        429 | 503 => Reason::Busy,
        500 => runtime::reason(answer.body.trim()),
        408 | 425 | 501..=599 => Reason::BackendError,
        300..=499 => Reason::Rejected,
        _ => Reason::InvalidResponse,
    }
}

/// The handler itself says so: the gate is on, and we may.
pub(super) fn is_pod_unknown(answer: &Answer) -> bool {
    answer.status.as_u16() == 404 && answer.body.trim() == "pod does not exist"
}

fn is_container_unknown(answer: &Answer) -> bool {
    let body = answer.body.trim();
    body.starts_with("container ") && body.ends_with(" does not exist")
}

/// Whether a certificate that is not accepted for this will be replaced, or become valid, by itself.
fn gets_better(why: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

fn judge_success(answer: &Answer, asked: &Asked<'_>) -> Outcome {
    let Asked { whom, node, .. } = asked;
    let bad = |why: &str| stopped(Reason::InvalidResponse, &format!("{whom} answered {}, but {why}", answer.status));
    if !answer.is_legible {
        return bad("the answer is too long or not UTF-8");
    }
    let Ok(Taken { items }) = serde_json::from_str(&answer.body) else {
        return bad(&format!("the answer is not a list of archives: {}", answer.body));
    };
    match items.first().and_then(|path| redact::redact_place(path)) {
        Some(archive) if answer.status == reqwest::StatusCode::OK => {
            Outcome::Succeeded(Location { archive: Some(archive), node: Some((*node).to_owned()), image: None })
        }
        _ => bad(&format!("it names no archive: {}", answer.body)),
    }
}
