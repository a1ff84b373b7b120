//! Creates a labeled pod as a dry run: the only proof that the API server calls the webhook and uses its response.
//!
//! A dry run goes through admission and is not stored, see
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>. The pod requests few resources and satisfies the
//! strictest Pod Security Standard, so that other rules of the namespace do not reject it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::finding::{Finding, Topic};
use snapwatcher_api::keys::{MUTATED, SNAP};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// The result of the dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DryRunResult {
    /// The pod that the API server returned has this value of the label `mutated`.
    Returned(Option<String>),
    /// Another rule of the namespace rejected the pod, with this message.
    Rejected(String),
    NoRight,
    NoNamespace,
}

/// Evaluates the result. `account` made the request.
pub(super) fn evaluate(namespace: &str, result: &DryRunResult, account: &str) -> Finding {
    let what = format!("labeled pod in namespace `{namespace}`, created as a dry run");
    let failed = |seen: &str, remedy: String| Finding::failed(Topic::DryRunPod, &what, seen, remedy);
    match result {
        DryRunResult::Returned(Some(value)) if value == "false" => {
            Finding::ok(Topic::DryRunPod, what, format!("comes back with {MUTATED}=false"))
        }
        DryRunResult::Returned(value) => {
            let seen = match value {
                Some(value) => format!("comes back with {MUTATED}={value}, which another webhook or policy set"),
                None => format!(
                    "comes back without {MUTATED}: the API server did not call the webhook, or got no response in time"
                ),
            };
            let remedy = "correct the failures above. If there are none, check that the mutating webhook configuration \
                          selects this namespace, and search the API server's log for failed webhook calls";
            failed(&seen, remedy.to_owned())
        }
        DryRunResult::Rejected(message) => {
            failed(message, "name another namespace, which accepts such a pod".to_owned())
        }
        DryRunResult::NoNamespace => failed("there is no such namespace", "name a namespace that exists".to_owned()),
        DryRunResult::NoRight => {
            let rule = "{apiGroups: [\"\"], resources: [pods], verbs: [create]}";
            let remedy = format!(
                "run this check with an account that may create pods (SnapWatcher's own needs no such right), or add \
                 {rule} to a Role in namespace `{namespace}` that is bound to `{account}`"
            );
            failed("not allowed: create pods", remedy)
        }
    }
}

/// Creates the pod as a dry run.
pub(super) async fn check(client: &Client, namespace: &str, account: &str) -> Finding {
    let result = match pod() {
        Ok(pod) => create(client, namespace, &pod).await,
        Err(error) => DryRunResult::Rejected(error.to_string()),
    };
    evaluate(namespace, &result, account)
}

async fn create(client: &Client, namespace: &str, pod: &Pod) -> DryRunResult {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match call(format!("create a labeled pod in `{namespace}` as a dry run"), api.create(&dry_run, pod)).await {
        Ok(pod) => DryRunResult::Returned(pod.labels().get(MUTATED).cloned()),
        Err(error) => rejection(&error),
    }
}

fn rejection(error: &CallError) -> DryRunResult {
    // By the message of RBAC: rejections by admission have status 403 too.
    let is_rbac = |message: &str| message.contains("cannot create resource \"pods\"");
    match error.status() {
        Some(status) if status.is_forbidden() && is_rbac(&status.message) => DryRunResult::NoRight,
        Some(status) if status.is_not_found() => DryRunResult::NoNamespace,
        _ => DryRunResult::Rejected(error_chain(error)),
    }
}

fn pod() -> Result<Pod, serde_json::Error> {
    let little = json!({"cpu": "1m", "memory": "1Mi"});
    serde_json::from_value(json!({
        "metadata": {"generateName": "snapwatcher-check-", "labels": {SNAP: "true"}},
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "none",
                "image": "snapwatcher.invalid/none:none",
                "resources": {"requests": little, "limits": little},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::super::finding::State;
    use super::*;

    #[test]
    fn the_pod_has_to_come_back_with_the_label_mutated() {
        for (result, state, words) in [
            (DryRunResult::Returned(Some("false".to_owned())), State::Ok, "mutated=false"),
            (DryRunResult::Returned(Some("true".to_owned())), State::Failed, "another webhook"),
            (DryRunResult::Returned(None), State::Failed, "did not call"),
            (DryRunResult::Rejected("quota exceeded".to_owned()), State::Failed, "quota exceeded"),
            (DryRunResult::NoNamespace, State::Failed, "no such namespace"),
            (DryRunResult::NoRight, State::Failed, "not allowed"),
        ] {
            let finding = evaluate("shop", &result, "me");
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.seen.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_rejection_by_rbac_is_distinguished_from_one_by_admission() {
        let error = |message: &str, reason: &str, code| CallError::Failed {
            what: "create".to_owned(),
            source: Box::new(kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())),
        };
        let rbac =
            "pods is forbidden: User \"me\" cannot create resource \"pods\" in API group \"\" in the namespace \"a\"";
        assert_eq!(rejection(&error(rbac, "Forbidden", 403)), DryRunResult::NoRight);
        assert_eq!(rejection(&error("namespaces \"a\" not found", "NotFound", 404)), DryRunResult::NoNamespace);
        let quota = rejection(&error("pods \"x\" is forbidden: exceeded quota", "Forbidden", 403));
        assert!(matches!(quota, DryRunResult::Rejected(words) if words.contains("exceeded quota")));
    }

    #[test]
    fn the_pod_is_a_valid_labeled_pod() {
        assert_eq!(pod().unwrap().labels()[SNAP], "true");
    }
}
