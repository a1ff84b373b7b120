//! The rights that the settings in use need, each asked of the API server by a SelfSubjectAccessReview.
//!
//! The rules are those of docs/running.md; a test takes each of them away from an account and looks for its finding.

#[cfg(test)]
mod tests;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client, CustomResourceExt as _};

use super::finding::{Finding, State, Topic};
use super::rule::{Reach, Rule};
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::call;

const CORE: &str = "";
const SNAP: &str = "snap.weaversoft.io";
const EVENTS: &str = "events.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// What the settings say about rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The namespaces that are watched; none: all.
    pub(super) namespaces: Vec<String>,
    /// Whether claims are records, as with every back-end that is asked.
    pub(super) records: bool,
    pub(super) service_namespace: String,
    /// The Secret with the CA, unless certificates come from files.
    pub(super) ca_secret: Option<String>,
    /// The Lease of several replicas.
    pub(super) lease: Option<String>,
    pub(super) mutating: Option<String>,
    pub(super) validating: Option<String>,
    /// Whether the `caBundle` of the two is ours to keep.
    pub(super) keeps_bundle: bool,
    /// The second service account, whose tokens kubelets are sent.
    pub(super) kubelet_account: Option<String>,
    /// Whether this is a pod, on which Events about certificates are told.
    pub(super) is_pod: bool,
}

/// What the API server says of one verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Allowed,
    /// With the error that an authorizer met, if it met one.
    Denied(Option<String>),
    NotSent(String),
}

/// The rules that these settings need.
pub(super) fn rules(needs: &Needs) -> Vec<Rule> {
    let mut rules = Vec::new();
    let scopes = if needs.namespaces.is_empty() {
        vec![None]
    } else {
        needs.namespaces.iter().cloned().map(Some).collect::<Vec<_>>()
    };
    for scope in scopes {
        rules.extend(of_watched(needs, scope.as_ref()));
    }
    // The pod of this process may stand where no pod is watched: then only Events about certificates are lost.
    let is_outside = !needs.namespaces.is_empty() && !needs.namespaces.contains(&needs.service_namespace);
    if needs.is_pod && is_outside {
        let events = in_namespace(EVENTS, "events", &["create", "patch"], Some(&needs.service_namespace));
        rules.push(Rule { without: State::Warning, ..events });
    }
    let own = Some(&needs.service_namespace);
    for (group, resource, name, verbs) in [
        (CORE, "secrets", &needs.ca_secret, &["list", "watch", "update"][..]),
        ("coordination.k8s.io", "leases", &needs.lease, &["get", "update"]),
    ] {
        if name.is_some() {
            // RBAC can't limit `create` to a name.
            rules.push(in_namespace(group, resource, &["create"], own));
            rules.push(Rule { name: name.clone(), ..in_namespace(group, resource, verbs, own) });
        }
    }
    if let Some(account) = &needs.kubelet_account {
        rules.push(of_cluster(CORE, "nodes", &["get"]));
        // Only this command lists them.
        rules.push(Rule { without: State::Warning, ..of_cluster(CORE, "nodes", &["list"]) });
        let token = in_namespace(CORE, "serviceaccounts/token", &["create"], own);
        rules.push(Rule { name: Some(account.clone()), ..token });
    }
    for (resource, name) in
        [("mutatingwebhookconfigurations", &needs.mutating), ("validatingwebhookconfigurations", &needs.validating)]
    {
        let verbs: &[&str] = if needs.keeps_bundle { &["get", "list", "watch", "patch"] } else { &["get"] };
        if name.is_some() {
            rules.push(Rule { name: name.clone(), ..of_cluster(ADMISSION, resource, verbs) });
        }
    }
    if needs.records {
        // Without it only this check knows less.
        let definition = of_cluster("apiextensions.k8s.io", "customresourcedefinitions", &["get"]);
        rules.push(Rule { name: Some(Checkpoint::crd_name().to_owned()), without: State::Warning, ..definition });
    }
    rules
}

fn of_watched(needs: &Needs, namespace: Option<&String>) -> Vec<Rule> {
    let rule = |group, resource, verbs| in_namespace(group, resource, verbs, namespace);
    // A dry run reads no pod again before it claims it.
    let pods: &[&str] = if needs.records { &["get", "list", "watch"] } else { &["list", "watch"] };
    let mut rules = vec![
        rule(CORE, "pods", pods),
        rule("apps", "replicasets", &["get"]),
        rule("batch", "jobs", &["get"]),
        rule(EVENTS, "events", &["create", "patch"]),
    ];
    if needs.records {
        rules.push(rule(SNAP, "checkpoints", &["get", "list", "watch", "create", "delete"]));
        rules.push(rule(SNAP, "checkpoints/status", &["update"]));
    }
    rules
}

fn in_namespace(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    namespace: Option<&String>,
) -> Rule {
    let (namespace, without) = (namespace.cloned(), State::Failed);
    Rule { group, resource, verbs, name: None, namespace, reach: Reach::Namespaced, without }
}

fn of_cluster(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { group, resource, verbs, name: None, namespace: None, reach: Reach::Cluster, without: State::Failed }
}

/// What the answers for each verb of a rule come to. `who` is whoever asked.
pub(super) fn verdict(rule: &Rule, answers: &[(&'static str, Answer)], who: &str) -> Finding {
    let what = rule.to_string();
    let not_asked = answers.iter().find_map(|(_, answer)| match answer {
        Answer::NotSent(words) => Some(words),
        _ => None,
    });
    let denied = |(verb, answer): &(&'static str, Answer)| matches!(answer, Answer::Denied(_)).then_some(*verb);
    let denied: Vec<&str> = answers.iter().filter_map(denied).collect();
    if !denied.is_empty() {
        let errors = answers.iter().find_map(|(_, answer)| match answer {
            Answer::Denied(Some(error)) => Some(format!(" ({error})")),
            _ => None,
        });
        let seen = format!("not allowed: {}{}", denied.join(", "), errors.unwrap_or_default());
        let remedy = format!("add {} to {} that is bound to `{who}`", rule.written(&denied), rule.role());
        return Finding::new(Topic::Right, what, rule.without, seen, Some(remedy));
    }
    match not_asked {
        Some(words) => {
            let remedy = "see that the API server answers, and check again".to_owned();
            Finding::failed(Topic::Right, what, words, remedy)
        }
        None => Finding::ok(Topic::Right, what, "allowed"),
    }
}

/// Asks for each verb of the rule.
pub(super) async fn look(client: &Client, rule: &Rule, who: &str) -> Finding {
    let mut answers = Vec::new();
    for verb in rule.verbs {
        answers.push((*verb, ask(client, rule, verb).await));
    }
    verdict(rule, &answers, who)
}

async fn ask(client: &Client, rule: &Rule, verb: &str) -> Answer {
    let (resource, subresource) = rule.resource_and_subresource();
    let attributes = ResourceAttributes {
        group: Some(rule.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        name: rule.name.clone(),
        // None is all namespaces.
        namespace: rule.namespace.clone(),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match call(format!("ask for the {rule}"), api.create(&PostParams::default(), &review)).await {
        Ok(SelfSubjectAccessReview { status: Some(SubjectAccessReviewStatus { allowed: true, .. }), .. }) => {
            Answer::Allowed
        }
        Ok(review) => Answer::Denied(review.status.and_then(|status| status.evaluation_error)),
        Err(error) => Answer::NotSent(error_chain(&error)),
    }
}
