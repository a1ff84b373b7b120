//! A labelled pod, created as a dry run: the one proof that the API server calls the webhook and takes its answer.
//!
//! A dry run goes through admission and is not stored, see
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>. The pod asks for nothing and keeps to the
//! strictest Pod Security Standard, so that no other rule of the namespace refuses it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::finding::{Finding, Topic};
use snapwatcher_api::keys::{MUTATED, SNAP};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// What became of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Created {
    /// With this value of the label `mutated`.
    Back(Option<String>),
    /// Nobody may create it here, or there is no such namespace.
    Refused(String),
    NoRight,
    NoNamespace,
}

/// Judges what came back. `who` is whoever asked.
pub(super) fn verdict(namespace: &str, created: &Created, who: &str) -> Finding {
    let what = format!("labelled pod in namespace `{namespace}`, created as a dry run");
    let failed = |seen: &str, remedy: String| Finding::failed(Topic::DryRunPod, &what, seen, remedy);
    match created {
        Created::Back(Some(value)) if value == "false" => {
            Finding::ok(Topic::DryRunPod, what, format!("comes back with {MUTATED}=false"))
        }
        Created::Back(value) => {
            let seen = match value {
                Some(value) => format!("comes back with {MUTATED}={value}: somebody else set it"),
                None => format!("comes back without {MUTATED}: the webhook was not called, or did not answer in time"),
            };
            let remedy = "do what the lines above say; if they are fine, see that the mutating configuration selects \
                          this namespace, and look at the API server's log for failed calls of the webhook";
            failed(&seen, remedy.to_owned())
        }
        Created::Refused(words) => {
            failed(words, "take another namespace, in which such a pod may be created".to_owned())
        }
        Created::NoNamespace => failed("there is no such namespace", "name one that exists".to_owned()),
        Created::NoRight => {
            let rule = "{apiGroups: [\"\"], resources: [pods], verbs: [create]}";
            let remedy = format!(
                "SnapWatcher itself has no right to create pods and needs none: check with an account that has, or add \
                 {rule} to a Role in namespace `{namespace}` that is bound to `{who}`"
            );
            failed("not allowed: create pods", remedy)
        }
    }
}

/// Creates the pod as a dry run.
pub(super) async fn look(client: &Client, namespace: &str, who: &str) -> Finding {
    let created = match pod() {
        Ok(pod) => create(client, namespace, &pod).await,
        Err(error) => Created::Refused(error.to_string()),
    };
    verdict(namespace, &created, who)
}

async fn create(client: &Client, namespace: &str, pod: &Pod) -> Created {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match call(format!("create a labelled pod in `{namespace}` as a dry run"), api.create(&dry_run, pod)).await {
        Ok(pod) => Created::Back(pod.labels().get(MUTATED).cloned()),
        Err(error) => refused(&error),
    }
}

fn refused(error: &CallError) -> Created {
    // RBAC's words; admission's refusals are 403 too.
    let is_rbac = |message: &str| message.contains("cannot create resource \"pods\"");
    match error.status() {
        Some(status) if status.is_forbidden() && is_rbac(&status.message) => Created::NoRight,
        Some(status) if status.is_not_found() => Created::NoNamespace,
        _ => Created::Refused(error_chain(error)),
    }
}

fn pod() -> Result<Pod, serde_json::Error> {
    let nothing = json!({"cpu": "1m", "memory": "1Mi"});
    serde_json::from_value(json!({
        "metadata": {"generateName": "snapwatcher-check-", "labels": {SNAP: "true"}},
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "none",
                "image": "snapwatcher.invalid/none:none",
                "resources": {"requests": nothing, "limits": nothing},
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
    fn a_pod_has_to_come_back_labelled() {
        for (created, state, words) in [
            (Created::Back(Some("false".to_owned())), State::Ok, "mutated=false"),
            (Created::Back(Some("true".to_owned())), State::Failed, "somebody else"),
            (Created::Back(None), State::Failed, "was not called"),
            (Created::Refused("quota exceeded".to_owned()), State::Failed, "quota exceeded"),
            (Created::NoNamespace, State::Failed, "no such namespace"),
            (Created::NoRight, State::Failed, "not allowed"),
        ] {
            let finding = verdict("shop", &created, "me");
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.seen.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_refusal_of_rights_is_told_apart_from_one_of_admission() {
        let error = |message: &str, reason: &str, code| CallError::Failed {
            what: "create".to_owned(),
            source: Box::new(kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())),
        };
        let rbac =
            "pods is forbidden: User \"me\" cannot create resource \"pods\" in API group \"\" in the namespace \"a\"";
        assert_eq!(refused(&error(rbac, "Forbidden", 403)), Created::NoRight);
        assert_eq!(refused(&error("namespaces \"a\" not found", "NotFound", 404)), Created::NoNamespace);
        let quota = refused(&error("pods \"x\" is forbidden: exceeded quota", "Forbidden", 403));
        assert!(matches!(quota, Created::Refused(words) if words.contains("exceeded quota")));
    }

    #[test]
    fn the_pod_is_labelled_and_otherwise_a_pod() {
        assert_eq!(pod().unwrap().labels()[SNAP], "true");
    }
}
