//! What is told about a pod at its creation: label values, annotations, and what CRIU can't checkpoint.
//!
//! A pure function of the request. The watch parses the same annotations by the same [`CheckpointOptions`], so a pod warned of
//! here is the one that is never claimed there.
//! On warnings: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.

use std::collections::BTreeMap;

use snapwatcher_api::keys::{
    CONTAINERS, DEFAULT_CONTAINER, DELAY, MUTATED, ONCE_PER, OPTED_IN, ORIGINAL, RESTORED, SNAP,
};
use snapwatcher_api::pod::CheckpointOptions;

use super::answer::Answer;
use super::criu::PodSpec;
use super::keys::{self, Annotations};
use super::review::{Pod, Request};

/// Clients may cut longer warnings; Kubernetes asks for no more.
const WARNING_LENGTH: usize = 120;

/// What is done about a pod with something to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ValidationMode {
    /// Admit it with warnings.
    #[default]
    Warn,
    /// Refuse it.
    Deny,
    /// Say nothing.
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

/// The answer to a pod's creation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// Sentences of at most 120 characters.
    Warn(Vec<String>),
    /// One text.
    Deny(String),
}

impl Verdict {
    /// The answer to the request of that UID.
    pub(super) fn answer<'a>(&'a self, uid: &'a str) -> Answer<'a> {
        match self {
            Self::Pass => Answer::allow(uid),
            Self::Warn(warnings) => Answer::warn(uid, warnings),
            Self::Deny(message) => Answer::deny(uid, message),
        }
    }
}

pub(super) fn judge(request: &Request<'_, PodSpec<'_>>, mode: ValidationMode) -> Verdict {
    let Some(pod) = request.created_pod().filter(|_| mode != ValidationMode::Off) else { return Verdict::Pass };
    let Findings { problems, hints } = findings(pod);
    match mode {
        ValidationMode::Deny if !problems.is_empty() => Verdict::Deny(problems.join("; ")),
        _ if problems.is_empty() && hints.is_empty() => Verdict::Pass,
        _ => Verdict::Warn(problems.iter().chain(&hints).map(|finding| warning(finding)).collect()),
    }
}

/// The words about a value of the label [`SNAP`] that does not count.
pub(super) fn mislabelled(pod: &Pod<'_, PodSpec<'_>>) -> Option<String> {
    let snap = pod.metadata.labels.as_ref()?.snap.as_deref()?;
    let problem = snap_problem(snap).filter(|_| !pod.metadata.is_mirror())?;
    // It goes into the log, and the value came from outside.
    Some(problem.chars().take(WARNING_LENGTH).collect())
}

/// What is to be told of a pod, in sentences.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    /// Keys that may be another component's: never a reason to deny a pod.
    hints: Vec<String>,
}

/// What is wrong with a pod; nothing of a pod that has nothing to do with us.
fn findings(pod: &Pod<'_, PodSpec<'_>>) -> Findings {
    let metadata = &pod.metadata;
    let labels = metadata.labels.as_ref();
    let Some(snap) = labels.and_then(|labels| labels.snap.as_deref()) else { return Findings::default() };
    if metadata.is_mirror() {
        return Findings::default();
    }
    let mutated = labels.and_then(|labels| labels.mutated.as_deref());
    let mut problems: Vec<String> = snap_problem(snap).into_iter().chain(mutated.and_then(mutated_problem)).collect();
    // What follows is about how the pod would be checkpointed.
    if snap != OPTED_IN || mutated == Some(RESTORED) {
        return Findings { problems, hints: Vec::new() };
    }
    let spec = pod.spec.as_ref();
    let containers = spec.map(PodSpec::container_names).unwrap_or_default();
    let annotations = metadata.annotations.as_ref().map(wish_annotations).unwrap_or_default();
    let chosen = match CheckpointOptions::parse(&annotations, &containers) {
        Ok(wishes) => wishes.containers,
        Err(wrong) => {
            problems.extend(wrong.iter().map(ToString::to_string));
            containers.into_iter().map(str::to_owned).collect()
        }
    };
    problems.extend(spec.map(|spec| spec.obstacles(&chosen)).unwrap_or_default());
    Findings { problems, hints: keys::unread(labels, metadata.annotations.as_ref()) }
}

fn snap_problem(value: &str) -> Option<String> {
    let meant = [OPTED_IN, "false"].into_iter().find(|allowed| value.eq_ignore_ascii_case(allowed));
    match meant {
        Some(allowed) if allowed == value => None,
        Some(allowed) => Some(format!("label {SNAP}: `{value}` does not count; did you mean \"{allowed}\"?")),
        None => Some(format!("label {SNAP}: `{value}` does not count; allowed are \"true\" and \"false\"")),
    }
}

