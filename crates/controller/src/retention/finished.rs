//! A Checkpoint as retention looks at it.

use std::collections::HashSet;

use jiff::Timestamp;
use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, CheckpointTarget, Phase};
use snapwatcher_api::keys::WORKLOAD;
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::is_object_name;

use crate::record::fields;

/// A Checkpoint that is finished, or that waits for a pod of a revision that may have none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FinishedCheckpoint {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    /// The workload, or empty: the limit counts Checkpoints of a namespace with the same one.
    pub(super) workload: String,
    pub(super) completed: Timestamp,
    pub(super) subject: RetentionSubject,
}

/// What must be gone before the Checkpoint may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RetentionSubject {
    /// Nothing: no claim depends on the Checkpoint.
    Nothing,
    Pod {
        name: String,
        uid: String,
    },
    Revision {
        workload_uid: String,
        revision: String,
    },
}

impl FinishedCheckpoint {
    /// `None`: the Checkpoint is not finished, or it is being deleted already.
    pub(super) fn of(checkpoint: &Checkpoint, now: Timestamp) -> Option<Self> {
        let status = checkpoint.status.as_ref()?;
        let target = fields::target(checkpoint);
        let waits_for_revision = matches!(target, Some(CheckpointTarget::Revision { .. }))
            && checkpoint.reason() == Some(Reason::NotReady.as_str());
        let is_finished = checkpoint.phase().is_final() || waits_for_revision;
        if !is_finished || checkpoint.metadata.deletion_timestamp.is_some() {
            return None;
        }
        // Without an attempt the status names no workload, but the label of the claim does. The label of a manual Checkpoint is its
        // author's, who could choose another one for each: without an attempt, those of a namespace count together.
        let label = || checkpoint.labels().get(WORKLOAD).cloned();
        let (label, subject) = match target {
            Some(CheckpointTarget::Pod { name, uid, .. }) => (label(), RetentionSubject::Pod { name, uid }),
            Some(CheckpointTarget::Revision { workload, revision, .. }) => {
                (label(), RetentionSubject::Revision { workload_uid: workload.uid, revision })
            }
            Some(CheckpointTarget::Manual { .. }) | None => (None, subject_of_manual(checkpoint, status, now)),
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

    pub(super) fn has_known_pod(&self, known_pods: &HashSet<String>) -> bool {
        matches!(&self.subject, RetentionSubject::Pod { uid, .. } if known_pods.contains(uid))
    }
}

/// Of what its author names, only a success of a pod counts for claims.
fn subject_of_manual(checkpoint: &Checkpoint, status: &CheckpointStatus, now: Timestamp) -> RetentionSubject {
    let counts = checkpoint.phase() == Phase::Succeeded || may_still_succeed(status, now);
    // A spec that is not valid may name what no URL can have.
    let name = fields::pod_name(checkpoint).map(|pod| pod.name).filter(|name| is_object_name(name));
    match name.zip(fields::pod_uid(checkpoint)).filter(|_| counts) {
        Some((name, uid)) => RetentionSubject::Pod { name: name.to_string(), uid: uid.to_owned() },
        None => RetentionSubject::Nothing,
    }
}

/// Whether the last request may still have a slot, or its holder may still write a success. That is so for as long after its deadline
/// as the attempt could take before.
fn may_still_succeed(status: &CheckpointStatus, now: Timestamp) -> bool {
    let times = status.start_time.as_ref().zip(status.deadline.as_ref());
    times.is_some_and(|(start, deadline)| now.duration_since(deadline.0) < deadline.0.duration_since(start.0))
}
