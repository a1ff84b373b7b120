//! The three checkpoint APIs of SNAP. The stand-in checks path and body as strictly as SNAP's servers do.
//!
//! | contract             | path                                       | body                                                   |
//! | -------------------- | ------------------------------------------ | ------------------------------------------------------ |
//! | `kubelet-checkpoint` | `/kubelet/checkpoint`                      | pod, namespace, node, container, address of the API server |
//! | `snapapi-kubelet`    | `/checkpoint/kubelet/checkpoint`           | the same, with a cluster's name in place of the address |
//! | `snapapi-pod-spec`   | `/checkpoint/pod-spec/checkpoint-and-push` | the whole Pod object                                   |

use serde_json::{Value, json};

/// One of SNAP's checkpoint APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    KubeletCheckpoint,
    SnapapiKubelet,
    SnapapiPodSpec,
}

/// The pod and container of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub namespace: String,
    pub pod: String,
    /// None if the API does not name one.
    pub container: Option<String>,
    /// None if the API does not name one.
    pub node: Option<String>,
}

impl Contract {
    pub const ALL: [Self; 3] = [Self::KubeletCheckpoint, Self::SnapapiKubelet, Self::SnapapiPodSpec];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::KubeletCheckpoint => "kubelet-checkpoint",
            Self::SnapapiKubelet => "snapapi-kubelet",
            Self::SnapapiPodSpec => "snapapi-pod-spec",
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::KubeletCheckpoint => "/kubelet/checkpoint",
            Self::SnapapiKubelet => "/checkpoint/kubelet/checkpoint",
            Self::SnapapiPodSpec => "/checkpoint/pod-spec/checkpoint-and-push",
        }
    }

    pub(crate) fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contract| contract.path() == path)
    }

    /// Reads a body, or returns what is wrong with it.
    pub(crate) fn read(self, body: &Value) -> Result<Subject, String> {
        match self {
            Self::KubeletCheckpoint => flat(body, "kube_api_address"),
            Self::SnapapiKubelet => flat(body, "cluster_name"),
            Self::SnapapiPodSpec => pod_object(body),
        }
    }

    /// SNAP's response after a checkpoint.
    pub(crate) fn success(self, subject: &Subject) -> Value {
        let Subject { namespace, pod, container, .. } = subject;
        let container = container.as_deref().unwrap_or("all");
        match self {
            Self::KubeletCheckpoint => json!({
                "success": true,
                "message": "Checkpoint created",
                "checkpoint_path": format!("/var/lib/kubelet/checkpoints/checkpoint-{pod}_{namespace}-{container}.tar"),
            }),
            Self::SnapapiKubelet => json!({
                "success": true,
                "message": "Checkpoint created successfully",
                "pod_id": format!("{namespace}/{pod}"),
                "checkpoint_path": format!("/checkpoints/checkpoint-{pod}_{namespace}-{container}.tar"),
            }),
            Self::SnapapiPodSpec => json!({
                "success": true,
                "message": "Checkpoint created and pushed",
                "pod_id": format!("{namespace}/{pod}"),
                "image_tag": format!("registry.invalid/snap/{namespace}-{pod}:checkpoint"),
            }),
        }
    }
}

/// Reads a body with pod, namespace, node, container and one field that identifies the cluster.
fn flat(body: &Value, cluster: &str) -> Result<Subject, String> {
    let expected = ["pod_name", "namespace", "node_name", "container_name", cluster];
    let Some(fields) = body.as_object() else { return Err("the body is not a JSON object".to_owned()) };
    if let Some(unexpected) = fields.keys().find(|key| !expected.contains(&key.as_str())) {
        return Err(format!("unexpected field `{unexpected}`"));
    }
    for key in expected {
        match fields.get(key).map(Value::as_str) {
            None => return Err(format!("field `{key}` is missing")),
            Some(None | Some("")) => return Err(format!("field `{key}` is not a non-empty string")),
            Some(Some(_)) => {}
        }
    }
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Subject {
        namespace: text("namespace"),
        pod: text("pod_name"),
        container: Some(text("container_name")),
        node: Some(text("node_name")),
    })
}

fn pod_object(body: &Value) -> Result<Subject, String> {
    let Some(fields) = body.as_object() else { return Err("the body is not a JSON object".to_owned()) };
    if let Some(unexpected) = fields.keys().find(|key| *key != "pod_spec") {
        return Err(format!("unexpected field `{unexpected}`"));
    }
    let text = |pointer: &str| {
        let value = body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(str::to_owned).ok_or_else(|| format!("`{pointer}` is not a non-empty string"))
    };
    text("/pod_spec/metadata/uid")?;
    text("/pod_spec/spec/nodeName")?;
    text("/pod_spec/spec/containers/0/name")?;
    Ok(Subject {
        namespace: text("/pod_spec/metadata/namespace")?,
        pod: text("/pod_spec/metadata/name")?,
        container: None,
        node: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat_body(cluster: &str) -> Value {
        json!({"pod_name": "web-1", "namespace": "shop", "node_name": "node-1", "container_name": "app", cluster: "x"})
    }

    #[test]
    fn each_contract_reads_its_own_body() {
        let pod = json!({"pod_spec": {
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u"},
            "spec": {"nodeName": "node-1", "containers": [{"name": "app"}]},
        }});
        for (contract, body, container) in [
            (Contract::KubeletCheckpoint, flat_body("kube_api_address"), Some("app".to_owned())),
            (Contract::SnapapiKubelet, flat_body("cluster_name"), Some("app".to_owned())),
            (Contract::SnapapiPodSpec, pod, None),
        ] {
            let node = container.as_ref().map(|_| "node-1".to_owned());
            let expected = Subject { namespace: "shop".to_owned(), pod: "web-1".to_owned(), container, node };
            assert_eq!(contract.read(&body), Ok(expected), "{}", contract.as_str());
            assert_eq!(Contract::of_path(contract.path()), Some(contract));
        }
    }

    #[test]
    fn a_wrong_body_is_rejected_with_the_fields_name() {
        let mut empty = flat_body("kube_api_address");
        empty["node_name"] = json!("");
        for (case, contract, body, word) in [
            ("another contract's", Contract::KubeletCheckpoint, flat_body("cluster_name"), "cluster_name"),
            ("no cluster name", Contract::SnapapiKubelet, flat_body("kube_api_address"), "kube_api_address"),
            ("an empty value", Contract::KubeletCheckpoint, empty, "node_name"),
            ("nothing", Contract::KubeletCheckpoint, json!({}), "pod_name"),
            ("not an object", Contract::SnapapiKubelet, json!([]), "object"),
            (
                "a pod without a node",
                Contract::SnapapiPodSpec,
                json!({"pod_spec": {"metadata": {"uid": "u"}}}),
                "nodeName",
            ),
        ] {
            let message = contract.read(&body).unwrap_err();
            assert!(message.contains(word), "{case}: {message}");
        }
    }
}
