//! Deletes finished Checkpoints whose pods are gone, beyond a number for each workload or older than a limit.
//!
//! Checkpoints have no owner references: the garbage collector would delete those of a deleted Deployment while its pods
//! are still Ready, and the pods would be claimed again. So a Checkpoint on which a claim depends is deleted only after a live read
//! shows that its pod is gone.
//!
//! People can create many Checkpoints. The API server lists those of one namespace after those of another, so they are evaluated
//! while the pages arrive, and only a share of one namespace is in memory. What is left of a namespace is for later rounds.

mod expired;
mod finished;

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use kube::api::{DeleteParams, ListParams, Preconditions, Request};
use kube::{Api, Client, Resource as _};
use tokio::time::Instant;

use snapwatcher_api::checkpoint::{Checkpoint, WatchedCheckpoint};
use snapwatcher_api::pod::{PodFacts, PodName, RevisionLabels};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Pages, PodNeed, Scope, call, read_pod};
use snapwatcher_kubernetes::workload::WorkloadLookup;

use crate::operation::labeled_pods;

use expired::NamespaceCheckpoints;
pub use expired::RetentionPolicy;
use finished::{FinishedCheckpoint, RetentionSubject};

/// How many Checkpoints one request lists.
const PAGE: u32 = 100;
/// How many Checkpoints share one listing of pods: few, so that the listing is not old when the last of them is deleted.
const LISTED_TOGETHER: usize = 50;
/// How many Checkpoints that no pod needs are deleted at once.
const DELETED_TOGETHER: usize = 8;
/// The longest that one round works on one namespace. An admission webhook there may delay each deletion, and the other namespaces
/// wait for them.
const NAMESPACE_TIME: Duration = Duration::from_secs(60);

/// Deletes Checkpoints.
pub(crate) struct Retention {
    pub client: Client,
    /// For listings.
    pub listings: Client,
    pub workloads: WorkloadLookup,
    pub revision_labels: RevisionLabels,
    pub scopes: Vec<Scope>,
    pub policy: RetentionPolicy,
}

/// What a round has done. An error in one namespace, or with one Checkpoint, must not keep the others.
#[derive(Default)]
struct Deletions {
    removed: usize,
    /// The last one.
    error: Option<CallError>,
    /// How long the current namespace has taken, without listings of Checkpoints.
    taken: Duration,
}

impl Deletions {
    fn add(&mut self, deleted: Result<bool, CallError>) {
        match deleted {
            Ok(is_removed) => self.removed += usize::from(is_removed),
            Err(error) => self.error = Some(error),
        }
    }

    /// Whether the current namespace has had its time of this round, after work that began then.
    fn is_over(&self, since: Instant) -> bool {
        self.taken + since.elapsed() >= NAMESPACE_TIME
    }
}

impl Retention {
    /// Looks at all Checkpoints once. The pods of these UIDs are known to exist, which saves a read of each.
    pub(crate) async fn round(&self, known_pods: &HashSet<String>) {
        for scope in &self.scopes {
            if let Err(error) = Box::pin(self.round_of(scope, known_pods)).await {
                tracing::warn!("Could not delete old Checkpoints, retrying in the next round: {}", error_chain(&error));
            }
        }
    }

    async fn round_of(&self, scope: &Scope, known_pods: &HashSet<String>) -> Result<(), CallError> {
        let mut deletions = Deletions::default();
        let listed = self.remove_expired(scope, known_pods, &mut deletions).await;
        let Deletions { removed, error, .. } = deletions;
        if removed > 0 {
            tracing::info!(removed, "Deleted {removed} old Checkpoints");
        }
        listed.and(error.map_or(Ok(()), Err))
    }

    async fn remove_expired(
        &self,
        scope: &Scope,
        known_pods: &HashSet<String>,
        deletions: &mut Deletions,
    ) -> Result<(), CallError> {
        let api: Api<WatchedCheckpoint> = scope.api(&self.listings);
        let mut pages = Pages::new(api, ListParams::default().limit(PAGE));
        let evaluate = |namespace: &str| NamespaceCheckpoints::new(namespace.to_owned(), self.policy, clock::now());
        let mut current = evaluate("");
        while let Some(page) = pages.next("list Checkpoints").await? {
            let now = clock::now();
            for checkpoint in page.into_iter().filter_map(|listed| FinishedCheckpoint::of(&listed.into(), now)) {
                if checkpoint.namespace != current.namespace {
                    let complete = std::mem::replace(&mut current, evaluate(&checkpoint.namespace));
                    self.remove_share(complete, deletions).await;
                    deletions.taken = Duration::ZERO;
                }
                current.add(checkpoint, known_pods);
            }
            self.remove_unread(&current.take_unread(), deletions).await;
        }
        self.remove_share(current, deletions).await;
        Ok(())
    }

