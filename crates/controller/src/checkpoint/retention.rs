//! Which finished records may go: those whose pods are gone, beyond so many of a workload or older than so long.
//!
//! Records have no owner references: the garbage collector would take those of a deleted Deployment while its pods are
//! still Ready, and they would be claimed again. So a record goes only after a live read shows that its pod is gone.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Scope, call, read_pod};
use snapwatcher_kubernetes::owner::Owners;

use super::candidates;
use super::checkpoint_index;
use super::claim::WORKLOAD;
use super::known_pods::KnownPods;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::record_name;

/// Records read at once.
const PAGE: u32 = 500;

/// How many records of a workload are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct RetentionPolicy {
    pub limit: usize,
    pub ttl: Duration,
    /// The time between two rounds.
    pub every: Duration,
}

/// The service that removes records.
pub struct Retention {
    pub client: Client,
    pub owners: Owners,
    pub scopes: Vec<Scope>,
    pub keep: RetentionPolicy,
    pub alive: KnownPods,
}

/// What decides about a record that is finished, or waits for a pod of a revision of which there may be none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finished {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    /// What its kind of records is counted by: the workload, else the pod's name.
    workload: String,
    completed: Timestamp,
    about: About,
}

/// Whose end lets a record go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Pod { name: String, uid: Option<String> },
    Revision { workload_uid: String, revision: String },
}

