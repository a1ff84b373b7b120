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
