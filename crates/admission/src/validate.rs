//! What the webhook says about a pod at its creation: label values, annotations, and what CRIU cannot checkpoint.
//!
//! The pod watch parses the same annotations by the same [`CheckpointOptions`]: a pod that gets a warning about an
//! annotation here is not checkpointed there.
//! On warnings: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.

use std::collections::BTreeMap;

use snapwatcher_api::keys::{
    CONTAINERS, DEFAULT_CONTAINER, DELAY, MUTATED, ONCE_PER, OPTED_IN, ORIGINAL, RESTORED, SNAP,
};
use snapwatcher_api::pod::CheckpointOptions;
use snapwatcher_api::text::one_visible_line;

use super::metadata::Annotations;
use super::pod_spec::PodSpec;
use super::request_error::RequestError;
use super::response::AdmissionResponse;
use super::review::{AdmissionRequest, ReviewedPod};
use super::unknown_keys::unknown_key_warnings;
use super::unsupported_features::unsupported_features;

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
    let spec = pod.spec.map(PodSpec::decode).transpose()?;
    let containers = spec.as_ref().map(PodSpec::container_names).unwrap_or_default();
    let annotations = metadata.annotations.as_ref().map(option_annotations).unwrap_or_default();
    let chosen = match CheckpointOptions::parse(&annotations, &containers) {
        Ok(options) => options.containers,
        Err(invalid) => {
            problems.extend(invalid.iter().map(ToString::to_string));
            containers.into_iter().map(str::to_owned).collect()
        }
    };
    problems.extend(spec.iter().flat_map(|spec| unsupported_features(spec, &chosen)));
    Ok(Findings { problems, hints: unknown_key_warnings(labels, metadata.annotations.as_ref()) })
}

fn snap_problem(value: &str) -> Option<String> {
    let intended = [OPTED_IN, "false"].into_iter().find(|allowed| value.eq_ignore_ascii_case(allowed));
    match intended {
        Some(allowed) if allowed == value => None,
        Some(allowed) => Some(format!("label {SNAP}: `{value}` is not recognized; did you mean \"{allowed}\"?")),
        None => Some(format!("label {SNAP}: `{value}` is not recognized; use \"true\" or \"false\"")),
    }
}

fn mutated_problem(value: &str) -> Option<String> {
    let is_known = value == ORIGINAL || value == RESTORED;
    (!is_known).then(|| format!("label {MUTATED}: `{value}` is treated as \"false\"; use \"true\" or \"false\""))
}

/// The annotations that [`CheckpointOptions`] are parsed from.
fn option_annotations(annotations: &Annotations<'_>) -> BTreeMap<String, String> {
    let Annotations { containers, delay, once_per, default_container, .. } = annotations;
    [(CONTAINERS, containers), (DELAY, delay), (ONCE_PER, once_per), (DEFAULT_CONTAINER, default_container)]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value.as_deref()?.to_owned())))
        .collect()
}

