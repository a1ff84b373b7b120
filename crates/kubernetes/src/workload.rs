//! The workload of a pod: its top controller, found through at most two owner references.
//!
//! A ReplicaSet is read for its Deployment, a Job for its CronJob. Any other controller is the workload itself, since reading
//! unknown kinds would need rights on them. Only metadata is read. The result is cached by the UID of the controller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use kube::api::GetParams;
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use moka::future::Cache;

use snapwatcher_api::metadata::ObjectMetadata;
use snapwatcher_api::pod::{ControllerReference, PodFacts, is_object_name};

use crate::cluster::{CallError, call};

/// The size of the cache. One entry serves all pods of a ReplicaSet.
const CACHE_CAPACITY: u64 = 10_000;
/// Controllers adopt and release objects, so an entry expires.
const CACHE_TTL: Duration = Duration::from_secs(600);

/// The top controller of a pod, or the pod itself; written `Deployment/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl From<&ControllerReference> for Workload {
    fn from(controller: &ControllerReference) -> Self {
        let ControllerReference { api_version, kind, name, uid } = controller.clone();
        Self { api_version, kind, name, uid }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkloadError {
    /// The pod's controller was deleted. The garbage collector deletes the pod next.
    #[error("{kind} `{name}`, the controller of pod `{pod}`, does not exist any more")]
    Gone { kind: String, name: String, pod: String },
    #[error("could not find the workload of pod `{pod}`")]
    Lookup { pod: String, source: Arc<CallError> },
}

/// Finds workloads, through a cache. A clone uses the same cache.
#[derive(Clone)]
pub struct WorkloadLookup {
    client: Client,
    /// The controller of a controller, by all that a pod says of the latter: the UID alone could be that of another namespace.
    /// `None`: it has none.
    parents: Cache<String, Option<ControllerReference>>,
}

impl WorkloadLookup {
    pub fn new(client: Client) -> Self {
        let parents = Cache::builder().max_capacity(CACHE_CAPACITY).time_to_live(CACHE_TTL).build();
        Self { client, parents }
    }

    /// The workload of that pod.
    pub async fn workload(&self, pod: &PodFacts) -> Result<Workload, WorkloadError> {
        let Some(controller) = &pod.controller else {
            let (name, uid) = (pod.name.name.to_string(), pod.uid.clone());
            return Ok(Workload { api_version: "v1".into(), kind: "Pod".into(), name, uid });
        };
        let parent = match group_and_kind(controller) {
            ("apps", "ReplicaSet") => self.parent::<ReplicaSet>(pod, controller).await?,
            ("batch", "Job") => self.parent::<Job>(pod, controller).await?,
            _ => None,
        };
        Ok(Workload::from(parent.as_ref().unwrap_or(controller)))
    }

    async fn parent<K>(
        &self,
        pod: &PodFacts,
        controller: &ControllerReference,
    ) -> Result<Option<ControllerReference>, WorkloadError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let ControllerReference { kind, name, uid, .. } = controller;
        let namespace = &pod.name.namespace;
        let gone = || WorkloadError::Gone { kind: kind.clone(), name: name.clone(), pod: pod.name.to_string() };
        // The API server does not validate owner references, and the name becomes a part of a URL.
        if !is_object_name(name) {
            return Err(gone());
        }
        let lookup = async {
            let request = Request::new(K::url_path(&(), Some(namespace))).get_metadata(name, &GetParams::default());
            let read =
                async { self.client.request::<ObjectMetadata>(request.map_err(kube::Error::BuildRequest)?).await };
            match call(format!("read {kind} `{namespace}/{name}`"), read).await {
                Ok(found) if found.metadata.uid.as_ref() == Some(uid) => {
                    Ok(ControllerReference::among(found.metadata.owner_references.as_deref().unwrap_or_default()))
                }
                Ok(_) => Err(gone()),
                Err(error) if error.is_not_found() => Err(gone()),
                Err(source) => Err(WorkloadError::Lookup { pod: pod.name.to_string(), source: Arc::new(source) }),
            }
        };
        let key = format!("{namespace}/{kind}/{name}/{uid}");
        self.parents.try_get_with(key, lookup).await.map_err(|error: Arc<WorkloadError>| (*error).clone())
    }
}

fn group_and_kind(controller: &ControllerReference) -> (&str, &str) {
    let group = controller.api_version.split_once('/').map_or("", |(group, _)| group);
    (group, &controller.kind)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use snapwatcher_api::fixtures::pod;

    use super::*;

    /// A look-up on an API server where each namespace has a ReplicaSet `web-1` with the same UID, of the Deployment
    /// `of-NAMESPACE`, and the paths that were read.
    fn lookup() -> (WorkloadLookup, Arc<Mutex<Vec<String>>>) {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&paths);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let path = request.uri().path().to_owned();
            let namespace = path.split('/').nth(5).unwrap_or_default().to_owned();
            read.lock().unwrap().push(path);
            async move {
                let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("of-{namespace}"),
                    "uid": format!("d-{namespace}"), "controller": true});
                let found = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata":
                    {"name": "web-1", "namespace": namespace, "uid": "uid-of-web-1", "ownerReferences": [owner]}});
                Ok::<_, kube::Error>(http::Response::new(kube::client::Body::from(found.to_string().into_bytes())))
            }
        });
        (WorkloadLookup::new(Client::new(service, "default")), paths)
    }

    #[tokio::test]
    async fn the_same_uid_in_two_namespaces_is_that_of_two_controllers() {
        let (lookup, paths) = lookup();
        let of =
            |namespace: &str| pod("web").namespace(namespace).controlled_by("apps/v1", "ReplicaSet", "web-1").facts();
        for _ in 0..2 {
            for namespace in ["a", "b"] {
                let workload = lookup.workload(&of(namespace)).await.unwrap();
                assert_eq!((workload.kind.as_str(), workload.name), ("Deployment", format!("of-{namespace}")));
            }
        }
        let read = ["/apis/apps/v1/namespaces/a/replicasets/web-1", "/apis/apps/v1/namespaces/b/replicasets/web-1"];
        assert_eq!(*paths.lock().unwrap(), read, "each once");
    }
}
