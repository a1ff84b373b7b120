//! Claims a pod's container by creating its Checkpoint.
//!
//! The name of the Checkpoint is derived from the pod or the revision. So only one can exist, and 409 AlreadyExists means
//! that the container was claimed before.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointTarget, WorkloadReference};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::keys::{CLAIMED_BY, MANAGED_BY, NODE, POD_UID, WORKLOAD};
use snapwatcher_api::pod::{OncePer, PodFacts};
use snapwatcher_kubernetes::cluster::{CallError, Scope, call, read_pod};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError, WorkloadLookup};

use super::checkpoint_index::CheckpointIndex;
use super::preconditions::{self, UnmetPrecondition};
use super::transitions::Holder;

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// This claim is the first. It created the Checkpoint of this name, or none in a dry run.
    Created { checkpoint: Option<String>, workload: Workload, node: String },
    /// The container has a Checkpoint already.
    AlreadyClaimed { checkpoint: Option<String> },
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// By a live read, the pod is not eligible.
    #[error("{}", .0.message)]
    Ineligible(UnmetPrecondition),
    #[error(transparent)]
    Owner(#[from] WorkloadError),
    /// The pod will be deleted with its namespace.
    #[error("namespace `{0}` is being deleted")]
    NamespaceTerminating(String),
    #[error("the Checkpoint resource is not installed: run `snapwatcher crd | kubectl apply --server-side -f -`")]
    NoDefinition,
    /// Checkpoints of other pods or revisions have all names that could be derived.
    #[error(
        "could not derive a unique Checkpoint name: `{0}` and all shorter names belong to other pods; delete one of them"
    )]
    NoName(String),
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for ClaimError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Claims the containers of eligible pods.
pub(crate) trait Claimer: Send + Sync {
    /// Waits until pods of that namespace can be claimed.
    fn ready<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, ()>;

    /// Claims one container of a pod that is eligible by the watch.
    fn claim<'a>(&'a self, pod: &'a PodFacts, container: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>>;
}

/// Claims by creating Checkpoints.
pub(crate) struct CheckpointClaimer {
    pub client: Client,
    /// In the order of the index.
    pub scopes: Vec<Scope>,
    pub index: Arc<CheckpointIndex>,
    pub owners: WorkloadLookup,
    pub holder: Holder,
    /// For pods without the annotation.
    pub once_per: OncePer,
}

impl CheckpointClaimer {
    async fn claim_once(&self, pod: &PodFacts, container: &str) -> Result<Claimed, ClaimError> {
        if self.index.has_success(&pod.uid, container) {
            return Ok(Claimed::AlreadyClaimed { checkpoint: None });
        }
        let target = self.target(pod, container).await?;
        let mut name = String::new();
        for digest in checkpoint_name::DIGESTS {
            let Some(derived) = checkpoint_name::derived(&target, digest) else { break };
            if self.index.contains(&pod.name.namespace, &derived) {
                return Ok(Claimed::AlreadyClaimed { checkpoint: Some(derived) });
            }
            if let Some(claimed) = self.create(pod, container, &target, &derived).await? {
                return Ok(claimed);
            }
            name = derived;
        }
        Err(ClaimError::NoName(name))
    }

    /// The pod, or its revision: by the annotation of the pod, else by the setting.
    async fn target(&self, pod: &PodFacts, container: &str) -> Result<CheckpointTarget, WorkloadError> {
        let chosen = pod.options.as_ref().ok().and_then(|options| options.once_per);
        Ok(match chosen.unwrap_or(self.once_per) {
            OncePer::Pod => pod_target(pod, container),
            OncePer::Revision => {
                let Workload { api_version, kind, name, uid } = self.owners.workload(pod).await?;
                let workload = WorkloadReference { api_version, kind, name, uid };
                let (revision, container) = (pod.revision().to_owned(), container.to_owned());
                CheckpointTarget::Revision { workload, revision, container }
            }
        })
    }

