//! Who a pod belongs to: its top controller, found through at most two owner references.
//!
//! A ReplicaSet is asked for its Deployment, a Job for its CronJob; any other controller is the workload itself, since
//! reading unknown kinds would need rights on them. Only metadata is read, and kept by the controller's UID.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use moka::future::Cache;
use serde::de::DeserializeOwned;

use crate::cluster::{CallError, call};
use snapwatcher_api::pod::{ControllerReference, PodFacts};

/// Look-ups that are remembered; one serves all pods of a ReplicaSet.
const REMEMBERED: u64 = 10_000;
/// Controllers adopt and release what they own, so a look-up is good for a while only.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

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
pub enum OwnerError {
    /// The pod's controller was deleted: the garbage collector is about to take the pod too.
    #[error("{kind} `{name}` that controls pod {pod} is gone")]
    Gone { kind: String, name: String, pod: String },
    #[error("could not find the workload of pod {pod}")]
    LookUp { pod: String, source: Arc<CallError> },
}

/// Finds workloads and remembers what it found. Cloning gives another handle to the same memory.
#[derive(Clone)]
pub struct Owners {
    client: Client,
    /// The controller of a controller, by the UID of the latter; `None`: it has none, so it is the top.
    above: Cache<String, Option<ControllerReference>>,
}

impl Owners {
    pub fn new(client: Client) -> Self {
        let above = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { client, above }
    }

    /// The workload of that pod.
    pub async fn workload(&self, pod: &PodFacts) -> Result<Workload, OwnerError> {
        let Some(controller) = &pod.controller else {
            let (name, uid) = (pod.name.name.clone(), pod.uid.clone());
            return Ok(Workload { api_version: "v1".into(), kind: "Pod".into(), name, uid });
        };
        let above = match group_and_kind(controller) {
            ("apps", "ReplicaSet") => self.above::<ReplicaSet>(pod, controller).await?,
            ("batch", "Job") => self.above::<Job>(pod, controller).await?,
            _ => None,
        };
        Ok(Workload::from(above.as_ref().unwrap_or(controller)))
    }

    async fn above<K>(
        &self,
        pod: &PodFacts,
        controller: &ControllerReference,
    ) -> Result<Option<ControllerReference>, OwnerError>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let ControllerReference { kind, name, uid, .. } = controller;
        let namespace = &pod.name.namespace;
        let gone = || OwnerError::Gone { kind: kind.clone(), name: name.clone(), pod: pod.name.to_string() };
        let look_up = async {
            let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
            let read = call(format!("read {kind} `{namespace}/{name}`"), api.get_metadata(name)).await;
            match read {
                Ok(found) if found.metadata.uid.as_ref() == Some(uid) => {
                    Ok(ControllerReference::among(found.metadata.owner_references.as_deref().unwrap_or_default()))
                }
                Ok(_) => Err(gone()),
                Err(error) if error.is_not_found() => Err(gone()),
                Err(source) => Err(OwnerError::LookUp { pod: pod.name.to_string(), source: Arc::new(source) }),
            }
        };
        self.above.try_get_with_by_ref(uid, look_up).await.map_err(|error: Arc<OwnerError>| (*error).clone())
    }
}

fn group_and_kind(controller: &ControllerReference) -> (&str, &str) {
    let group = controller.api_version.split_once('/').map_or("", |(group, _)| group);
    (group, &controller.kind)
}
