//! Tests the rights that the settings need, each by a SelfSubjectAccessReview.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::finding::{Finding, Topic};
use super::rule::Rule;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::call;

/// The response of the API server for one verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    Allowed,
    /// With the error of an authorizer, if there was one.
    Denied(Option<String>),
    /// The API server gave no response, for this reason.
    Unknown(String),
}

/// Evaluates the responses for the verbs of a rule. `account` made the requests.
pub(super) fn evaluate(rule: &Rule, accesses: &[(&'static str, Access)], account: &str) -> Finding {
    let what = rule.to_string();
    let unknown = accesses.iter().find_map(|(_, access)| match access {
        Access::Unknown(message) => Some(message),
        _ => None,
    });
    let denied = |(verb, access): &(&'static str, Access)| matches!(access, Access::Denied(_)).then_some(*verb);
    let denied: Vec<&str> = accesses.iter().filter_map(denied).collect();
    if !denied.is_empty() {
        let errors = accesses.iter().find_map(|(_, access)| match access {
            Access::Denied(Some(error)) => Some(format!(" ({error})")),
            _ => None,
        });
        let seen = format!("not allowed: {}{}", denied.join(", "), errors.unwrap_or_default());
        let remedy = format!("add {} to {} that is bound to `{account}`", rule.to_yaml(&denied), rule.role());
        return Finding::new(Topic::Right, what, rule.if_missing, seen, Some(remedy));
    }
    match unknown {
        Some(message) => {
            let remedy = "see that the API server responds, and run the check again".to_owned();
            Finding::failed(Topic::Right, what, message, remedy)
        }
        None => Finding::ok(Topic::Right, what, "allowed"),
    }
}

/// Tests each verb of the rule.
pub(super) async fn check(client: &Client, rule: &Rule, account: &str) -> Finding {
    let mut accesses = Vec::new();
    for verb in rule.verbs {
        accesses.push((*verb, review(client, rule, verb).await));
    }
    evaluate(rule, &accesses, account)
}

async fn review(client: &Client, rule: &Rule, verb: &str) -> Access {
    let (resource, subresource) = rule.resource_and_subresource();
    let attributes = ResourceAttributes {
        group: Some(rule.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        name: rule.name.clone(),
        // `None` means all namespaces.
        namespace: rule.namespace.clone(),
        ..ResourceAttributes::default()
    };
    access(client, attributes, &rule.to_string()).await
}

/// Asks the API server for one verb. `what` completes the sentence "could not review the ...".
pub(super) async fn access(client: &Client, attributes: ResourceAttributes, what: &str) -> Access {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match call(format!("review the {what}"), api.create(&PostParams::default(), &review)).await {
        Ok(SelfSubjectAccessReview { status: Some(SubjectAccessReviewStatus { allowed: true, .. }), .. }) => {
            Access::Allowed
        }
        Ok(review) => Access::Denied(review.status.and_then(|status| status.evaluation_error)),
        Err(error) => Access::Unknown(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::super::rule::ResourceScope;
    use super::*;

    #[test]
    fn a_finding_names_the_verbs_that_are_missing_and_the_rule_to_add() {
        let rule = Rule {
            group: "snap.weaversoft.io",
            resource: "checkpoints",
            verbs: &["get", "list"],
            name: None,
            namespace: None,
            scope: ResourceScope::Namespaced,
            purpose: "",
            if_missing: State::Failed,
        };
        let accesses = |get: Access, list: Access| [("get", get), ("list", list)];
        let unknown = || Access::Unknown("no response".to_owned());
        for (case, accesses, state, seen) in [
            ("both", accesses(Access::Allowed, Access::Allowed), State::Ok, "allowed"),
            ("one", accesses(Access::Allowed, Access::Denied(None)), State::Failed, "not allowed: list"),
            ("none", accesses(Access::Denied(None), Access::Denied(None)), State::Failed, "not allowed: get, list"),
            (
                "an error",
                accesses(Access::Allowed, Access::Denied(Some("no such role".to_owned()))),
                State::Failed,
                "not allowed: list (no such role)",
            ),
            ("no response", accesses(Access::Allowed, unknown()), State::Failed, "no response"),
            ("no response for one", accesses(Access::Denied(None), unknown()), State::Failed, "not allowed: get"),
        ] {
            let finding = evaluate(&rule, &accesses, "me");
            assert_eq!((finding.state, finding.seen.as_str()), (state, seen), "{case}");
        }
        let finding = evaluate(&rule, &accesses(Access::Allowed, Access::Denied(None)), "me");
        let expected = "add {apiGroups: [snap.weaversoft.io], resources: [checkpoints], verbs: [list]} to a ClusterRole \
                        that is bound to `me`";
        assert_eq!(finding.remedy.as_deref(), Some(expected));
    }
}
