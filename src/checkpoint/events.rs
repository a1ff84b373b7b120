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
use crate::pod::PodFacts;
use crate::telemetry::chain;

use super::outcome::{Outcome, Reason, Verdict};
use super::resource::Checkpoint;

/// Reason of the Event of a checkpoint that was taken.
pub const CHECKPOINTED: &str = "Checkpointed";
/// Reason of the Event of a pod that admission should have labelled and did not.
pub const SLIPPED: &str = "AdmissionSlipped";
/// Reason of the Event of a pod whose annotations can't be understood.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// How many Events may wait; more are dropped.
const WAITING: usize = 1000;
/// The longest note, in bytes, see the `note` of events.k8s.io/v1.
const LONGEST_NOTE: usize = 1024;

/// Where Events are put. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Told>);

struct Told {
    regarding: ObjectReference,
    related: Option<ObjectReference>,
    type_: EventType,
    reason: &'static str,
    note: String,
}

/// Publishes what was put; a service of its own.
pub struct Publisher {
    told: mpsc::Receiver<Told>,
    recorder: Recorder,
}

/// Both ends. `instance` is the name under which this process reports.
pub fn events(client: Client, instance: String) -> (Events, Publisher) {
    let (tell, told) = mpsc::channel(WAITING);
    let reporter = Reporter { controller: "snapwatcher".into(), instance: Some(instance) };
    (Events(tell), Publisher { told, recorder: Recorder::new(client, reporter) })
}

impl Publisher {
    /// Publishes until the stop. What can't be published is logged and dropped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        loop {
            let told = tokio::select! {
                Some(told) = self.told.recv() => told,
                () = stop.cancelled() => return Ok(()),
            };
            let Told { regarding, related, type_, reason, note } = told;
            let event = Event {
                type_,
                reason: reason.into(),
                note: Some(note),
                action: "Checkpoint".into(),
                secondary: related,
            };
            let pod = regarding.name.clone().unwrap_or_default();
            if let Err(error) =
                call(format!("tell Event {reason} on pod `{pod}`"), self.recorder.publish(&event, &regarding)).await
            {
                tracing::debug!("{}", chain(&error));
            }
        }
    }
}

impl Events {
    /// What came of an attempt.
    pub fn outcome(&self, record: &Checkpoint, pod: &PodFacts, outcome: &Outcome) {
        let checkpoint = record.name_any();
        let (type_, reason, note) = match outcome {
            Outcome::Succeeded(_) => (EventType::Normal, CHECKPOINTED, format!("Checkpoint `{checkpoint}` was taken")),
            Outcome::Stopped { reason, message, .. } => {
                let goes_on = match reason.verdict() {
                    Verdict::NotTried | Verdict::TriedAndFailed => "; it is tried again",
                    Verdict::Final | Verdict::Unknown => "",
                };
                (EventType::Warning, reason.as_str(), format!("Checkpoint `{checkpoint}`{goes_on}: {message}"))
            }
        };
        self.tell(regarding(pod), Some(record.object_ref(&())), type_, reason, note);
    }

    /// An attempt whose maker is gone.
    pub fn interrupted(&self, record: &Checkpoint, message: &str) {
        let Some(pod) = record.status.as_ref().and_then(|status| status.pod.clone()) else { return };
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: record.namespace(),
            name: Some(pod.name),
            uid: Some(pod.uid),
            ..Default::default()
        };
        let note = format!("Checkpoint `{}`: {message}", record.name_any());
        self.tell(regarding, Some(record.object_ref(&())), EventType::Warning, Reason::Interrupted.as_str(), note);
    }

    /// Something about the pod itself, a warning.
    pub fn warn(&self, pod: &PodFacts, reason: &'static str, note: String) {
        self.tell(regarding(pod), None, EventType::Warning, reason, note);
    }

    fn tell(
        &self,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
        type_: EventType,
        reason: &'static str,
        mut note: String,
    ) {
        let end = (0..=LONGEST_NOTE.min(note.len())).rev().find(|&at| note.is_char_boundary(at));
        note.truncate(end.unwrap_or(0));
        if self.0.try_send(Told { regarding, related, type_, reason, note }).is_err() {
            tracing::debug!("An Event `{reason}` is dropped: too many wait");
        }
    }
}

fn regarding(pod: &PodFacts) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.name.namespace.clone()),
        name: Some(pod.name.name.clone()),
        uid: Some(pod.uid.clone()),
        ..Default::default()
    }
}