/// Cuts a finding, and makes it one line of visible characters: the API server drops warnings with control characters.
fn cut(finding: &str, longest: usize) -> String {
    let mut line = one_visible_line(finding);
    let mut ends = line.char_indices().map(|(end, _)| end).skip(longest - 1);
    if let (Some(end), Some(_)) = (ends.next(), ends.next()) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use serde_json::{Value, json};

    use super::super::review::review_of_creation;
    use super::*;
    use snapwatcher_api::keys::MIRROR;

    fn decision(metadata: &Value, mode: ValidationMode) -> ValidateDecision {
        let pod = json!({"metadata": metadata, "spec": {"hostIPC": true, "containers": [{"name": "app"}]}});
        let body = review_of_creation("r-1", &pod).to_string();
        decide(&AdmissionRequest::decode(body.as_bytes()).unwrap(), mode).unwrap()
    }

    fn warnings(metadata: &Value) -> Vec<String> {
        match decision(metadata, ValidationMode::Warn) {
            ValidateDecision::Warn(warnings) => warnings,
            ValidateDecision::Pass => Vec::new(),
            ValidateDecision::Deny(message) => panic!("denied: {message}"),
        }
    }

    #[test]
    fn each_problem_is_a_warning() {
        for (case, metadata, expected) in [
            ("a capital", json!({"labels": {SNAP: "True"}}), &["`True` is not recognized; did you mean \"true\"?"][..]),
            ("another word", json!({"labels": {SNAP: "yes"}}), &["`yes` is not recognized; use \"true\" or \"false\""]),
            (
                "junk",
                json!({"labels": {SNAP: "false", MUTATED: "junk"}}),
                &["`junk` is treated as \"false\"; use \"true\" or \"false\""],
            ),
            (
                "annotations, all at once",
                json!({
                    "labels": {SNAP: "true"},
                    "annotations": {CONTAINERS: "nope", DELAY: "soon", ONCE_PER: "week"},
                }),
                &["no container `nope`", "`soon`", "`week`", "hostIPC"],
            ),
            ("the spec", json!({"labels": {SNAP: "true", MUTATED: "false"}}), &["hostIPC"]),
        ] {
            let warnings = warnings(&metadata);
            assert_eq!(warnings.len(), expected.len(), "{case}: {warnings:?}");
            for (warning, expected) in warnings.iter().zip(expected) {
                assert!(warning.contains(expected), "{case}: {warning}");
            }
        }
    }

    #[test]
    fn a_pod_that_will_not_be_checkpointed_gets_no_warning() {
        let junk = json!({DELAY: "soon"});
        for (case, metadata) in [
            ("no label", json!({"annotations": junk})),
            ("opted out", json!({"labels": {SNAP: "false"}, "annotations": junk})),
            ("from a checkpoint", json!({"labels": {SNAP: "true", MUTATED: "true"}, "annotations": junk})),
            ("mirror", json!({"labels": {SNAP: "True"}, "annotations": {MIRROR: "x"}})),
        ] {
            assert_eq!(decision(&metadata, ValidationMode::Deny), ValidateDecision::Pass, "{case}");
        }
    }

    #[test]
    fn the_mode_decides_what_happens_to_a_pod_with_problems() {
        let metadata = json!({"labels": {SNAP: "True", MUTATED: "junk"}});
        assert!(
            matches!(decision(&metadata, ValidationMode::Warn), ValidateDecision::Warn(warnings) if warnings.len() == 2)
        );
        assert_eq!(decision(&metadata, ValidationMode::Off), ValidateDecision::Pass);
        let ValidateDecision::Deny(message) = decision(&metadata, ValidationMode::Deny) else { panic!("not denied") };
        assert!(message.contains("did you mean") && message.contains("junk"), "{message}");
    }

    #[test]
    fn an_unknown_key_is_no_reason_to_deny() {
        let pod = json!({
            "metadata": {"labels": {SNAP: "true"}, "annotations": {"snap.weaversoft.io/delays": "5s"}},
            "spec": {"containers": [{"name": "app"}]},
        });
        let body = review_of_creation("r-1", &pod).to_string();
        let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
        for mode in [ValidationMode::Warn, ValidationMode::Deny] {
            let decision = decide(&request, mode).unwrap();
            assert!(
                matches!(&decision, ValidateDecision::Warn(warnings) if warnings.len() == 1 && warnings[0].contains("`delay`")),
                "{mode:?}: {decision:?}"
            );
        }
        assert_eq!(decide(&request, ValidationMode::Off).unwrap(), ValidateDecision::Pass);
    }

    #[test]
    fn a_spec_is_decoded_only_where_it_is_needed() {
        let odd =
            |metadata: Value| review_of_creation("r-1", &json!({"metadata": metadata, "spec": "odd"})).to_string();
        let body = odd(json!({"labels": {SNAP: "true"}}));
        let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
        let error = decide(&request, ValidationMode::Warn).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.to_string().as_str()),
            (400, "the pod's spec has an unexpected value at line 1 column 5 of the spec")
        );
        assert_eq!(decide(&request, ValidationMode::Off).unwrap(), ValidateDecision::Pass);
        let body = odd(json!({"labels": {SNAP: "false"}}));
        let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
        assert_eq!(decide(&request, ValidationMode::Deny).unwrap(), ValidateDecision::Pass);
    }

    #[test]
    fn a_warning_has_at_most_120_characters_and_no_control_characters() {
        for length in [1, 300] {
            let metadata = json!({"labels": {SNAP: "true"}, "annotations": {ONCE_PER: "ä\n".repeat(length)}});
            for warning in warnings(&metadata) {
                assert!(warning.chars().count() <= 120, "{warning}");
                assert!(!warning.contains(char::is_control), "{warning:?}");
            }
        }
    }

    #[test]
    fn a_denial_quotes_at_most_1024_characters_of_each_problem_in_one_line() {
        let long = "\u{202e}\u{1b}[31mä\n".repeat(30_000);
        let metadata =
            json!({"labels": {SNAP: "true"}, "annotations": {CONTAINERS: long, DELAY: long, ONCE_PER: long}});
        let ValidateDecision::Deny(message) = decision(&metadata, ValidationMode::Deny) else { panic!("not denied") };
        assert!(!message.contains(char::is_control) && !message.contains('\u{202e}'), "{message:?}");
        let problems: Vec<_> = message.split("; annotation").map(|problem| problem.chars().count()).collect();
        assert!(problems.len() == 3 && problems.iter().all(|length| *length <= 1200), "{problems:?}");
    }

    #[test]
    fn a_mode_has_the_name_of_its_flag_value() {
        for mode in ValidationMode::value_variants() {
            assert_eq!(mode.to_possible_value().unwrap().get_name(), mode.as_str());
        }
    }
}
