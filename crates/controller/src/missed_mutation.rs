//! Whether the webhook should have labeled a pod.
//!
//! The webhook fails open: while it is unavailable, pods are created without the label `mutated`. Such pods are
//! checkpointed as usual, and reported.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::pod::PodFacts;

/// Label of each namespace with its own name, see
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whether a pod has a missed mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MutationCheck {
    Missed,
    NotMissed,
    /// The configuration selects by labels that are not known here.
    Undecidable,
}

/// Checks a pod against the configuration of the webhook. Namespaces such as `kube-system` are excluded by the
/// configuration.
pub(super) fn check_mutation(configuration: &MutatingWebhookConfiguration, pod: &PodFacts) -> MutationCheck {
    if !pod.labelled || pod.mirror || pod.mutated.is_some() {
        return MutationCheck::NotMissed;
    }
    let configured = configuration.metadata.creation_timestamp.as_ref().map(|created| created.0);
    let is_newer = pod.created.zip(configured).map(|(pod, configured): (Timestamp, Timestamp)| pod > configured);
    // Both times are whole seconds, so a pod of the same second may be older.
    if is_newer != Some(true) {
        return MutationCheck::NotMissed;
    }
    match selects_namespace(configuration, &pod.name.namespace) {
        Some(true) => MutationCheck::Missed,
        Some(false) => MutationCheck::NotMissed,
        None => MutationCheck::Undecidable,
    }
}

/// Whether a webhook of the configuration selects the labeled pods of this namespace. `None`: it depends on other labels.
pub fn selects_namespace(configuration: &MutatingWebhookConfiguration, namespace: &str) -> Option<bool> {
    let namespace = BTreeMap::from([(NAMESPACE_NAME, namespace)]);
    let labels = BTreeMap::from([(SNAP, OPTED_IN)]);
    let mut result = Some(false);
    for webhook in configuration.webhooks.iter().flatten() {
        let selected = [
            selects(webhook.namespace_selector.as_ref(), &namespace),
            selects(webhook.object_selector.as_ref(), &labels),
        ];
        match selected {
            [Some(true), Some(true)] => return Some(true),
            [Some(false), _] | [_, Some(false)] => {}
            _ => result = None,
        }
    }
    result
}

/// Whether a selector selects an object of which only these labels are known. `None`: it depends on other labels.
fn selects(selector: Option<&LabelSelector>, known: &BTreeMap<&str, &str>) -> Option<bool> {
    let Some(selector) = selector else { return Some(true) };
    let equalities =
        selector.match_labels.iter().flatten().map(|(key, value)| known.get(key.as_str()).map(|known| known == value));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| matches(expression, known));
    let results: Vec<Option<bool>> = equalities.chain(expressions).collect();
    if results.contains(&Some(false)) {
        return Some(false);
    }
    if results.contains(&None) { None } else { Some(true) }
}

fn matches(expression: &LabelSelectorRequirement, known: &BTreeMap<&str, &str>) -> Option<bool> {
    let value = known.get(expression.key.as_str())?;
    let is_listed = expression.values.iter().flatten().any(|allowed| allowed == value);
    match expression.operator.as_str() {
        "In" => Some(is_listed),
        "NotIn" => Some(!is_listed),
        "Exists" => Some(true),
        "DoesNotExist" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use snapwatcher_api::fixtures::{self, PodFixture, at};

    /// Created at `at(10)`.
    fn configuration(namespace_selector: &Value) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": {"name": "snapwatcher", "creationTimestamp": at(10).to_string()},
            "webhooks": [{
                "name": "pods.snap.weaversoft.io", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": namespace_selector,
                "objectSelector": {"matchLabels": {"snap.weaversoft.io/snap": "true"}},
            }],
        }))
        .unwrap()
    }

    fn pod(created: i64) -> PodFixture {
        fixtures::pod("web").namespace("shop").labeled().created(at(created))
    }

    #[test]
    fn a_pod_that_the_webhook_should_have_labeled_is_a_missed_mutation() {
        let not_system = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kube-node-lease"]},
        ]});
        for selector in
            [json!(null), json!({}), not_system, json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}})]
        {
            let result = check_mutation(&configuration(&selector), &pod(11).facts());
            assert_eq!(result, MutationCheck::Missed, "{selector}");
        }
    }

    #[test]
    fn a_pod_that_the_webhook_does_not_select_is_no_missed_mutation() {
        let other_namespace = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["other"]},
            {"key": "team", "operator": "Exists"},
        ]});
        for (case, selector, pod) in [
            ("it is labeled", json!({}), pod(11).mutated("false")),
            ("older than the configuration", json!({}), pod(9)),
            ("of the same second", json!({}), pod(10)),
            ("a mirror pod", json!({}), pod(11).mirror()),
            ("another namespace", other_namespace, pod(11)),
        ] {
            let result = check_mutation(&configuration(&selector), &pod.facts());
            assert_eq!(result, MutationCheck::NotMissed, "{case}");
        }
    }

    #[test]
    fn a_selector_on_other_labels_is_undecidable() {
        let team = json!({"matchLabels": {"team": "payments"}});
        assert_eq!(check_mutation(&configuration(&team), &pod(11).facts()), MutationCheck::Undecidable);
    }
}
