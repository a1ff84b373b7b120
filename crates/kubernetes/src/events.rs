//! Events on pods: what `kubectl describe pod` shows about checkpoints and certificates.
//!
//! Nothing waits for an Event, and an Event may be dropped: Checkpoint objects and metrics are the truth. Reasons are fixed
//! CamelCase words, listed in docs/troubleshooting.md.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::{Outcome, Reason, RetryClass};
use snapwatcher_api::pod::{PodFacts, PodName};
use snapwatcher_daemon::telemetry::error_chain;

use crate::cluster::call;

/// Reason of the Event about a checkpoint that was taken.
pub const CHECKPOINTED: &str = "Checkpointed";
/// Reason of the Event about a pod that the webhook should have mutated and did not.
pub const NOT_MUTATED: &str = "NotMutated";
/// Reason of the Event about a pod with an invalid annotation.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// Reason of the Event about a caBundle that another client changed.
pub const CA_BUNDLE_CHANGED: &str = "CABundleChanged";
/// Reason of the Event about a CA Secret whose content was replaced.
pub const CA_SECRET_REPLACED: &str = "CASecretReplaced";

/// Action of an Event about a checkpoint that was taken, or that will be tried again.
const CHECKPOINT: &str = "Checkpoint";
/// Action of an Event about a Checkpoint that is final without a checkpoint. Kubernetes counts repeats in the first Event of
/// a series and keeps its note, so the final failure needs an action of its own.
const FAIL: &str = "Fail";
/// Action of an Event about the program's own certificates.
const UPDATE_CA_BUNDLE: &str = "UpdateCABundle";

/// How many Events may be queued; more are dropped.
const QUEUE_LENGTH: usize = 1000;
/// The longest note, in bytes, see the field `note` of events.k8s.io/v1.
const LONGEST_NOTE: usize = 1024;

/// The queue of Events to publish. A clone uses the same queue.
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

/// Publishes the queued Events; a service of its own.
pub struct EventPublisher {
    queue: mpsc::Receiver<QueuedEvent>,
    recorder: Recorder,
}

/// Both ends of the queue. `instance` is the name under which this process reports.
pub fn events(client: Client, instance: String) -> (Events, EventPublisher) {
    let (sender, queue) = mpsc::channel(QUEUE_LENGTH);
    let reporter = Reporter { controller: "snapwatcher".into(), instance: Some(instance) };
    (Events(sender), EventPublisher { queue, recorder: Recorder::new(client, reporter) })
}

impl EventPublisher {
    /// Publishes until the stop, and then until the running attempts have finished. An Event that can't be published is
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
            tokio::select! {
                biased;
                Some(queued) = self.queue.recv() => self.publish(queued).await,
                () = &mut end => return Ok(()),
            }
        }
    }

    async fn publish(&self, queued: QueuedEvent) {
        let QueuedEvent { regarding, related, type_, action, reason, note } = queued;
        let event = Event { type_, reason: reason.into(), note: Some(note), action: action.into(), secondary: related };
        let pod = regarding.name.clone().unwrap_or_default();
        let what = format!("publish Event `{reason}` on pod `{pod}`");
        if let Err(error) = call(what, self.recorder.publish(&event, &regarding)).await {
            tracing::debug!("{}", error_chain(&error));
        }
    }
}

impl Events {
    /// The outcome of an attempt, or of the check of the pod before one. `after` is the phase of the Checkpoint after it.
    pub fn outcome(&self, checkpoint: &Checkpoint, pod: &PodFacts, outcome: &Outcome, after: Phase) {
        let name = checkpoint.name_any();
        let (type_, action, reason) = match outcome {
            Outcome::Succeeded(_) => (EventType::Normal, CHECKPOINT, CHECKPOINTED),
            Outcome::Failed { reason, .. } if after == Phase::Pending => {
                (EventType::Warning, CHECKPOINT, reason.as_str())
            }
            Outcome::Failed { reason, .. } => (EventType::Warning, FAIL, reason.as_str()),
        };
        let note = match outcome {
            Outcome::Succeeded(_) => format!("Checkpoint `{name}` succeeded"),
            Outcome::Failed { message, .. } => match after {
                Phase::Pending => format!("Checkpoint `{name}` failed and will be retried: {message}"),
                Phase::Unknown => format!("Result of Checkpoint `{name}` is unknown: {message}"),
                _ => format!("Checkpoint `{name}` failed: {message}"),
            },
        };
        let regarding = regarding(&pod.name, Some(pod.uid.clone()));
        self.put(QueuedEvent { regarding, related: Some(checkpoint.object_ref(&())), type_, action, reason, note });
    }

