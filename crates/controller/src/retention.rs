//! Deletes finished Checkpoints whose pods are gone, beyond a number for each workload or older than a limit.
//!
//! Checkpoints have no owner references: the garbage collector would delete those of a deleted Deployment while its pods
//! are still Ready, and the pods would be claimed again. So a Checkpoint is deleted only after a live read shows that its
//! pod is gone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget, WatchedCheckpoint};
use snapwatcher_api::keys::WORKLOAD;
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Scope, call, list_pages, read_pod};
use snapwatcher_kubernetes::workload::WorkloadLookup;

use crate::operation::labeled_pods;
use crate::record::fields;

/// How many Checkpoints one request lists.
const PAGE: u32 = 100;
/// How many Checkpoints share one listing of pods: few, so that the listing is not old when the last of them is deleted.
const LISTED_TOGETHER: usize = 50;
/// The most Checkpoints of one namespace that one round looks at. Each costs up to two calls, and the other namespaces wait for
/// them. The next round continues with the rest.
const NAMESPACE_SHARE: usize = 1000;

/// How many Checkpoints of each workload are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct RetentionPolicy {
    pub limit: usize,
    pub ttl: Duration,
    /// The time between two rounds.
    pub every: Duration,
}

/// Deletes Checkpoints.
pub(crate) struct Retention {
    pub client: Client,
    /// For listings.
    pub listings: Client,
    pub workloads: WorkloadLookup,
    pub scopes: Vec<Scope>,
    pub policy: RetentionPolicy,
}

/// A Checkpoint that is finished, or that waits for a pod of a revision that may have none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FinishedCheckpoint {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    /// The workload, or empty: the limit counts Checkpoints of a namespace with the same one.
    workload: String,
    completed: Timestamp,
    subject: RetentionSubject,
}

