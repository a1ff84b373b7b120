//! What SnapWatcher says in Events, log, metrics, timelines, health checks and status, for tests that search all of it.

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;

use crate::must::must;
use crate::namespace::Namespace;
use crate::snapwatcher::Snapwatcher;

/// An Event for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    pub pod: String,
    pub uid: String,
    /// `Normal` or `Warning`.
    pub kind: String,
    pub reason: String,
    pub note: String,
    /// Name of the Checkpoint in `related`, if any.
    pub checkpoint: Option<String>,
}

impl From<Event> for PodEvent {
    fn from(event: Event) -> Self {
        let regarding = event.regarding.unwrap_or_default();
        Self {
            pod: regarding.name.unwrap_or_default(),
            uid: regarding.uid.unwrap_or_default(),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            note: event.note.unwrap_or_default(),
            checkpoint: event.related.and_then(|related| related.name),
        }
    }
}

impl Namespace {
    /// The Events that SnapWatcher has created for pods of this namespace.
    pub async fn events(&self) -> Vec<PodEvent> {
        let listed = must("list Events", self.api::<Event>().list(&ListParams::default()).await);
        let ours =
            listed.items.into_iter().filter(|event| event.reporting_controller.as_deref() == Some("snapwatcher"));
        ours.map(PodEvent::from).collect()
    }

    /// Waits until the pod has an Event of this reason and returns the Event.
    pub async fn event_of(&self, pod: &str, reason: &str) -> PodEvent {
        self.until(&format!("an Event {reason} for pod `{pod}`"), async || {
            let mut events = self.events().await;
            events.retain(|event| event.pod == pod);
            events.iter().find(|event| event.reason == reason).cloned().ok_or_else(|| format!("{events:?}"))
        })
        .await
    }

    /// Everything that this process has said so far. No part of it may contain a secret.
    pub async fn all_output(&self, watcher: &Snapwatcher) -> String {
        let mut output = watcher.log();
        output += &must("read the metrics", watcher.metrics().await);
        output += &must("read the timelines", watcher.pod_timelines().await).to_string();
        let health = must("read the health", watcher.get("/readyz?verbose").await);
        output += &must("read the health", health.text().await);
        let events = self.events().await.into_iter().map(|event| format!("{event:?}"));
        let records = self.records().await.into_iter().map(|record| record.status.to_string());
        output += &events.chain(records).collect::<Vec<_>>().join("\n");
        output
    }
}
