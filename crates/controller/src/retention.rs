//! Deletes finished Checkpoints whose pods are gone, beyond a number for each workload or older than a limit.
//!
//! Checkpoints have no owner references: the garbage collector would delete those of a deleted Deployment while its pods
//! are still Ready, and the pods would be claimed again. So a Checkpoint is deleted only after a live read shows that its
//! pod is gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::keys::WORKLOAD;
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Scope, call, list_pages, read_pod};
use snapwatcher_kubernetes::workload::WorkloadLookup;

use crate::operation::labeled_pods;
use crate::record::fields;

/// How many Checkpoints one request lists.
const PAGE: u32 = 500;

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
    /// The workload, else the name of the pod: the limit counts Checkpoints with the same one.
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
        for checkpoint in expired(finished, self.policy, clock::now()) {
            // An error with one Checkpoint must not keep the others.
            match self.remove_if_pod_is_gone(&checkpoint, known_pods).await {
                Ok(is_removed) => removed += usize::from(is_removed),
                Err(error) => result = Err(error),
            }
        }
        if removed > 0 {
            tracing::info!(removed, "Deleted {removed} old Checkpoints of pods that are gone");
        }
        result
    }

    async fn remove_if_pod_is_gone(
        &self,
        checkpoint: &FinishedCheckpoint,
        known_pods: &HashSet<String>,
    ) -> Result<bool, CallError> {
        Ok(self.pod_is_gone(checkpoint, known_pods).await? && self.remove(checkpoint).await?)
    }

    async fn finished(&self, scope: &Scope) -> Result<Vec<FinishedCheckpoint>, CallError> {
        let api: Api<Checkpoint> = scope.api(&self.client);
        let finished = |checkpoint| FinishedCheckpoint::of(&checkpoint);
        list_pages("list Checkpoints", &api, ListParams::default().limit(PAGE), finished).await
    }

    /// Whether no pod exists that would be claimed again without this Checkpoint.
    async fn pod_is_gone(
        &self,
        checkpoint: &FinishedCheckpoint,
        known_pods: &HashSet<String>,
    ) -> Result<bool, CallError> {
        match &checkpoint.subject {
            RetentionSubject::Pod { uid: Some(uid), .. } if known_pods.contains(uid) => Ok(false),
            RetentionSubject::Pod { name, uid } => {
                let pod = PodName { namespace: checkpoint.namespace.as_str().into(), name: name.as_str().into() };
                let live = read_pod(&self.client, &pod, false).await?;
                Ok(live.is_none_or(|live| uid.as_ref().is_some_and(|uid| *uid != live.facts.uid)))
            }
            RetentionSubject::Revision { workload_uid, revision } => {
                for pod in labeled_pods(&self.client, &checkpoint.namespace, revision).await? {
                    // A pod whose workload cannot be looked up may belong to this revision.
                    if self.workloads.workload(&pod).await.map_or(true, |workload| workload.uid == *workload_uid) {
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
    fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let status = checkpoint.status.as_ref()?;
        let target = fields::target(checkpoint)?;
        let waits_for_revision = matches!(target, CheckpointTarget::Revision { .. })
            && checkpoint.reason() == Some(Reason::NotReady.as_str());
        if !checkpoint.phase().is_final() && !waits_for_revision {
            return None;
        }
        let subject = match target {
            CheckpointTarget::Pod { name, uid, .. } => RetentionSubject::Pod { name, uid: Some(uid) },
            CheckpointTarget::Manual { name, .. } => {
                RetentionSubject::Pod { name, uid: fields::pod_uid(checkpoint).map(str::to_owned) }
            }
            CheckpointTarget::Revision { workload, revision, .. } => {
                RetentionSubject::Revision { workload_uid: workload.uid, revision }
            }
        };
        let pod = status.pod.as_ref().map(|pod| pod.name.clone());
        let label = checkpoint.labels().get(WORKLOAD).cloned();
        let completed = status.completion_time.as_ref().or(status.start_time.as_ref()).map(|time| time.0);
        Some(Self {
            namespace: checkpoint.namespace()?,
            name: checkpoint.name_any(),
            uid: checkpoint.uid()?,
            resource_version: checkpoint.resource_version()?,
            // Without an attempt the status names no workload, but the label of the claim does.
            workload: status.workload.clone().or(label).or(pod).unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::at;

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
}