/// What must be gone before the Checkpoint may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RetentionSubject {
    Pod { name: String, uid: Option<String> },
    Revision { workload_uid: String, revision: String },
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
        let finished = self.finished(scope).await?;
        let (mut removed, mut result) = (0, Ok(()));
        let mut expired = expired(finished, self.policy, clock::now());
        expired.retain(|checkpoint| !checkpoint.has_known_pod(known_pods));
        // Some may stay for as long as their pods exist. They must not take the whole share in every round.
        fastrand::shuffle(&mut expired);
        let shares = shares(expired);
        for checkpoints in shares.values().flat_map(|share| share.chunks(LISTED_TOGETHER)) {
            // An error in one namespace, or with one Checkpoint, must not keep the others.
            let pods = match self.pods_of_revisions(checkpoints).await {
                Ok(pods) => pods,
                Err(error) => {
                    result = Err(error);
                    continue;
                }
            };
            for checkpoint in checkpoints {
                match self.remove_if_pod_is_gone(checkpoint, &pods).await {
                    Ok(is_removed) => removed += usize::from(is_removed),
                    Err(error) => result = Err(error),
                }
            }
        }
        if removed > 0 {
            tracing::info!(removed, "Deleted {removed} old Checkpoints of pods that are gone");
        }
        result
    }

    async fn finished(&self, scope: &Scope) -> Result<Vec<FinishedCheckpoint>, CallError> {
        let api: Api<WatchedCheckpoint> = scope.api(&self.listings);
        let finished = |checkpoint: WatchedCheckpoint| FinishedCheckpoint::of(&checkpoint.into());
        list_pages("list Checkpoints", &api, ListParams::default().limit(PAGE), finished).await
    }

    /// The labeled pods of the revisions that these Checkpoints of one namespace are of, by one listing.
    async fn pods_of_revisions(&self, checkpoints: &[FinishedCheckpoint]) -> Result<Vec<PodFacts>, CallError> {
        let revision = |checkpoint: &FinishedCheckpoint| match &checkpoint.subject {
            RetentionSubject::Revision { revision, .. } => Some(revision.clone()),
            RetentionSubject::Pod { .. } => None,
        };
        let revisions: HashSet<String> = checkpoints.iter().filter_map(revision).collect();
        let Some(first) = checkpoints.first().filter(|_| !revisions.is_empty()) else { return Ok(Vec::new()) };
        labeled_pods(&self.listings, &first.namespace, |pod| revisions.contains(pod.revision())).await
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
            RetentionSubject::Pod { name, uid } => {
                let pod = PodName { namespace: checkpoint.namespace.as_str().into(), name: name.as_str().into() };
                let live = read_pod(&self.client, &pod, false).await?;
                Ok(live.is_none_or(|live| uid.as_ref().is_some_and(|uid| *uid != live.facts.uid)))
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
        let api: Api<Checkpoint> = Api::namespaced(self.client.clone(), namespace);
        match call(format!("delete Checkpoint `{namespace}/{name}`"), api.delete(name, &params)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl FinishedCheckpoint {
    fn has_known_pod(&self, known_pods: &HashSet<String>) -> bool {
        matches!(&self.subject, RetentionSubject::Pod { uid: Some(uid), .. } if known_pods.contains(uid))
    }

    fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let status = checkpoint.status.as_ref()?;
        let target = fields::target(checkpoint)?;
        let waits_for_revision = matches!(target, CheckpointTarget::Revision { .. })
            && checkpoint.reason() == Some(Reason::NotReady.as_str());
        if !checkpoint.phase().is_final() && !waits_for_revision {
            return None;
        }
        // Without an attempt the status names no workload, but the label of the claim does. The label of a manual Checkpoint is its
        // author's, who could choose another one for each: without an attempt, those of a namespace count together.
        let label = match &target {
            CheckpointTarget::Manual { .. } => None,
            CheckpointTarget::Pod { .. } | CheckpointTarget::Revision { .. } => {
                checkpoint.labels().get(WORKLOAD).cloned()
            }
        };
        let subject = match target {
            CheckpointTarget::Pod { name, uid, .. } => RetentionSubject::Pod { name, uid: Some(uid) },
            CheckpointTarget::Manual { name, .. } => {
                RetentionSubject::Pod { name, uid: fields::pod_uid(checkpoint).map(str::to_owned) }
            }
            CheckpointTarget::Revision { workload, revision, .. } => {
                RetentionSubject::Revision { workload_uid: workload.uid, revision }
            }
        };
        let completed = status.completion_time.as_ref().or(status.start_time.as_ref()).map(|time| time.0);
        Some(Self {
            namespace: checkpoint.namespace()?,
            name: checkpoint.name_any(),
            uid: checkpoint.uid()?,
            resource_version: checkpoint.resource_version()?,
            workload: status.workload.clone().or(label).unwrap_or_default(),
            completed: completed.or(checkpoint.metadata.creation_timestamp.as_ref().map(|created| created.0))?,
            subject,
        })
    }
}

/// The Checkpoints beyond the limit of their workload, the newest kept, or older than the time to live.
fn expired(mut finished: Vec<FinishedCheckpoint>, policy: RetentionPolicy, now: Timestamp) -> Vec<FinishedCheckpoint> {
    finished.sort_by(|a, b| (b.completed, &a.name).cmp(&(a.completed, &b.name)));
    let ttl = SignedDuration::try_from(policy.ttl).unwrap_or(SignedDuration::MAX);
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    finished.retain(|checkpoint| {
        let count = counts.entry((checkpoint.namespace.clone(), checkpoint.workload.clone())).or_default();
        *count += 1;
        *count > policy.limit || now.duration_since(checkpoint.completed) > ttl
    });
    finished
}

/// The Checkpoints that this round looks at, by namespace.
fn shares(expired: Vec<FinishedCheckpoint>) -> BTreeMap<String, Vec<FinishedCheckpoint>> {
    let mut shares: BTreeMap<String, Vec<FinishedCheckpoint>> = BTreeMap::new();
    for checkpoint in expired {
        let share = shares.entry(checkpoint.namespace.clone()).or_default();
        if share.len() < NAMESPACE_SHARE {
            share.push(checkpoint);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus, Phase, PodReference, PodStatus};
    use snapwatcher_api::fixtures::at;

    use super::*;

    fn finished(namespace: &str, workload: &str, name: &str, completed: i64) -> FinishedCheckpoint {
        FinishedCheckpoint {
            namespace: namespace.into(),
            name: name.into(),
            uid: name.into(),
            resource_version: "1".into(),
            workload: workload.into(),
            completed: at(completed),
            subject: RetentionSubject::Pod { name: name.into(), uid: None },
        }
    }

    fn names(finished: Vec<FinishedCheckpoint>, limit: usize, ttl: u64, now: i64) -> Vec<String> {
        let policy = RetentionPolicy { limit, ttl: Duration::from_secs(ttl), every: Duration::ZERO };
        expired(finished, policy, at(now)).into_iter().map(|checkpoint| checkpoint.name).collect()
    }

    #[test]
    fn the_newest_checkpoints_of_each_workload_are_kept() {
        let checkpoints = || {
            vec![
                finished("a", "Deployment/web", "old", 10),
                finished("a", "Deployment/web", "new", 30),
                finished("a", "Deployment/web", "middle", 20),
                finished("a", "Deployment/db", "other", 5),
                finished("b", "Deployment/web", "other-namespace", 5),
            ]
        };
        assert_eq!(names(checkpoints(), 2, 1000, 40), ["old"]);
        assert!(names(checkpoints(), 3, 1000, 40).is_empty());
    }

    #[test]
    fn a_checkpoint_older_than_the_time_to_live_expires() {
        let checkpoints = vec![finished("a", "Deployment/web", "old", 10), finished("a", "Deployment/web", "new", 30)];
        assert_eq!(names(checkpoints, 10, 15, 40), ["old"]);
    }

    #[test]
    fn the_checkpoints_of_one_namespace_do_not_fill_a_round() {
        let mut expired: Vec<_> = (0..5000).map(|number| finished("a", "", &number.to_string(), number)).collect();
        expired.push(finished("b", "Deployment/web", "web", 1));
        let shares = shares(expired);
        assert_eq!((shares["a"].len(), shares["b"].len()), (NAMESPACE_SHARE, 1));
    }

    #[test]
    fn manual_checkpoints_that_were_never_attempted_count_together() {
        let manual = |number: i64| {
            let mut checkpoint = Checkpoint::new(
                &format!("c{number}"),
                CheckpointSpec {
                    pod: Some(PodReference { name: format!("made-up-{number}"), uid: None }),
                    ..Default::default()
                },
            );
            checkpoint.metadata.namespace = Some("a".into());
            checkpoint.metadata.uid = Some(number.to_string());
            checkpoint.metadata.resource_version = Some("1".into());
            checkpoint.metadata.labels = Some([(WORKLOAD.to_owned(), format!("made-up-{number}"))].into());
            let pod = Some(PodStatus { name: format!("made-up-{number}"), ..Default::default() });
            let (phase, completion_time) = (Some(Phase::Failed), Some(MicroTime(at(number))));
            checkpoint.status = Some(CheckpointStatus { phase, pod, completion_time, ..Default::default() });
            FinishedCheckpoint::of(&checkpoint).unwrap()
        };
        assert_eq!(names((0..5).map(manual).collect(), 2, 1000, 10), ["c2", "c1", "c0"]);
    }
}
