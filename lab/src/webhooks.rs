//! The two webhook configurations that make an API server call SnapWatcher.
//!
//! They carry no caBundle: the running process puts its own in. Each has one webhook, whose name never changes.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;

/// The label by which a pod opts in with "true".
pub const SNAP: &str = "snap.weaversoft.io/snap";

/// The label that tells whether a pod runs from a checkpoint; set to "false" at admission.
pub const MUTATED: &str = "snap.weaversoft.io/mutated";

/// The annotation in which admission leaves the UID of its request.
pub const ADMISSION: &str = "snap.weaversoft.io/admission";

/// Holds without annotations too: an error in the expression would skip the webhook under `Ignore`.
const NO_MIRROR_PODS: &str =
    "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)";

/// Which namespaces the webhooks see.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All but those in which a cluster's own pods live.
    Cluster,
    Namespace(String),
}

impl Scope {
    fn selector(&self) -> LabelSelector {
        let (operator, names) = match self {
            Self::Cluster => ("NotIn", vec!["kube-system".to_owned(), "kube-node-lease".to_owned()]),
            Self::Namespace(name) => ("In", vec![name.clone()]),
        };
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "kubernetes.io/metadata.name".to_owned(),
                operator: operator.to_owned(),
                values: Some(names),
            }]),
            ..LabelSelector::default()
        }
    }
}

/// The configuration that has labelled pods patched by the process at `address`.
pub fn mutating(name: &str, scope: &Scope, address: &str) -> MutatingWebhookConfiguration {
    let webhook = MutatingWebhook {
        name: "mutate.snap.weaversoft.io".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client_config(address, "/mutate"),
        failure_policy: Some("Ignore".to_owned()),
        match_conditions: Some(match_conditions()),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(scope.selector()),
        object_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(SNAP.to_owned(), "true".to_owned())])),
            ..LabelSelector::default()
        }),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(rules()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(3),
    };
    MutatingWebhookConfiguration { metadata: named(name), webhooks: Some(vec![webhook]) }
}

/// The configuration that has pods with the label, whatever its value, checked by the process at `address`.
pub fn validating(name: &str, scope: &Scope, address: &str) -> ValidatingWebhookConfiguration {
    let webhook = ValidatingWebhook {
        name: "validate.snap.weaversoft.io".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client_config(address, "/validate"),
        failure_policy: Some("Ignore".to_owned()),
        match_conditions: Some(match_conditions()),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(scope.selector()),
        object_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: SNAP.to_owned(),
                operator: "Exists".to_owned(),
                values: None,
            }]),
            ..LabelSelector::default()
        }),
        rules: Some(rules()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(3),
    };
    ValidatingWebhookConfiguration { metadata: named(name), webhooks: Some(vec![webhook]) }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn client_config(address: &str, path: &str) -> WebhookClientConfig {
    WebhookClientConfig { url: Some(format!("https://{address}{path}")), ..WebhookClientConfig::default() }
}

fn match_conditions() -> Vec<MatchCondition> {
    vec![MatchCondition { name: "not-a-mirror-pod".to_owned(), expression: NO_MIRROR_PODS.to_owned() }]
}

fn rules() -> Vec<RuleWithOperations> {
    let one = |word: &str| Some(vec![word.to_owned()]);
    vec![RuleWithOperations {
        api_groups: one(""),
        api_versions: one("v1"),
        operations: one("CREATE"),
        resources: one("pods"),
        scope: Some("Namespaced".to_owned()),
    }]
}
