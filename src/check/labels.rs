//! Looks for labels and annotations that have no effect: on a workload and not on its pod template, with another value than `true`,
//! written as an annotation, or with a key that SnapWatcher does not read. And for labeled pods that the webhook does not select.

mod listing;
mod marks;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::ResourceExt as _;

use super::finding::{Finding, State, Topic};
use snapwatcher_api::keys::{PREFIX, SNAP};
use snapwatcher_controller::selects_namespace;

pub(super) use listing::check;

/// How many objects a finding names.
const NAMED: usize = 10;

/// The value that opts out.
const OPTED_OUT: &str = "false";

/// Where an object of a kind says which labels its pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelsOfPods {
    /// It is a pod.
    Own,
    InTemplate,
    /// Its labels are no labels of pods.
    Nowhere,
}

/// A label or an annotation that has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mistake {
    /// The object has it, and its pods do not get it.
    NotOnPods,
    OtherValue,
    Annotation,
    /// The object has annotations that its pods do not get.
    OptionsNotOnPods,
    /// The object or its template has keys of SNAP that SnapWatcher does not read.
    Unread,
}

impl Mistake {
    fn what(self) -> String {
        match self {
            Self::NotOnPods => format!("label {SNAP} on objects whose pods do not get it"),
            Self::OtherValue => format!("label {SNAP} with another value than \"true\""),
            Self::Annotation => format!("annotation {SNAP}, which has no effect"),
            Self::OptionsNotOnPods => format!("annotations {PREFIX}... on objects whose pods do not get them"),
            Self::Unread => format!("labels and annotations {PREFIX}... that SnapWatcher does not read"),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::NotOnPods => {
                "put it on the pod template, spec.template.metadata.labels (of a CronJob \
                 spec.jobTemplate.spec.template.metadata.labels): only the label of a pod counts"
            }
            Self::OtherValue => "write \"true\", in quotation marks: no other value opts in",
            Self::Annotation => "make it a label of the pods: of a workload in spec.template.metadata.labels",
            Self::OptionsNotOnPods => {
                "put them on the pod template, spec.template.metadata.annotations (of a CronJob \
                 spec.jobTemplate.spec.template.metadata.annotations): only the annotations of a pod count"
            }
            Self::Unread => {
                "correct them, unless another component of SNAP reads them. SnapWatcher reads the labels `snap` and `mutated`, and the \
                 annotations `containers`, `delay`, `once-per` and `revision-label`"
            }
        }
    }
}

/// Why objects of a kind were not looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Unread {
    NotAllowed,
    /// There are more than are looked at.
    TooMany(usize),
    Failed(String),
}

/// What was found in all namespaces that are watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    /// The objects with each mistake.
    mistakes: BTreeMap<Mistake, BTreeSet<String>>,
    /// How many labeled pods of each namespace have no label `mutated`.
    not_mutated: BTreeMap<String, usize>,
    /// The kinds, by their plural, that were not looked at, or not all of them.
    unread: BTreeMap<Unread, BTreeSet<&'static str>>,
}

/// Evaluates what was found. Without the configuration of the webhook, nothing is known of its namespaces.
fn evaluate(found: &Found, configuration: Option<&MutatingWebhookConfiguration>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = found
        .mistakes
        .iter()
        .map(|(mistake, objects)| {
            Finding::warning(Topic::Label, mistake.what(), enumerated(objects), mistake.remedy().to_owned())
        })
        .collect();
    if findings.is_empty() {
        let seen = "no object has it without effect";
        findings.push(Finding::ok(Topic::Label, format!("label {SNAP}"), seen));
    }
    findings.extend(configuration.and_then(|configuration| not_selected(found, configuration)));
    findings.extend(found.unread.iter().map(|(why, kinds)| unread(why, kinds)));
    findings
}

/// The labeled pods in namespaces that the webhook does not select, if there are any.
fn not_selected(found: &Found, configuration: &MutatingWebhookConfiguration) -> Option<Finding> {
    let excluded = found.not_mutated.iter().filter(|(name, _)| selects_namespace(configuration, name) == Some(false));
    let excluded: BTreeSet<String> = excluded.map(|(name, pods)| format!("`{name}` ({pods})")).collect();
    if excluded.is_empty() {
        return None;
    }
    let what = format!("labeled pods that the mutating configuration `{}` does not select", configuration.name_any());
    let remedy = "nothing, if they need no label `mutated` and no admission warnings: SnapWatcher checkpoints them. Otherwise let \
                  the namespaceSelector select their namespace (value webhook.excludedNamespaces of the chart)";
    Some(Finding::warning(
        Topic::Label,
        what,
        format!("in the namespaces {}", enumerated(&excluded)),
        remedy.to_owned(),
    ))
}

fn unread(why: &Unread, kinds: &BTreeSet<&'static str>) -> Finding {
    let kinds: Vec<&str> = kinds.iter().copied().collect();
    let what = format!("label {SNAP} of {}", kinds.join(", "));
    match why {
        Unread::NotAllowed => {
            let remedy = format!(
                "to look for the label in a wrong place, run this check with an account that may list them, or run: kubectl get {} \
                 -A -l {SNAP}",
                kinds.join(",")
            );
            let seen = "not looked at: this account may not list them, and SnapWatcher does not need to";
            Finding::new(Topic::Label, what, State::Skipped, seen, Some(remedy))
        }
        Unread::TooMany(most) => Finding::skipped(Topic::Label, what, format!("only {most} were looked at")),
        Unread::Failed(message) => Finding::skipped(Topic::Label, what, message),
    }
}

fn enumerated(objects: &BTreeSet<String>) -> String {
    let named: Vec<&str> = objects.iter().take(NAMED).map(String::as_str).collect();
    let rest = objects.len() - named.len();
    if rest == 0 { named.join(", ") } else { format!("{}, and {rest} more", named.join(", ")) }
}

#[cfg(test)]
mod tests;
