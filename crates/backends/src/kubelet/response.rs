//! What the response of a kubelet means: the table "The kubelet" of docs/contracts.md.
//!
//! Pure: `now` is a parameter, and nothing here reads from a connection. A message gives the advice before the text of the
//! kubelet, because the end of a message may be cut off.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use reqwest::StatusCode;
use rustls::CertificateError;
use serde::Deserialize;

use snapwatcher_api::outcome::{Location, Outcome, Reason};
use snapwatcher_kubernetes::tls::certificate_error;

use crate::failure::failed;
use crate::http::{BackendResponse, EndpointLabel, RequestFailure};
use crate::redact;

use super::endpoint::KubeletEndpoint;
use super::runtime_error;

/// The request that was sent.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    /// The kubelet, in messages.
    pub(super) kubelet: String,
    /// The node of the kubelet; archives are on it.
    pub(super) node: &'a str,
    /// The user that the token belongs to.
    pub(super) identity: &'a str,
}

/// The body of a response about a checkpoint that was taken.
#[derive(Deserialize)]
struct Archives {
    items: Vec<String>,
}

/// The outcome of an attempt with this response.
pub(super) fn outcome(response: &BackendResponse, request: &Request<'_>, now: Timestamp) -> Outcome {
    if response.status.is_success() {
        return success(response, request);
    }
    let Request { kubelet, identity, .. } = request;
    let (text, status) = (response.body.trim(), response.status);
    let answer = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    let reason = reason(response);
    let message = match (reason, status) {
        (Reason::Unauthorized, StatusCode::UNAUTHORIZED) => {
            let remedy = "see that the kubelet authenticates tokens (`authentication.webhook.enabled`)";
            format!("{kubelet} does not accept the token of {identity}: {remedy}; it answered {answer}")
        }
        (Reason::Unauthorized, StatusCode::FORBIDDEN) => {
            format!("{identity} needs the right `create` on `nodes/checkpoint`; {kubelet} answered {answer}")
        }
        (Reason::PodNotOnNode, _) => format!("{kubelet} does not know the pod yet; it answered {answer}"),
        (Reason::CheckpointApiDisabled, _) => {
            let remedy = "enable its feature gate `ContainerCheckpoint` and `enableDebuggingHandlers`";
            format!("{kubelet} does not serve the checkpoint API: {remedy}; it answered {answer}")
        }
        (Reason::NodeNotPrepared, _) => {
            let remedy = "install CRIU on the node and enable it in the container runtime";
            format!("{kubelet} has no CRIU that its container runtime can use: {remedy}; it answered {answer}")
        }
        (Reason::CheckpointUnsupported, _) => {
            let remedy = "use containerd 2.0 or later, or CRI-O";
            format!("the container runtime of {kubelet} does not support checkpoints: {remedy}; it answered {answer}")
        }
        (Reason::CheckpointFailed, _) => {
            format!("the container runtime failed to take the checkpoint; {kubelet} answered {answer}")
        }
        _ => format!("{kubelet} answered {answer}"),
    };
    Outcome::Failed { reason, message: redact::redact(&message), retry_after: response.retry_after(now) }
}

/// The outcome of an attempt without a complete response.
pub(super) fn request_failed(failure: &RequestFailure, request: &Request<'_>, endpoint: &KubeletEndpoint) -> Outcome {
    let (kubelet, url) = (&request.kubelet, endpoint.url());
    let remedy = "see that its port is reachable from SnapWatcher";
    let (reason, message) = failure.classify(EndpointLabel { name: kubelet, url: &url, remedy });
    match failure.certificate_error() {
        Some(why) if reason == Reason::Unreachable && !certificate_error::is_temporary(why) => {
            failed(Reason::KubeletUntrusted, &untrusted(why, kubelet, endpoint))
        }
        _ => failed(reason, &message),
    }
}

/// What is wrong with the certificate of a kubelet, and what to do.
fn untrusted(why: &CertificateError, kubelet: &str, endpoint: &KubeletEndpoint) -> String {
    if let Some(names) = certificate_error::other_names(why) {
        return format!(
            "the certificate of {kubelet} is not valid for its address {}, but for {}: set `--kubelet-preferred-address-types` to a \
             type of address that it is valid for, or give the kubelet a certificate for this address",
            endpoint.host(),
            certificate_error::listed(&names)
        );
    }
    let (url, cause) = (endpoint.url(), certificate_error::cause(why));
    if let Some(remedy) = certificate_error::remedy(why) {
        return format!(
            "the certificate of {kubelet} at {url} is not trusted ({cause}): {remedy}, or skip verification by \
             `--kubelet-insecure-skip-verify`"
        );
    }
    format!(
        "the certificate of {kubelet} at {url} is not trusted ({cause}): set `serverTLSBootstrap: true` in the kubelets, or name their CA by \
         `--kubelet-ca-file`, or skip verification by `--kubelet-insecure-skip-verify`"
    )
}

/// The reason of a status that is not 2xx.
fn reason(response: &BackendResponse) -> Reason {
    match response.status.as_u16() {
        401 | 403 => Reason::Unauthorized,
        404 if is_container_unknown(response) => Reason::NoSuchContainer,
        404 if is_pod_unknown(response) => Reason::PodNotOnNode,
        // 405: the answer of a kubelet without debugging handlers at some of their paths.
        404 | 405 => Reason::CheckpointApiDisabled,
        429 | 503 => Reason::Busy,
        500 => runtime_error::reason(response.body.trim()),
        408 | 425 | 501..=599 => Reason::BackendError,
        300..=499 => Reason::Rejected,
        _ => Reason::InvalidResponse,
    }
}

/// The answer of the checkpoint handler itself: so the API is enabled and the token has the right.
pub(super) fn is_pod_unknown(response: &BackendResponse) -> bool {
    response.status.as_u16() == 404 && response.body.trim() == "pod does not exist"
}

fn is_container_unknown(response: &BackendResponse) -> bool {
    let body = response.body.trim();
    body.starts_with("container ") && body.ends_with(" does not exist")
}

fn success(response: &BackendResponse, request: &Request<'_>) -> Outcome {
    let Request { kubelet, node, .. } = request;
    let invalid =
        |why: &str| failed(Reason::InvalidResponse, &format!("{kubelet} answered {}, but {why}", response.status));
    if !response.is_readable {
        return invalid("the response is too long or not UTF-8");
    }
    let Ok(Archives { items }) = serde_json::from_str(&response.body) else {
        return invalid(&format!("the response is not a list of archives: {}", response.body));
    };
    match items.first().and_then(|path| redact::redact_place(path)) {
        Some(archive) if response.status == StatusCode::OK => Outcome::Succeeded(Location {
            archive: Some(archive),
            node: Some((*node).to_owned()),
            ..Location::default()
        }),
        _ => invalid(&format!("the response names no archive: {}", response.body)),
    }
}