fn mutated_problem(value: &str) -> Option<String> {
    let known = value == ORIGINAL || value == RESTORED;
    (!known).then(|| format!("label {MUTATED}: `{value}` counts as \"false\"; allowed are \"true\" and \"false\""))
}

/// The annotations that [`CheckpointOptions`] are read from.
fn wish_annotations(annotations: &Annotations<'_>) -> BTreeMap<String, String> {
    let Annotations { containers, delay, once_per, default_container, .. } = annotations;
    [(CONTAINERS, containers), (DELAY, delay), (ONCE_PER, once_per), (DEFAULT_CONTAINER, default_container)]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value.as_deref()?.to_owned())))
        .collect()
}

/// Cuts to the length that clients show whole; control characters would have the API server drop the warning.
fn warning(finding: &str) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    if finding.chars().nth(WARNING_LENGTH).is_none() {
        return finding.chars().map(clean).collect();
    }
    finding.chars().take(WARNING_LENGTH - 1).map(clean).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use serde_json::{Value, json};

    use super::super::review::creation;
    use super::*;
    use snapwatcher_api::keys::MIRROR;

    fn judged(metadata: &Value, mode: ValidationMode) -> Verdict {
        let pod = json!({"metadata": metadata, "spec": {"hostIPC": true, "containers": [{"name": "app"}]}});
        let body = creation("r-1", &pod).to_string();
        judge(&Request::decode(body.as_bytes()).unwrap(), mode)
    }

    fn warnings(metadata: &Value) -> Vec<String> {
        match judged(metadata, ValidationMode::Warn) {
            Verdict::Warn(warnings) => warnings,
            Verdict::Pass => Vec::new(),
            Verdict::Deny(message) => panic!("denied: {message}"),
        }
    }

    #[test]
    fn each_problem_is_told() {
        for (case, metadata, words) in [
            ("a capital", json!({"labels": {SNAP: "True"}}), &["did you mean \"true\"?"][..]),
            ("another word", json!({"labels": {SNAP: "yes"}}), &["`yes` does not count; allowed are"]),
            ("junk", json!({"labels": {SNAP: "false", MUTATED: "junk"}}), &["`junk` counts as \"false\""]),
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
            assert_eq!(warnings.len(), words.len(), "{case}: {warnings:?}");
            for (warning, words) in warnings.iter().zip(words) {
                assert!(warning.contains(words), "{case}: {warning}");
            }
        }
    }

    #[test]
    fn a_pod_that_is_not_to_be_checkpointed_is_not_talked_about() {
        let junk = json!({DELAY: "soon"});
        for (case, metadata) in [
            ("no label", json!({"annotations": junk})),
            ("opted out", json!({"labels": {SNAP: "false"}, "annotations": junk})),
            ("from a checkpoint", json!({"labels": {SNAP: "true", MUTATED: "true"}, "annotations": junk})),
            ("mirror", json!({"labels": {SNAP: "True"}, "annotations": {MIRROR: "x"}})),
        ] {
            assert_eq!(judged(&metadata, ValidationMode::Deny), Verdict::Pass, "{case}");
        }
    }

    #[test]
    fn the_mode_decides_what_is_done() {
        let metadata = json!({"labels": {SNAP: "True", MUTATED: "junk"}});
        assert!(matches!(judged(&metadata, ValidationMode::Warn), Verdict::Warn(warnings) if warnings.len() == 2));
        assert_eq!(judged(&metadata, ValidationMode::Off), Verdict::Pass);
        let Verdict::Deny(message) = judged(&metadata, ValidationMode::Deny) else { panic!("not denied") };
        assert!(message.contains("did you mean") && message.contains("junk"), "{message}");
    }

    #[test]
    fn a_key_that_nobody_reads_is_never_a_reason_to_deny() {
        let pod = json!({
            "metadata": {"labels": {SNAP: "true"}, "annotations": {"snap.weaversoft.io/delays": "5s"}},
            "spec": {"containers": [{"name": "app"}]},
        });
        let body = creation("r-1", &pod).to_string();
        let request = Request::decode(body.as_bytes()).unwrap();
        for mode in [ValidationMode::Warn, ValidationMode::Deny] {
            let verdict = judge(&request, mode);
            assert!(
                matches!(&verdict, Verdict::Warn(warnings) if warnings.len() == 1 && warnings[0].contains("`delay`")),
                "{mode:?}: {verdict:?}"
            );
        }
        assert_eq!(judge(&request, ValidationMode::Off), Verdict::Pass);
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
    fn a_mode_is_written_as_its_flag() {
        for mode in ValidationMode::value_variants() {
            assert_eq!(mode.to_possible_value().unwrap().get_name(), mode.as_str());
        }
    }
}
