//! MissedMutations: pods that admission should have labelled and did not.
//!
//! The webhook fails open, so a pod can pass it by while it is down. Such a pod is checkpointed all the same, and told,
//! because a silent slip is what people hold against webhooks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::PodFacts;

/// Label by which every namespace carries its own name, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whether a labelled pod without the label `mutated` slipped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Slip,
    /// Admission was not to label it.
    NotOurs,
    /// The configuration selects by labels that are not known here.
    CannotTell,
}

/// Judges a pod by the configuration that should have brought it to us. `kube-system` and the like are left out by the
/// configuration itself.
pub(super) fn judge(configuration: &MutatingWebhookConfiguration, pod: &PodFacts) -> Judgement {
    if !pod.labelled || pod.mirror || pod.mutated.is_some() {
        return Judgement::NotOurs;
    }
    let made = configuration.metadata.creation_timestamp.as_ref().map(|made| made.0);
    let after: Option<bool> =
        pod.created.zip(made).map(|(pod, configuration): (Timestamp, Timestamp)| pod > configuration);
    // Both times are whole seconds, so a pod of the same second may have been first.
    if after != Some(true) {
        return Judgement::NotOurs;
    }
    let namespace = BTreeMap::from([(NAMESPACE_NAME, pod.name.namespace.as_str())]);
    let labels = BTreeMap::from([(SNAP, OPTED_IN)]);
    let mut unknown = false;
    for webhook in configuration.webhooks.iter().flatten() {
        let selected = [
            selects(webhook.namespace_selector.as_ref(), &namespace),
            selects(webhook.object_selector.as_ref(), &labels),
        ];
        match selected {
            [Some(true), Some(true)] => return Judgement::Slip,
            [Some(false), _] | [_, Some(false)] => {}
            _ => unknown = true,
        }
    }
    if unknown { Judgement::CannotTell } else { Judgement::NotOurs }
}

/// Whether a selector takes an object of which only these labels are known; `None`: another label decides.
fn selects(selector: Option<&LabelSelector>, known: &BTreeMap<&str, &str>) -> Option<bool> {
    let Some(selector) = selector else { return Some(true) };
    let equalities =
        selector.match_labels.iter().flatten().map(|(key, value)| known.get(key.as_str()).map(|known| known == value));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| holds(expression, known));
    let results: Vec<Option<bool>> = equalities.chain(expressions).collect();
    if results.contains(&Some(false)) {
        return Some(false);
    }
    if results.contains(&None) { None } else { Some(true) }
}

fn holds(expression: &LabelSelectorRequirement, known: &BTreeMap<&str, &str>) -> Option<bool> {
    let value = known.get(expression.key.as_str())?;
    let among = expression.values.iter().flatten().any(|allowed| allowed == value);
    match expression.operator.as_str() {
        "In" => Some(among),
        "NotIn" => Some(!among),
        "Exists" => Some(true),
        "DoesNotExist" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use snapwatcher_api::pod::WatchedPod;

    fn configuration(namespace_selector: &Value) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": {"name": "snapwatcher", "creationTimestamp": "2026-01-01T00:00:10Z"},
            "webhooks": [{
                "name": "pods.snap.weaversoft.io", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": namespace_selector,
                "objectSelector": {"matchLabels": {"snap.weaversoft.io/snap": "true"}},
            }],
        }))
        .unwrap()
    }

    fn pod(created: &str, mutated: Option<&str>) -> PodFacts {
        let mut labels = json!({"snap.weaversoft.io/snap": "true"});
        if let Some(mutated) = mutated {
            labels["snap.weaversoft.io/mutated"] = json!(mutated);
        }
        let metadata =
            json!({"namespace": "shop", "name": "web", "uid": "u", "creationTimestamp": created, "labels": labels});
        serde_json::from_value::<WatchedPod>(json!({"metadata": metadata})).unwrap().into()
    }

    const AFTER: &str = "2026-01-01T00:00:11Z";

    #[test]
    fn a_pod_that_admission_should_have_labelled_is_a_slip() {
        let not_system = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kube-node-lease"]},
        ]});
        for selector in
            [json!(null), json!({}), not_system, json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}})]
        {
            assert_eq!(judge(&configuration(&selector), &pod(AFTER, None)), Judgement::Slip, "{selector}");
        }
    }

    #[test]
    fn a_pod_that_admission_was_not_to_label_is_none() {
        let all = configuration(&json!({}));
        assert_eq!(judge(&all, &pod(AFTER, Some("false"))), Judgement::NotOurs, "it is labelled");
        assert_eq!(judge(&all, &pod("2026-01-01T00:00:09Z", None)), Judgement::NotOurs, "older than the configuration");
        assert_eq!(judge(&all, &pod("2026-01-01T00:00:10Z", None)), Judgement::NotOurs, "of the same second");
        let mut mirror = pod(AFTER, None);
        mirror.mirror = true;
        assert_eq!(judge(&all, &mirror), Judgement::NotOurs, "a mirror pod");
        let elsewhere = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["other"]},
            {"key": "team", "operator": "Exists"},
        ]});
        assert_eq!(judge(&configuration(&elsewhere), &pod(AFTER, None)), Judgement::NotOurs, "another namespace");
    }

    #[test]
    fn a_selector_on_other_labels_cannot_be_judged() {
        let team = json!({"matchLabels": {"team": "payments"}});
        assert_eq!(judge(&configuration(&team), &pod(AFTER, None)), Judgement::CannotTell);
    }
}
