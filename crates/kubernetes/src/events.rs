//! Events on pods, Checkpoints and Snapshots: what `kubectl describe` shows about checkpoints, certificates, and what is saved.
//!
//! Nothing waits for an Event, and an Event may be lost: Checkpoint objects and metrics are the truth. Each loss is counted.
//! Reasons are fixed CamelCase words, listed in docs/troubleshooting.md.

mod lost;
mod publisher;
mod queued;
mod repeats;
mod shares;
mod waiting;

use std::time::Instant;

use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_api::text::one_visible_line;

use lost::{ADVICE, LossCause, LostEvents};
use queued::{ObjectKind, QueuedEvent};
use shares::Shares;

pub use lost::EventMetrics;
pub use publisher::EventPublisher;

/// Reason of the Event about a checkpoint that was taken.
pub const CHECKPOINTED: &str = "Checkpointed";
/// Reason of the Event about a pod that the webhook should have mutated and did not.
pub const NOT_MUTATED: &str = "NotMutated";
/// Reason of the Event about a pod with an invalid annotation.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// Reason of the Event about a pod whose Checkpoint the API server does not accept.
pub const CHECKPOINT_REJECTED: &str = "CheckpointRejected";
/// Reason of the Event about a caBundle that another client changed.
pub const CA_BUNDLE_CHANGED: &str = "CABundleChanged";
/// Reason of the Event about a CA Secret whose content was replaced.
pub const CA_SECRET_REPLACED: &str = "CASecretReplaced";
/// Reason of the Event about a CA Secret that does not exist.
pub const CA_SECRET_MISSING: &str = "CASecretMissing";

/// Reason of the Event about a Snapshot that the registry holds.
pub const SAVED: &str = "Saved";
/// Reason of the Event about a Checkpoint of whose archive no Snapshot is made.
pub const NOT_SAVED: &str = "NotSaved";
/// Reason of the Event about a Snapshot that is not used.
pub const SNAPSHOT_REJECTED: &str = "SnapshotRejected";

/// Action of an Event about what is saved of a checkpoint.
const SAVE: &str = "Save";
/// Action of an Event about a checkpoint that was taken, or that will be tried again.
const CHECKPOINT: &str = "Checkpoint";
/// Action of an Event about a Checkpoint that is final without a checkpoint. Kubernetes counts repeats in the first Event of
/// a series and keeps its note, so the final failure needs an action of its own.
const FAIL: &str = "Fail";
/// Action of an Event about the program's own certificates.
const UPDATE_CA_BUNDLE: &str = "UpdateCABundle";

/// How many Events may be queued, each about 500 bytes and at most about 2 KiB; more are lost.
const QUEUE_LENGTH: usize = 4096;

/// The queue of Events to publish. A clone uses the same queue.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<QueuedEvent>,
    shares: Shares,
    lost: LostEvents,
}

/// Both ends of the queue. `instance` is the name under which this process reports.
pub fn events(client: Client, instance: &str, metrics: EventMetrics) -> (Events, EventPublisher) {
    let (queue, queued) = mpsc::channel(QUEUE_LENGTH);
    let (shares, lost) = (Shares::of_queue(QUEUE_LENGTH), LostEvents::new(metrics));
    let publisher = EventPublisher::new(queued, client, instance, shares.clone(), lost.clone());
    (Events { queue, shares, lost }, publisher)
}

impl Events {
    /// The outcome of an attempt, or of the check of the pod before one. `after` is the phase of the Checkpoint after it.
    pub fn outcome(&self, checkpoint: &Checkpoint, pod: &PodFacts, outcome: &Outcome, after: Phase) {
        let name = checkpoint.name_any();
        let (is_warning, action, reason) = match outcome {
            Outcome::Succeeded(_) => (false, CHECKPOINT, CHECKPOINTED),
            Outcome::Failed { reason, .. } if after == Phase::Pending => (true, CHECKPOINT, reason.as_str()),
            Outcome::Failed { reason, .. } => (true, FAIL, reason.as_str()),
        };
        let note = match outcome {
            Outcome::Succeeded(_) => format!("Checkpoint `{name}` succeeded"),
            Outcome::Failed { message, .. } => match after {
                Phase::Pending => format!("Checkpoint `{name}` failed and will be retried: {message}"),
                Phase::Unknown => format!("Result of Checkpoint `{name}` is unknown: {message}"),
                _ => format!("Checkpoint `{name}` failed: {message}"),
            },
        };
        self.put(QueuedEvent {
            kind: ObjectKind::Pod,
            object: pod.name.clone(),
            uid: Some(pod.uid.clone()),
            checkpoint: Some(checkpoint.into()),
            is_warning,
            action,
            reason,
            note,
        });
    }

    /// The attempt of a Checkpoint was interrupted; `checkpoint` is as written after it.
    pub fn interrupted(&self, checkpoint: &Checkpoint, message: &str) {
        let resolved = checkpoint.status.as_ref().and_then(|status| status.pod.as_ref());
        let specified = checkpoint.spec.pod.as_ref();
        let Some(name) = resolved.map(|pod| &pod.name).or_else(|| specified.map(|pod| &pod.name)) else { return };
        let uid = resolved.and_then(|pod| pod.uid.clone()).or_else(|| specified.and_then(|pod| pod.uid.clone()));
        let pod = PodName { namespace: checkpoint.namespace().unwrap_or_default().into(), name: name.as_str().into() };
        let name = checkpoint.name_any();
        let (action, note) = match checkpoint.phase() {
            Phase::Pending => {
                (CHECKPOINT, format!("Checkpoint `{name}` was interrupted and will be retried: {message}"))
            }
            _ => (FAIL, format!("Result of Checkpoint `{name}` is unknown: {message}")),
        };
        self.put(QueuedEvent {
            kind: ObjectKind::Pod,
            object: pod,
            uid,
            checkpoint: Some(checkpoint.into()),
            is_warning: true,
            action,
            reason: Reason::Interrupted.as_str(),
            note,
        });
    }