    /// Deletes Checkpoints that no pod needs.
    async fn remove_unread(&self, checkpoints: &[FinishedCheckpoint], deletions: &mut Deletions) {
        let since = Instant::now();
        for together in checkpoints.chunks(DELETED_TOGETHER) {
            if deletions.is_over(since) {
                break;
            }
            let deleted = join_all(together.iter().map(|checkpoint| self.remove(checkpoint))).await;
            for deleted in deleted {
                deletions.add(deleted);
            }
        }
        deletions.taken += since.elapsed();
    }

    /// Deletes the expired Checkpoints of a namespace whose pods are gone.
    async fn remove_share(&self, mut namespace: NamespaceCheckpoints, deletions: &mut Deletions) {
        self.remove_unread(&namespace.take_unread(), deletions).await;
        let since = Instant::now();
        for checkpoints in namespace.into_share().chunks(LISTED_TOGETHER) {
            if deletions.is_over(since) {
                return;
            }
            let pods = match self.pods_of_revisions(checkpoints).await {
                Ok(pods) => pods,
                Err(error) => {
                    deletions.add(Err(error));
                    continue;
                }
            };
            for checkpoint in checkpoints {
                if deletions.is_over(since) {
                    return;
                }
                deletions.add(self.remove_if_pod_is_gone(checkpoint, &pods).await);
            }
        }
    }

    /// The labeled pods of the revisions that these Checkpoints of one namespace are of, by one listing.
    async fn pods_of_revisions(&self, checkpoints: &[FinishedCheckpoint]) -> Result<Vec<PodFacts>, CallError> {
        let revision = |checkpoint: &FinishedCheckpoint| match &checkpoint.subject {
            RetentionSubject::Revision { revision, .. } => Some(revision.clone()),
            RetentionSubject::Pod { .. } | RetentionSubject::Nothing => None,
        };
        let revisions: HashSet<String> = checkpoints.iter().filter_map(revision).collect();
        let Some(first) = checkpoints.first().filter(|_| !revisions.is_empty()) else { return Ok(Vec::new()) };
        let is_of_revision = |pod: &PodFacts| revisions.contains(pod.revision());
        labeled_pods(&self.listings, &first.namespace, &self.revision_labels, is_of_revision).await
    }

    async fn remove_if_pod_is_gone(
        &self,
        checkpoint: &FinishedCheckpoint,
        pods: &[PodFacts],
    ) -> Result<bool, CallError> {
        Ok(self.pod_is_gone(checkpoint, pods).await? && self.remove(checkpoint).await?)
    }

    /// Whether no pod exists that would be claimed again without this Checkpoint. `pods` are those of all revisions.
    async fn pod_is_gone(&self, checkpoint: &FinishedCheckpoint, pods: &[PodFacts]) -> Result<bool, CallError> {
        match &checkpoint.subject {
            RetentionSubject::Nothing => Ok(true),
            RetentionSubject::Pod { name, uid } => {
                let pod = PodName { namespace: checkpoint.namespace.as_str().into(), name: name.as_str().into() };
                let live = read_pod(&self.client, &pod, &self.revision_labels, PodNeed::Nothing).await?;
                Ok(live.is_none_or(|live| *uid != live.facts.uid))
            }
            RetentionSubject::Revision { workload_uid, revision } => {
                for pod in pods.iter().filter(|pod| pod.revision() == revision) {
                    // A pod whose workload cannot be looked up may belong to this revision.
                    if self.workloads.workload(pod).await.map_or(true, |workload| workload.uid == *workload_uid) {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Deletes the Checkpoint in the version that was read. False: it has changed or is gone.
    async fn remove(&self, checkpoint: &FinishedCheckpoint) -> Result<bool, CallError> {
        let FinishedCheckpoint { namespace, name, uid, resource_version, .. } = checkpoint;
        let (uid, resource_version) = (Some(uid.clone()), Some(resource_version.clone()));
        let params =
            DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..Default::default() };
        // The API server answers with a Checkpoint that has finalizers. It is not decoded.
        let request = Request::new(Checkpoint::url_path(&(), Some(namespace))).delete(name, &params);
        let delete = async { self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await };
        match call(format!("delete Checkpoint `{namespace}/{name}`"), delete).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
