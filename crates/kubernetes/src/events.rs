//! Events about checkpoints, on the pod they are about: what `kubectl describe pod` shows.
//!
//! Telling is never waited for and may be dropped: records and metrics are the truth. Reasons are fixed CamelCase words,
//! listed in docs/operations.md.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::call;
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_daemon::telemetry::error_chain;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::{Outcome, Reason};

/// Reason of the Event of a checkpoint that was taken.
pub const CHECKPOINTED: &str = "Checkpointed";
/// Reason of the Event of a pod that admission should have labelled and did not.
pub const NOT_MUTATED: &str = "NotMutated";
/// Reason of the Event of a pod whose annotations can't be understood.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// Reason of the Event of a caBundle that somebody else changed.
pub const CA_BUNDLE_CHANGED: &str = "CABundleChanged";
/// Reason of the Event of a CA Secret that was put right.
pub const CA_SECRET_REPLACED: &str = "CASecretReplaced";
/// Action of an Event about something that was done, or is tried again.
const CHECKPOINT: &str = "Checkpoint";
/// Action of an Event about what has come to nothing. Repeats are counted in the first Event of their kind, whose note
/// stays: by another action the last failure is not told as one more that is tried again.
const GIVE_UP: &str = "Fail";
/// Action of an Event about our own certificates.
const KEEP_TRUST: &str = "UpdateCABundle";
/// How many Events may wait; more are dropped.
const WAITING: usize = 1000;
/// The longest note, in bytes, see the `note` of events.k8s.io/v1.
const LONGEST_NOTE: usize = 1024;

/// Where Events are put. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Events(mpsc::Sender<QueuedEvent>);

struct QueuedEvent {
    regarding: ObjectReference,
    related: Option<ObjectReference>,
    type_: EventType,
    action: &'static str,
    reason: &'static str,
    note: String,
}

/// Publishes what was put; a service of its own.
pub struct Publisher {
    told: mpsc::Receiver<QueuedEvent>,
    recorder: Recorder,
}

/// Both ends. `instance` is the name under which this process reports.
pub fn events(client: Client, instance: String) -> (Events, Publisher) {
    let (tell, told) = mpsc::channel(WAITING);
    let reporter = Reporter { controller: "snapwatcher".into(), instance: Some(instance) };
    (Events(tell), Publisher { told, recorder: Recorder::new(client, reporter) })
}

impl Publisher {
    /// Publishes until the stop, and then what the attempts that are being finished tell. What can't be published is
    /// logged and dropped.
    pub async fn run(
        mut self,
        stop: CancellationToken,
        work_is_done: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let end = async {
            stop.cancelled().await;
            work_is_done.cancelled().await;
        };
        tokio::pin!(end);
        loop {
            let told = tokio::select! {
                biased;
                Some(told) = self.told.recv() => told,
                () = &mut end => return Ok(()),
            };
            let QueuedEvent { regarding, related, type_, action, reason, note } = told;
            let event =
                Event { type_, reason: reason.into(), note: Some(note), action: action.into(), secondary: related };
            let pod = regarding.name.clone().unwrap_or_default();
            if let Err(error) =
                call(format!("tell Event {reason} on pod `{pod}`"), self.recorder.publish(&event, &regarding)).await
            {
                tracing::debug!("{}", error_chain(&error));
            }
        }
    }
}

impl Events {
    /// What came of an attempt, or of looking at the pod before one. `after` is the record's phase by it.
    pub fn outcome(&self, record: &Checkpoint, pod: &PodFacts, outcome: &Outcome, after: Phase) {
        let checkpoint = record.name_any();
        let (type_, action, reason, note) = match outcome {
            Outcome::Succeeded(_) => {
                (EventType::Normal, CHECKPOINT, CHECKPOINTED, format!("Checkpoint `{checkpoint}` was taken"))
            }
            Outcome::Failed { reason, message, .. } => {
                let (action, goes_on) =
                    if after == Phase::Pending { (CHECKPOINT, "; it is tried again") } else { (GIVE_UP, "") };
                (EventType::Warning, action, reason.as_str(), format!("Checkpoint `{checkpoint}`{goes_on}: {message}"))
            }
        };
        let regarding = regarding(&pod.name, Some(pod.uid.clone()));
        self.tell(QueuedEvent { regarding, related: Some(record.object_ref(&())), type_, action, reason, note });
    }

    /// A record that came to its end without an answer of the back-end.
    pub fn ended(&self, record: &Checkpoint, reason: Reason, message: &str) {
        let resolved = record.status.as_ref().and_then(|status| status.pod.as_ref());
        let wished = record.spec.pod.as_ref();
        let Some(name) = resolved.map(|pod| &pod.name).or_else(|| wished.map(|pod| &pod.name)) else { return };
        let uid = resolved.and_then(|pod| pod.uid.clone()).or_else(|| wished.and_then(|pod| pod.uid.clone()));
        let pod = PodName { namespace: record.namespace().unwrap_or_default(), name: name.clone() };
        let note = format!("Checkpoint `{}`: {message}", record.name_any());
        self.tell(QueuedEvent {
            regarding: regarding(&pod, uid),
            related: Some(record.object_ref(&())),
            type_: EventType::Warning,
            action: GIVE_UP,
            reason: reason.as_str(),
            note,
        });
    }

    /// Something about the pod itself, a warning.
    pub fn warn(&self, pod: &PodFacts, reason: &'static str, note: String) {
        let regarding = regarding(&pod.name, Some(pod.uid.clone()));
        self.tell(QueuedEvent {
            regarding,
            related: None,
            type_: EventType::Warning,
            action: CHECKPOINT,
            reason,
            note,
        });
    }

    /// Something about this program, a warning, on the pod in which it runs: cluster-wide objects have their Events in
    /// another namespace, where nobody looks for them.
    pub fn warn_of_self(&self, pod: &PodName, uid: Option<String>, reason: &'static str, note: String) {
        let regarding = regarding(pod, uid);
        self.tell(QueuedEvent {
            regarding,
            related: None,
            type_: EventType::Warning,
            action: KEEP_TRUST,
            reason,
            note,
        });
    }

    fn tell(&self, mut told: QueuedEvent) {
        let end = (0..=LONGEST_NOTE.min(told.note.len())).rev().find(|&at| told.note.is_char_boundary(at));
        told.note.truncate(end.unwrap_or(0));
        let reason = told.reason;
        // Full, or the process has ended: either way nobody waits for it.
        if self.0.try_send(told).is_err() {
            tracing::debug!("An Event `{reason}` is dropped");
        }
    }
}

/// All reasons that an Event can have, as docs/operations.md lists them. A pod that is waited for is no outcome, and one
/// that is gone has none to tell.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let outcomes = Reason::ALL.into_iter().filter(|reason| !matches!(reason, Reason::NotReady | Reason::PodGone));
    [CHECKPOINTED, NOT_MUTATED, INVALID_ANNOTATION, CA_BUNDLE_CHANGED, CA_SECRET_REPLACED]
        .into_iter()
        .chain(outcomes.map(Reason::as_str))
}

fn regarding(pod: &PodName, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid,
        ..Default::default()
    }
}
