//! Live reads of a pod. They show what the API server has now; a watch may be behind.

use k8s_openapi::api::core::v1::Pod;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::Value;

use snapwatcher_api::pod::{PodFacts, PodName, RevisionLabels, WatchedPod};

use super::call::{CallError, call};

/// A pod as the API server has it now.
pub struct LivePod {
    pub facts: PodFacts,
    /// The whole Pod object, if the caller requested it.
    pub object: Option<Value>,
}

/// Reads the pod of that name; `None` if there is none. `with_object`: also the whole Pod object.
pub async fn read_pod(
    client: &Client,
    name: &PodName,
    revision_labels: &RevisionLabels,
    with_object: bool,
) -> Result<Option<LivePod>, CallError> {
    let what = || format!("read pod `{name}`");
    let path = Pod::url_path(&(), Some(&name.namespace));
    let request = Request::new(path).get(&name.name, &kube::api::GetParams::default());
    let built = request.map_err(kube::Error::BuildRequest);
    let text = match call(what(), async { client.request_text(built?).await }).await {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let undecodable = |error| CallError::Failed { what: what(), source: Box::new(kube::Error::SerdeError(error)) };
    let pod: WatchedPod = serde_json::from_str(&text).map_err(undecodable)?;
    let facts = PodFacts::read(pod, revision_labels);
    if facts.name != *name {
        return Err(CallError::OtherObject { what: what(), received: facts.name.to_string() });
    }
    let object = with_object.then(|| serde_json::from_str(&text)).transpose().map_err(undecodable)?;
    Ok(Some(LivePod { facts, object }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A client of an API server that answers each read with the pod of that namespace and name.
    fn answering(namespace: &'static str, name: &'static str) -> Client {
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
            let pod = json!({
                "metadata": {"name": name, "namespace": namespace, "uid": "u"},
                "spec": {"containers": [{"name": "app", "image": "web:1"}]},
            });
            Ok::<_, kube::Error>(http::Response::new(kube::client::Body::from(pod.to_string().into_bytes())))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_response_about_another_pod_is_an_error_of_this_read_alone() {
        let wanted = PodName { namespace: "default".into(), name: "web".into() };
        assert!(read_pod(&answering("default", "web"), &wanted, false).await.unwrap().is_some());
        for (namespace, name) in [("victim", "web"), ("default", "db-0")] {
            let error = read_pod(&answering(namespace, name), &wanted, false).await.err().unwrap();
            let expected = format!("could not read pod `default/web`: the response is about `{namespace}/{name}`");
            assert!(
                matches!(error, CallError::OtherObject { .. }) && error.to_string().starts_with(&expected),
                "{error}"
            );
            assert!(error.is_about_object(), "others can still succeed");
        }
    }
}