impl Retention {
    /// Looks at all records once in a while, until the stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.keep.every) => {}
            }
            for scope in &self.scopes {
                if let Some(Err(error)) = stop.run_until_cancelled(Box::pin(self.round(scope))).await {
                    tracing::warn!("Removing old Checkpoints is put off: {}", error_chain(&error));
                }
            }
        }
    }

    async fn round(&self, scope: &Scope) -> Result<(), CallError> {
        let finished = self.finished(scope).await?;
        let (mut removed, mut failed) = (0, Ok(()));
        for record in superfluous(finished, self.keep, clock::now()) {
            // One record that can't be judged or removed must not keep the others.
            match self.remove_if_over(&record).await {
                Ok(is_removed) => removed += usize::from(is_removed),
                Err(error) => failed = Err(error),
            }
        }
        if removed > 0 {
            tracing::info!(removed, "Removed {removed} Checkpoints of pods that are gone");
        }
        failed
    }

    async fn remove_if_over(&self, record: &Finished) -> Result<bool, CallError> {
        Ok(self.is_over(record).await? && self.remove(record).await?)
    }

    async fn finished(&self, scope: &Scope) -> Result<Vec<Finished>, CallError> {
        let api: Api<Checkpoint> = scope.api(&self.client);
        let mut page = ListParams::default().limit(PAGE);
        let mut finished = Vec::new();
        loop {
            let listed = call("list Checkpoints", api.list(&page)).await?;
            finished.extend(listed.items.iter().filter_map(Finished::of));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(finished),
            }
        }
    }

    /// Whether no pod is left that this record keeps from being claimed again.
    async fn is_over(&self, record: &Finished) -> Result<bool, CallError> {
        match &record.about {
            About::Pod { uid: Some(uid), .. } if self.alive.contains(uid) => Ok(false),
            About::Pod { name, uid } => {
                let pod = PodName { namespace: record.namespace.clone(), name: name.clone() };
                let live = read_pod(&self.client, &pod).await?;
                Ok(live.is_none_or(|live| uid.as_ref().is_some_and(|uid| *uid != live.facts.uid)))
            }
            About::Revision { workload_uid, revision } => {
                for pod in candidates::labelled_pods(&self.client, &record.namespace, revision).await? {
                    // One whose workload can't be told may be of this revision.
                    if self.owners.workload(&pod).await.map_or(true, |workload| workload.uid == *workload_uid) {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Deletes the very version that was judged; false: it was changed or is gone.
    async fn remove(&self, record: &Finished) -> Result<bool, CallError> {
        let Finished { namespace, name, uid, resource_version, .. } = record;
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

impl Finished {
    fn of(record: &Checkpoint) -> Option<Self> {
        let status = record.status.as_ref()?;
        let wish = CheckpointTarget::parse(&record.spec, |wish| record_name::is_derived(&record.name_any(), wish))?;
        let waits =
            matches!(wish, CheckpointTarget::Revision { .. }) && record.reason() == Some(Reason::NotReady.as_str());
        if !record.phase().is_final() && !waits {
            return None;
        }
        let about = match wish {
            CheckpointTarget::Pod { name, uid, .. } => About::Pod { name, uid: Some(uid) },
            CheckpointTarget::Manual { name, .. } => {
                About::Pod { name, uid: checkpoint_index::pod_uid(record).map(str::to_owned) }
            }
            CheckpointTarget::Revision { workload, revision, .. } => {
                About::Revision { workload_uid: workload.uid, revision }
            }
        };
        let pod = status.pod.as_ref().map(|pod| pod.name.clone());
        let claimed_for = record.labels().get(WORKLOAD).cloned();
        let completed = status.completion_time.as_ref().or(status.start_time.as_ref()).map(|time| time.0);
        Some(Self {
            namespace: record.namespace()?,
            name: record.name_any(),
            uid: record.uid()?,
            resource_version: record.resource_version()?,
            // One that ended before its attempt was never resolved: its claim tells the workload.
            workload: status.workload.clone().or(claimed_for).or(pod).unwrap_or_default(),
            completed: completed.or(record.metadata.creation_timestamp.as_ref().map(|created| created.0))?,
            about,
        })
    }
}

/// The records beyond the limit of their workload, newest kept, or older than the time to live.
fn superfluous(mut finished: Vec<Finished>, keep: RetentionPolicy, now: Timestamp) -> Vec<Finished> {
    finished.sort_by(|a, b| (b.completed, &a.name).cmp(&(a.completed, &b.name)));
    let ttl = SignedDuration::try_from(keep.ttl).unwrap_or(SignedDuration::MAX);
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    finished.retain(|record| {
        let count = counts.entry((record.namespace.clone(), record.workload.clone())).or_default();
        *count += 1;
        *count > keep.limit || now.duration_since(record.completed) > ttl
    });
    finished
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(namespace: &str, workload: &str, name: &str, completed: i64) -> Finished {
        Finished {
            namespace: namespace.into(),
            name: name.into(),
            uid: name.into(),
            resource_version: "1".into(),
            workload: workload.into(),
            completed: Timestamp::from_second(completed).unwrap(),
            about: About::Pod { name: name.into(), uid: None },
        }
    }

    fn names(finished: Vec<Finished>, limit: usize, ttl: u64, now: i64) -> Vec<String> {
        let keep = RetentionPolicy { limit, ttl: Duration::from_secs(ttl), every: Duration::ZERO };
        superfluous(finished, keep, Timestamp::from_second(now).unwrap())
            .into_iter()
            .map(|record| record.name)
            .collect()
    }

    #[test]
    fn the_newest_of_each_workload_are_kept() {
        let records = || {
            vec![
                finished("a", "Deployment/web", "old", 10),
                finished("a", "Deployment/web", "new", 30),
                finished("a", "Deployment/web", "middle", 20),
                finished("a", "Deployment/db", "other", 5),
                finished("b", "Deployment/web", "elsewhere", 5),
            ]
        };
        assert_eq!(names(records(), 2, 1000, 40), ["old"]);
        assert!(names(records(), 3, 1000, 40).is_empty());
    }

    #[test]
    fn a_record_older_than_the_time_to_live_may_go() {
        let records = vec![finished("a", "Deployment/web", "old", 10), finished("a", "Deployment/web", "new", 30)];
        assert_eq!(names(records, 10, 15, 40), ["old"]);
    }
}
