//! The claim: creating the `Checkpoint` object. Its name is derived from what must happen once, so the API server
//! decides who is first, and 409 AlreadyExists means that somebody was.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use snapwatcher_api::pod::{OncePer, PodFacts};
use snapwatcher_kubernetes::cluster::{CallError, Scope, call, read_pod};
use snapwatcher_kubernetes::owner::{OwnerError, Owners, Workload};

use super::checkpoint_index::CheckpointIndex;
use super::preconditions::{self, Refusal};
use super::transitions::Holder;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointTarget, WorkloadReference};
use snapwatcher_api::record_name;

/// Annotation: who claimed, and for which pod. By it a process knows its own claim again when the answer to the creation
/// was lost.
const CLAIMED_BY: &str = "snap.weaversoft.io/claimed-by";

/// Label: name of the pod's workload.
pub const WORKLOAD: &str = "snap.weaversoft.io/workload";
/// Label: node of the pod, as far as it was known at the claim.
pub const NODE: &str = "snap.weaversoft.io/node";

/// What came of wanting a container checkpointed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// This claim is the first; the record of that name was created, or none where claims are only remembered.
    New { record: Option<String>, workload: Workload, node: String },
    /// It was claimed before, or a checkpoint of it exists.
    Before { record: Option<String> },
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The pod as read just now is not eligible.
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The pod is about to go with its namespace.
    #[error("namespace `{0}` is being deleted")]
    NamespaceTerminating(String),
    #[error("the Checkpoint resource is not installed: run `snapwatcher crd | kubectl apply --server-side -f -`")]
    NoDefinition,
    #[error("every name for the record is taken by another one's key")]
    NoName,
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for ClaimError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Who claims: the API server's records, or for a dry run nobody but the log.
pub trait Claim: Send + Sync {
    /// Waits until enough is known to claim pods of that namespace.
    fn ready<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, ()>;

    /// Claims one container of a pod that the watch found eligible.
    fn claim<'a>(&'a self, pod: &'a PodFacts, container: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>>;
}

/// Makes claims in the API server.
pub struct Claims {
    pub client: Client,
    /// In the order in which the ledger counts them.
    pub scopes: Vec<Scope>,
    pub ledger: Arc<CheckpointIndex>,
    pub owners: Owners,
    pub holder: Holder,
    /// For pods whose annotation does not say.
    pub once_per: OncePer,
}

impl Claims {
    async fn claim_once(&self, pod: &PodFacts, container: &str) -> Result<Claimed, ClaimError> {
        if self.ledger.has_success(&pod.uid, container) {
            return Ok(Claimed::Before { record: None });
        }
        let wish = self.wish(pod, container).await?;
        for digest in record_name::DIGESTS {
            let Some(record) = record_name::derived(&wish, digest) else { break };
            if self.ledger.contains(&pod.name.namespace, &record) {
                return Ok(Claimed::Before { record: Some(record) });
            }
            if let Some(claimed) = self.create(pod, container, &wish, &record).await? {
                return Ok(claimed);
            }
        }
        Err(ClaimError::NoName)
    }

    /// What must happen once, by the pod's own wish or by the setting.
    async fn wish(&self, pod: &PodFacts, container: &str) -> Result<CheckpointTarget, OwnerError> {
        let wished = pod.options.as_ref().ok().and_then(|wishes| wishes.once_per);
        Ok(match wished.unwrap_or(self.once_per) {
            OncePer::Pod => of_pod(pod, container),
            OncePer::Revision => {
                let Workload { api_version, kind, name, uid } = self.owners.workload(pod).await?;
                let workload = WorkloadReference { api_version, kind, name, uid };
                CheckpointTarget::Revision {
                    workload,
                    revision: pod.revision().to_owned(),
                    container: container.to_owned(),
                }
            }
        })
    }

    /// `None`: the name is taken by a record of another key.
    async fn create(
        &self,
        pod: &PodFacts,
        container: &str,
        wish: &CheckpointTarget,
        record: &str,
    ) -> Result<Option<Claimed>, ClaimError> {
        let live = read_pod(&self.client, &pod.name).await?.map(|live| live.facts);
        // Also where the wish is for a revision, it is this very pod that shows that there is one to checkpoint.
        preconditions::container_now(&of_pod(pod, container), &pod.name, live.as_ref()).map_err(ClaimError::Refused)?;
        let pod = live.unwrap_or_else(|| pod.clone());
        let workload = self.owners.workload(&pod).await?;
        let node = pod.node.clone().unwrap_or_default();
        let api: Api<Checkpoint> = Api::namespaced(self.client.clone(), &pod.name.namespace);
        let object = self.object(&pod, wish, &workload, record);
        let created = call(format!("claim pod {}", pod.name), api.create(&PostParams::default(), &object)).await;
        let new = Claimed::New { record: Some(record.to_owned()), workload, node };
        match created {
            Ok(_) => Ok(Some(new)),
            Err(error) if error.already_exists() => {
                let existing = call(format!("read Checkpoint `{record}`"), api.get(record)).await?;
                if existing.spec != object.spec {
                    return Ok(None);
                }
                let mine = existing.annotations().get(CLAIMED_BY) == object.annotations().get(CLAIMED_BY);
                Ok(Some(if mine { new } else { Claimed::Before { record: Some(record.to_owned()) } }))
            }
            Err(error) if error.is_namespace_terminating() => Err(ClaimError::NamespaceTerminating(pod.name.namespace)),
            // The namespace exists while the pod does, so what was not found is the resource.
            Err(error) if error.is_not_found() => Err(ClaimError::NoDefinition),
            Err(error) => Err(error.into()),
        }
    }

    fn object(&self, pod: &PodFacts, wish: &CheckpointTarget, workload: &Workload, record: &str) -> Checkpoint {
        let mut object = Checkpoint::new(record, CheckpointSpec::from(wish));
        object.metadata.namespace = Some(pod.name.namespace.clone());
        object.metadata.labels = Some(labels(pod, wish, workload));
        // With the pod, since one holder claims for several pods of a revision, and only one claim is the first.
        let claimed_by = format!("{}/{}", self.holder, pod.uid);
        object.metadata.annotations = Some([(CLAIMED_BY.to_owned(), claimed_by)].into());
        object
    }
}

impl Claim for Claims {
    fn ready<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, ()> {
        match self.scopes.iter().position(|scope| scope.holds(namespace)) {
            Some(scope) => Box::pin(self.ledger.listed(scope)),
            None => Box::pin(self.ledger.complete()),
        }
    }

    fn claim<'a>(&'a self, pod: &'a PodFacts, container: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(self.claim_once(pod, container))
    }
}

fn of_pod(pod: &PodFacts, container: &str) -> CheckpointTarget {
    CheckpointTarget::Pod { name: pod.name.name.clone(), uid: pod.uid.clone(), container: container.to_owned() }
}

/// By which people and programs find records. Which pod stands for a revision is not known before its attempt.
fn labels(pod: &PodFacts, wish: &CheckpointTarget, workload: &Workload) -> BTreeMap<String, String> {
    let of_pod = matches!(wish, CheckpointTarget::Pod { .. });
    let pairs = [
        ("app.kubernetes.io/managed-by", Some("snapwatcher")),
        (WORKLOAD, Some(workload.name.as_str())),
        ("snap.weaversoft.io/pod-uid", of_pod.then_some(pod.uid.as_str())),
        (NODE, pod.node.as_deref().filter(|_| of_pod)),
    ];
    let labelled =
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), record_name::label_value(value?))));
    labelled.collect()
}
