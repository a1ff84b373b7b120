//! Live reads of a pod: what the API server has now, not what a watch told some time ago.

use k8s_openapi::api::core::v1::Pod;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::Value;

use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};

use super::{CallError, call};

/// A pod as it stands in the API server.
pub struct LivePod {
    pub facts: PodFacts,
    /// The whole object, for a back-end that is sent it.
    pub whole: Value,
}

/// Reads the pod of that name; `None` when there is none.
pub async fn read_pod(client: &Client, name: &PodName) -> Result<Option<LivePod>, CallError> {
    let what = || format!("read pod {name}");
    let path = Pod::url_path(&(), Some(&name.namespace));
    let request = Request::new(path).get(&name.name, &kube::api::GetParams::default());
    let built = request.map_err(kube::Error::BuildRequest);
    let read = call(what(), async { client.request::<Value>(built?).await }).await;
    let whole = match read {
        Ok(whole) => whole,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let pod: WatchedPod = serde_json::from_value(whole.clone())
        .map_err(|error| CallError::Failed { what: what(), source: Box::new(kube::Error::SerdeError(error)) })?;
    Ok(Some(LivePod { facts: pod.into(), whole }))
}