    /// Creates the Checkpoint. `None`: a Checkpoint of another target has this name.
    async fn create(
        &self,
        pod: &PodFacts,
        container: &str,
        target: &CheckpointTarget,
        name: &str,
    ) -> Result<Option<Claimed>, ClaimError> {
        let live = read_pod(&self.client, &pod.name).await?.map(|live| live.facts);
        // Also for a revision: this pod proves that the revision has one that can be checkpointed.
        preconditions::check(&pod_target(pod, container), &pod.name, live.as_ref()).map_err(ClaimError::Ineligible)?;
        let pod = live.unwrap_or_else(|| pod.clone());
        let workload = self.owners.workload(&pod).await?;
        let node = pod.node.clone().unwrap_or_default();
        let api: Api<Checkpoint> = Api::namespaced(self.client.clone(), &pod.name.namespace);
        let object = self.object(&pod, target, &workload, name);
        let what = format!("create Checkpoint `{}/{name}`", pod.name.namespace);
        let created = call(what, api.create(&PostParams::default(), &object)).await;
        let new = Claimed::Created { checkpoint: Some(name.to_owned()), workload, node };
        match created {
            Ok(_) => Ok(Some(new)),
            Err(error) if error.already_exists() => {
                let what = format!("read Checkpoint `{}/{name}`", pod.name.namespace);
                let existing = call(what, api.get(name)).await?;
                if existing.spec != object.spec {
                    return Ok(None);
                }
                let is_mine = existing.annotations().get(CLAIMED_BY) == object.annotations().get(CLAIMED_BY);
                Ok(Some(if is_mine { new } else { Claimed::AlreadyClaimed { checkpoint: Some(name.to_owned()) } }))
            }
            Err(error) if error.is_namespace_terminating() => Err(ClaimError::NamespaceTerminating(pod.name.namespace)),
            // The namespace exists as long as the pod does, so the resource was not found.
            Err(error) if error.is_not_found() => Err(ClaimError::NoDefinition),
            Err(error) => Err(error.into()),
        }
    }

    fn object(&self, pod: &PodFacts, target: &CheckpointTarget, workload: &Workload, name: &str) -> Checkpoint {
        let mut object = Checkpoint::new(name, CheckpointSpec::from(target));
        object.metadata.namespace = Some(pod.name.namespace.clone());
        object.metadata.labels = Some(labels(pod, target, workload));
        // With the pod: one holder claims for several pods of a revision, and only the first claim counts.
        let claimed_by = format!("{}/{}", self.holder, pod.uid);
        object.metadata.annotations = Some([(CLAIMED_BY.to_owned(), claimed_by)].into());
        object
    }
}

impl Claimer for CheckpointClaimer {
    fn ready<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, ()> {
        match self.scopes.iter().position(|scope| scope.holds(namespace)) {
            Some(scope) => Box::pin(self.index.until_listed(scope)),
            None => Box::pin(self.index.until_all_listed()),
        }
    }

    fn claim<'a>(&'a self, pod: &'a PodFacts, container: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(self.claim_once(pod, container))
    }
}

fn pod_target(pod: &PodFacts, container: &str) -> CheckpointTarget {
    CheckpointTarget::Pod { name: pod.name.name.clone(), uid: pod.uid.clone(), container: container.to_owned() }
}

/// Labels for searches. The pod of a revision's Checkpoint is chosen at its attempt, so such a Checkpoint has no labels of
/// a pod.
fn labels(pod: &PodFacts, target: &CheckpointTarget, workload: &Workload) -> BTreeMap<String, String> {
    let is_of_pod = matches!(target, CheckpointTarget::Pod { .. });
    let pairs = [
        (MANAGED_BY, Some("snapwatcher")),
        (WORKLOAD, Some(workload.name.as_str())),
        (POD_UID, is_of_pod.then_some(pod.uid.as_str())),
        (NODE, pod.node.as_deref().filter(|_| is_of_pod)),
    ];
    let set = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), checkpoint_name::label_value(value?))));
    set.collect()
}
