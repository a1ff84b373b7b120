//! What the two review routes do with a body: decode, decide, log, count, encode.
//!
//! A handler waits for nothing, so a slow API server or back-end does not slow it down. Bodies are never logged.

use std::time::Instant;

use tracing::{Level, debug, debug_span, enabled, warn};

use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::RepeatedMessages;
use snapwatcher_state::PodTimelines;

use super::metrics::AdmissionMetrics;
use super::mutate::{self, MutateDecision};
use super::request_error::RequestError;
use super::response::AdmissionResponse;
use super::review::AdmissionRequest;
use super::validate::{self, ValidationMode};

/// In characters, of a namespace or a pod, see
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.
const MAX_NAME_LENGTH: usize = 253;

/// The state that the routes share.
pub struct AdmissionHandler {
    timelines: PodTimelines,
    pub(super) metrics: AdmissionMetrics,
    validation: ValidationMode,
    /// Of warnings about invalid labels, by namespace and template.
    mislabeled: RepeatedMessages,
}

impl AdmissionHandler {
    #[must_use]
    pub fn new(timelines: PodTimelines, metrics: AdmissionMetrics, validation: ValidationMode) -> Self {
        Self { timelines, metrics, validation, mislabeled: RepeatedMessages::default() }
    }

    /// The body of the response to `/mutate`. Stores the admission if the pod will have its UID.
    pub(super) fn mutate(&self, body: &[u8]) -> Result<Vec<u8>, RequestError> {
        let request = AdmissionRequest::decode(body)?;
        let uid = &*request.uid;
        let _span = debug_span!("review", webhook = "mutate", admission = uid).entered();
        let decision = mutate::decide(&request);
        if enabled!(Level::DEBUG) {
            log_decision(&request, &decision);
        }
        let response = decision.response(uid).and_then(|response| response.encode());
        let response = response.map_err(|source| RequestError::EncodeFailed { source })?;
        // A dry run creates no pod that this admission could be joined to.
        if decision.adds_admission() && !request.is_dry_run() {
            self.timelines.admitted(uid, clock::now());
        }
        self.metrics.mutate_decided(&decision);
        Ok(response)
    }

    /// The body of the response to `/validate`.
    pub(super) fn validate(&self, body: &[u8]) -> Result<Vec<u8>, RequestError> {
        let request = AdmissionRequest::decode(body)?;
        let uid = &*request.uid;
        let _span = debug_span!("review", webhook = "validate", admission = uid).entered();
        let decision = validate::decide(&request, self.validation)?;
        let response: AdmissionResponse<'_> = decision.response(uid);
        let response = response.encode().map_err(|source| RequestError::EncodeFailed { source })?;
        self.metrics.validate_decided(&decision);
        if self.validation != ValidationMode::Off && !request.is_dry_run() {
            self.log_invalid_snap_label(&request);
        }
        Ok(response)
    }

    /// Controllers discard the warnings about their pods, so an invalid label is also logged.
    fn log_invalid_snap_label(&self, request: &AdmissionRequest<'_>) {
        let Some(pod) = request.created_pod() else { return };
        let Some(problem) = validate::invalid_snap_label(pod) else { return };
        self.metrics.mislabeled();
        let (namespace, template) = (request.namespace.as_deref().unwrap_or_default(), pod.metadata.template_name());
        // A longer name is not one of Kubernetes, and must not fill the log and `mislabeled`.
        if namespace.len().max(template.len()) > MAX_NAME_LENGTH {
            return;
        }
        if self.mislabeled.should_log(namespace, template, Instant::now()) {
            warn!(namespace, template, "Pods `{namespace}/{template}` will not be checkpointed: {problem}");
        }
    }
}

fn log_decision(request: &AdmissionRequest<'_>, decision: &MutateDecision) {
    match decision {
        MutateDecision::Unchanged(reason) => {
            debug!(reason = reason.as_str(), "Did not patch the object: {}", reason.as_str());
        }
        MutateDecision::Patch(patch) => {
            let pod = request.created_pod().map(|pod| pod.metadata.name()).unwrap_or_default();
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let admission = &*request.uid;
            debug!(admission, %patch, namespace, pod, "Patched pod `{namespace}/{pod}`");
        }
    }
}