    /// No Snapshot is made of the archive of that Checkpoint.
    pub fn not_saved(&self, checkpoint: &Checkpoint, note: String) {
        let (namespace, name, uid) = (checkpoint.namespace(), checkpoint.name_any(), checkpoint.uid());
        self.about_saving(ObjectKind::Checkpoint, (namespace, name, uid), true, NOT_SAVED, note);
    }

    /// The registry holds that Snapshot.
    pub fn saved(&self, snapshot: &Snapshot, note: String) {
        let (namespace, name, uid) = (snapshot.namespace(), snapshot.name_any(), snapshot.uid());
        self.about_saving(ObjectKind::Snapshot, (namespace, name, uid), false, SAVED, note);
    }

    /// That Snapshot is not used.
    pub fn snapshot_rejected(&self, snapshot: &Snapshot, note: String) {
        let (namespace, name, uid) = (snapshot.namespace(), snapshot.name_any(), snapshot.uid());
        self.about_saving(ObjectKind::Snapshot, (namespace, name, uid), true, SNAPSHOT_REJECTED, note);
    }

    fn about_saving(
        &self,
        kind: ObjectKind,
        (namespace, name, uid): (Option<String>, String, Option<String>),
        is_warning: bool,
        reason: &'static str,
        note: String,
    ) {
        let object = PodName { namespace: namespace.unwrap_or_default().into(), name: name.into() };
        self.put(QueuedEvent { kind, object, uid, checkpoint: None, is_warning, action: SAVE, reason, note });
    }

    /// A warning about the pod itself.
    pub fn warn(&self, pod: &PodFacts, reason: &'static str, note: String) {
        self.put(QueuedEvent {
            kind: ObjectKind::Pod,
            object: pod.name.clone(),
            uid: Some(pod.uid.clone()),
            checkpoint: None,
            is_warning: true,
            action: CHECKPOINT,
            reason,
            note,
        });
    }

    /// A warning about this program, on the pod in which it runs. Events about cluster-scoped objects go to the namespace
    /// `default`, where operators do not look for them.
    pub fn warn_on_own_pod(&self, pod: &PodName, uid: Option<String>, reason: &'static str, note: String) {
        self.put(QueuedEvent {
            kind: ObjectKind::Pod,
            object: pod.clone(),
            uid,
            checkpoint: None,
            is_warning: true,
            action: UPDATE_CA_BUNDLE,
            reason,
            note,
        });
    }

    /// Queues an Event. The Event is lost if the queue or the namespace's share of it is full, or if the publisher has ended.
    /// Notes hold names and values that people choose, which must not forge or hide lines where a note is shown.
    fn put(&self, mut event: QueuedEvent) {
        event.note = one_visible_line(&event.note);
        event.cut_note();
        if !self.shares.take(&event.object.namespace) {
            return self.lost(LossCause::QueueFull, &event);
        }
        let Err(error) = self.queue.try_send(event) else { return };
        let (TrySendError::Full(event) | TrySendError::Closed(event)) = &error;
        self.shares.release(&event.object.namespace);
        if matches!(error, TrySendError::Full(_)) {
            return self.lost(LossCause::QueueFull, event);
        }
        self.lost.count(LossCause::Stopped);
        tracing::debug!("Lost an {event}: the process is ending");
    }

    fn lost(&self, cause: LossCause, event: &QueuedEvent) {
        self.lost.count(cause);
        if self.lost.should_log(cause, Instant::now()) {
            tracing::warn!(
                "Lost an {event}: too many Events of its namespace, or of all, are queued already. {ADVICE}"
            );
        }
    }
}

/// All reasons that an Event can have, as docs/troubleshooting.md lists them. A Checkpoint with the reason `NotReady` or `NotSent`
/// is still pending, and only its status shows why. With `PodGone` no running pod is left that an Event could be about, and with
/// `TooManyCheckpoints` and `FromBackup` the pod is not read.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let has_event = |reason: &Reason| {
        let is_pending = matches!(reason, Reason::NotReady | Reason::NotSent);
        !is_pending && !matches!(reason, Reason::PodGone | Reason::TooManyCheckpoints | Reason::FromBackup)
    };
    let outcomes = Reason::ALL.into_iter().filter(has_event);
    let certificates = [CA_BUNDLE_CHANGED, CA_SECRET_REPLACED, CA_SECRET_MISSING];
    let others = [CHECKPOINTED, NOT_MUTATED, INVALID_ANNOTATION, CHECKPOINT_REJECTED];
    let snapshots = [SAVED, NOT_SAVED, SNAPSHOT_REJECTED];
    others.into_iter().chain(certificates).chain(snapshots).chain(outcomes.map(Reason::as_str))
}

#[cfg(test)]
mod tests;
