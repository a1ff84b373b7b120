//! Takes real checkpoints: the stand-in calls the kubelet of the pod's node, as SNAP's own SnapHook does, and answers
//! with the archive's path or with the kubelet's error.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::contract::{Contract, Subject};
use crate::access::Access;
use crate::node::{KubeletAnswer, KubeletApi, KubeletApiError};
use crate::terminal::error_chain;

/// The kubelets of a cluster. Clones share one client.
#[derive(Clone)]
pub struct Kubelets(Arc<KubeletApi>);

impl Kubelets {
    /// Calls the kubelets with the administrator's token.
    pub async fn of(access: &Access) -> Result<Self, KubeletApiError> {
        Ok(Self(Arc::new(KubeletApi::of(access).await?)))
    }

    /// SNAP's response after the kubelet has answered.
    pub(super) async fn answer(&self, contract: Contract, subject: &Subject) -> Value {
        let (Some(node), Some(container)) = (&subject.node, &subject.container) else {
            return failure("this API names neither node nor container: use one of the other two to reach a kubelet");
        };
        match self.0.checkpoint(node, &subject.namespace, &subject.pod, container).await {
            Ok(answer) => answered(contract, subject, &answer),
            Err(error) => failure(&error_chain(&error)),
        }
    }
}

impl fmt::Debug for Kubelets {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kubelets")
    }
}

impl PartialEq for Kubelets {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Kubelets {}

fn answered(contract: Contract, subject: &Subject, answer: &KubeletAnswer) -> Value {
    match answer.archive() {
        Some(archive) if answer.status == 200 => {
            let mut success = contract.success(subject);
            success["checkpoint_path"] = json!(archive);
            success
        }
        _ => failure(&format!("the kubelet answered {}: {}", answer.status, answer.body.trim())),
    }
}

fn failure(message: &str) -> Value {
    json!({"success": false, "message": message})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response_to(status: u16, body: &str) -> Value {
        let subject = Subject {
            namespace: "shop".to_owned(),
            pod: "web".to_owned(),
            container: Some("app".to_owned()),
            node: Some("real-1".to_owned()),
        };
        answered(Contract::KubeletCheckpoint, &subject, &KubeletAnswer { status, body: body.to_owned() })
    }

    #[test]
    fn a_success_has_the_archives_path() {
        let answer = response_to(200, r#"{"items":["/var/lib/kubelet/checkpoints/checkpoint-web.tar"]}"#);
        assert_eq!(answer["success"], true);
        assert_eq!(answer["checkpoint_path"], "/var/lib/kubelet/checkpoints/checkpoint-web.tar");
    }

    #[test]
    fn a_kubelets_error_is_quoted() {
        for (status, body) in [(500, "checkpointing of shop/web/app failed (no criu)\n"), (200, "{}")] {
            let answer = response_to(status, body);
            assert_eq!(answer["success"], false);
            let message = answer["message"].as_str().unwrap();
            assert!(message.contains(&status.to_string()) && message.contains(body.trim()), "{message}");
        }
    }
}
