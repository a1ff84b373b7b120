//! The two webhook configurations by which an API server calls SnapWatcher.
//!
//! They have no caBundle, because the running process adds its own. Each has one webhook with a fixed name.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;

/// The label that opts a pod in, with the value "true".
pub const SNAP: &str = "snap.weaversoft.io/snap";

/// The label that says whether a pod was restored from a checkpoint. The webhook sets it to "false".
pub const MUTATED: &str = "snap.weaversoft.io/mutated";

/// The annotation into which the webhook writes the UID of its request.
pub const ADMISSION: &str = "snap.weaversoft.io/admission";

/// Handles pods without annotations first. With the failure policy `Ignore`, an error in the expression would skip the
/// webhook.
const NO_MIRROR_PODS: &str =
    "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)";

/// The namespaces whose pods the webhooks receive.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All namespaces but those of the cluster's own pods.
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

/// The configuration for the mutating webhook at `address`, for labeled pods.
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

/// The configuration for the validating webhook at `address`, for pods that have the label with any value.
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
