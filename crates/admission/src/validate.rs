//! What the webhook says about a pod at its creation: label values, annotations, and what CRIU cannot checkpoint.
//!
//! The pod watch parses the same annotations by the same [`CheckpointOptions`]: a pod that gets a warning about an
//! annotation here is not checkpointed there.
//! On warnings: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.

use std::collections::BTreeMap;

use snapwatcher_api::checkpoint_name::shortened;
use snapwatcher_api::keys::{
    CONTAINERS, DEFAULT_CONTAINER, DELAY, MUTATED, ONCE_PER, OPTED_IN, ORIGINAL, RESTORED, REVISION_LABEL, SNAP,
};
use snapwatcher_api::metadata::LONGEST_VALUE;
use snapwatcher_api::pod::{CheckpointOptions, MOST_CONTAINERS};
use snapwatcher_api::text::one_visible_line;

use super::metadata::Annotations;
use super::pod_spec::PodSpec;
use super::request_error::RequestError;
use super::response::AdmissionResponse;
use super::review::{AdmissionRequest, ReviewedPod};
use super::text::Text;
use super::unknown_keys::unknown_key_warnings;
use super::unsupported_features::unsupported_features;

/// The longest value of a label, see
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>.
const LONGEST_LABEL_VALUE: usize = 63;

/// In characters. Kubernetes recommends this limit; clients may cut longer warnings.
const MAX_WARNING_LENGTH: usize = 120;
/// In characters, of each problem of a denied pod. It may quote a whole annotation.
const MAX_PROBLEM_LENGTH: usize = 1024;

/// What happens to a pod with a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ValidationMode {
    /// Admit the pod with warnings.
    #[default]
    Warn,
    /// Reject the pod.
    Deny,
    /// Admit the pod without warnings.
    Off,
}

impl ValidationMode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Deny => "deny",
            Self::Off => "off",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ValidateDecision {
    Pass,
    /// Each warning has at most [`MAX_WARNING_LENGTH`] characters.
    Warn(Vec<String>),
    /// All problems in one message.
    Deny(String),
}

impl ValidateDecision {
    /// The response to the request with this UID.
    pub(super) fn response<'r>(&'r self, uid: &'r str) -> AdmissionResponse<'r> {
        match self {
            Self::Pass => AdmissionResponse::allow(uid),
            Self::Warn(warnings) => AdmissionResponse::warn(uid, warnings),
            Self::Deny(message) => AdmissionResponse::deny(uid, message),
        }
    }
}

pub(super) fn decide(request: &AdmissionRequest<'_>, mode: ValidationMode) -> Result<ValidateDecision, RequestError> {
    let Some(pod) = request.created_pod().filter(|_| mode != ValidationMode::Off) else {
        return Ok(ValidateDecision::Pass);
    };
    let Findings { problems, hints } = findings(pod)?;
    Ok(match mode {
        ValidationMode::Deny if !problems.is_empty() => {
            let problems: Vec<_> = problems.iter().map(|problem| cut(problem, MAX_PROBLEM_LENGTH)).collect();
            ValidateDecision::Deny(problems.join("; "))
        }
        _ if problems.is_empty() && hints.is_empty() => ValidateDecision::Pass,
        _ => ValidateDecision::Warn(
            problems.iter().chain(&hints).map(|finding| cut(finding, MAX_WARNING_LENGTH)).collect(),
        ),
    })
}

/// The problem of a pod whose label [`SNAP`] has an invalid value.
pub(super) fn invalid_snap_label(pod: &ReviewedPod<'_>) -> Option<String> {
    let snap = pod.metadata.labels.as_ref()?.snap.as_deref()?;
    let problem = snap_problem(snap).filter(|_| !pod.metadata.is_mirror())?;
    // The problem quotes the value, which can be long, and goes into the log.
    Some(cut(&problem, MAX_WARNING_LENGTH))
}

#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    /// Warnings about keys that may belong to another component, which are no reason to deny a pod.
    hints: Vec<String>,
}