    /// A Checkpoint that became final without an outcome of its back-end.
    pub fn ended(&self, checkpoint: &Checkpoint, reason: Reason, message: &str) {
        let resolved = checkpoint.status.as_ref().and_then(|status| status.pod.as_ref());
        let specified = checkpoint.spec.pod.as_ref();
        let Some(name) = resolved.map(|pod| &pod.name).or_else(|| specified.map(|pod| &pod.name)) else { return };
        let uid = resolved.and_then(|pod| pod.uid.clone()).or_else(|| specified.and_then(|pod| pod.uid.clone()));
        let pod = PodName { namespace: checkpoint.namespace().unwrap_or_default(), name: name.clone() };
        let note = match reason.retry_class() {
            RetryClass::Unknown => format!("Result of Checkpoint `{}` is unknown: {message}", checkpoint.name_any()),
            _ => format!("Checkpoint `{}` failed: {message}", checkpoint.name_any()),
        };
        self.put(QueuedEvent {
            regarding: regarding(&pod, uid),
            related: Some(checkpoint.object_ref(&())),
            type_: EventType::Warning,
            action: FAIL,
            reason: reason.as_str(),
            note,
        });
    }

    /// A warning about the pod itself.
    pub fn warn(&self, pod: &PodFacts, reason: &'static str, note: String) {
        self.put(QueuedEvent {
            regarding: regarding(&pod.name, Some(pod.uid.clone())),
            related: None,
            type_: EventType::Warning,
            action: CHECKPOINT,
            reason,
            note,
        });
    }

    /// A warning about this program, on the pod in which it runs. Events about cluster-scoped objects go to the namespace
    /// `default`, where operators do not look for them.
    pub fn warn_on_own_pod(&self, pod: &PodName, uid: Option<String>, reason: &'static str, note: String) {
        self.put(QueuedEvent {
            regarding: regarding(pod, uid),
            related: None,
            type_: EventType::Warning,
            action: UPDATE_CA_BUNDLE,
            reason,
            note,
        });
    }

    /// Queues an Event, or drops it if the queue is full or the publisher has ended.
    fn put(&self, mut event: QueuedEvent) {
        let end = (0..=LONGEST_NOTE.min(event.note.len())).rev().find(|&at| event.note.is_char_boundary(at));
        event.note.truncate(end.unwrap_or(0));
        let reason = event.reason;
        if self.0.try_send(event).is_err() {
            tracing::debug!("Dropped an Event with reason `{reason}`: the queue is full or closed");
        }
    }
}

/// All reasons that an Event can have, as docs/troubleshooting.md lists them. `NotReady` is no outcome, and for `PodGone` there
/// is no pod to put an Event on.
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

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::{checkpoint, pod};
    use snapwatcher_api::outcome::{Location, Redacted};

    use super::*;

    #[test]
    fn a_note_says_what_became_of_which_checkpoint_and_why() {
        let failed = |reason| Outcome::Failed { reason, message: Redacted::own("no space"), retry_after: None };
        let (sender, mut queue) = mpsc::channel(9);
        let events = Events(sender);
        for (outcome, after, expected) in [
            (Outcome::Succeeded(Location::default()), Phase::Succeeded, "Checkpoint `web-app` succeeded"),
            (failed(Reason::Busy), Phase::Pending, "Checkpoint `web-app` failed and will be retried: no space"),
            (failed(Reason::NoResponse), Phase::Unknown, "Result of Checkpoint `web-app` is unknown: no space"),
            (failed(Reason::Rejected), Phase::Failed, "Checkpoint `web-app` failed: no space"),
        ] {
            events.outcome(&checkpoint("web").build(), &pod("web").facts(), &outcome, after);
            let event = queue.try_recv().unwrap();
            assert_eq!(event.note, expected);
            assert_eq!(event.action == FAIL, matches!(after, Phase::Failed | Phase::Unknown), "{after:?}");
            assert_eq!(event.regarding.name.as_deref(), Some("web"));
        }
    }

    #[test]
    fn a_note_is_cut_to_what_the_api_takes() {
        let (sender, mut queue) = mpsc::channel(1);
        Events(sender).warn(&pod("web").facts(), INVALID_ANNOTATION, format!("a{}", "é".repeat(600)));
        assert_eq!(queue.try_recv().unwrap().note.len(), 1023);
    }
}