/// Empty for a pod without the label [`SNAP`], and for a mirror pod.
fn findings(pod: &ReviewedPod<'_>) -> Result<Findings, RequestError> {
    let metadata = &pod.metadata;
    let labels = metadata.labels.as_ref();
    let Some(snap) = labels.and_then(|labels| labels.snap.as_deref()) else { return Ok(Findings::default()) };
    if metadata.is_mirror() {
        return Ok(Findings::default());
    }
    let mutated = labels.and_then(|labels| labels.mutated.as_deref());
    let mut problems: Vec<String> = snap_problem(snap).into_iter().chain(mutated.and_then(mutated_problem)).collect();
    // The remaining problems are of no interest on a pod that will not be checkpointed.
    if snap != OPTED_IN || mutated == Some(RESTORED) {
        return Ok(Findings { problems, hints: Vec::new() });
    }
    let hints = unknown_key_warnings(labels, metadata.annotations.as_ref());
    let spec = pod.spec.map(PodSpec::decode).transpose()?;
    if spec.as_ref().is_some_and(PodSpec::has_too_many_containers) {
        problems.push(format!("the pod has more than {MOST_CONTAINERS} containers, and is not checkpointed"));
        return Ok(Findings { problems, hints });
    }
    let containers = spec.as_ref().map(PodSpec::container_names).unwrap_or_default();
    let sidecars = spec.as_ref().map(PodSpec::sidecar_names).unwrap_or_default();
    let annotations = metadata.annotations.as_ref().map(option_annotations).unwrap_or_default();
    let chosen = match CheckpointOptions::parse(&annotations, &containers, &sidecars) {
        Ok(options) => options.containers,
        Err(invalid) => {
            problems.extend(invalid.iter().map(ToString::to_string));
            containers.into_iter().map(str::to_owned).collect()
        }
    };
    problems.extend(spec.iter().flat_map(|spec| unsupported_features(spec, &chosen)));
    Ok(Findings { problems, hints })
}

/// A value as a problem quotes it. One that the API server would accept is not changed.
fn quoted(value: &str) -> String {
    shortened(value, LONGEST_LABEL_VALUE)
}

fn snap_problem(value: &str) -> Option<String> {
    let intended = [OPTED_IN, "false"].into_iter().find(|allowed| value.eq_ignore_ascii_case(allowed));
    match intended {
        Some(allowed) if allowed == value => None,
        Some(allowed) => {
            Some(format!("label {SNAP}: `{}` is not recognized; did you mean \"{allowed}\"?", quoted(value)))
        }
        None => Some(format!("label {SNAP}: `{}` is not recognized; use \"true\" or \"false\"", quoted(value))),
    }
}

fn mutated_problem(value: &str) -> Option<String> {
    let is_known = value == ORIGINAL || value == RESTORED;
    let problem = || format!("label {MUTATED}: `{}` is treated as \"false\"; use \"true\" or \"false\"", quoted(value));
    (!is_known).then(problem)
}

/// The annotations that [`CheckpointOptions`] are parsed from, cut as the watch cuts them.
fn option_annotations(annotations: &Annotations<'_>) -> BTreeMap<String, String> {
    let Annotations { containers, delay, once_per, revision_label, default_container, meshes, .. } = annotations;
    let options = [
        (CONTAINERS, containers),
        (DELAY, delay),
        (ONCE_PER, once_per),
        (REVISION_LABEL, revision_label),
        (DEFAULT_CONTAINER, default_container),
    ];
    let value = |value: &Option<Text<'_>>| value.as_deref().map(|value| shortened(value, LONGEST_VALUE));
    let options = options.into_iter().filter_map(|(key, text)| Some((key.to_owned(), value(text)?)));
    // Their values are not read.
    options.chain(meshes.iter().map(|key| ((*key).to_owned(), String::new()))).collect()
}

/// Cuts a finding, and makes it one line of visible characters: the API server drops warnings with control characters.
fn cut(finding: &str, longest: usize) -> String {
    // What is cut off need not be made visible first. A control sequence of a finding that is no longer than this is left out.
    let most = finding.char_indices().nth(8 * longest).map_or(finding.len(), |(at, _)| at);
    let mut line = one_visible_line(&finding[..most]);
    let mut ends = line.char_indices().map(|(end, _)| end).skip(longest - 1);
    if let (Some(end), Some(_)) = (ends.next(), ends.next()) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
