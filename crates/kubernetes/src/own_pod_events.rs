//! Events about SnapWatcher itself, on its own pod.
//!
//! An Event about a cluster-scoped object goes to the namespace `default`, where its reader does not look. So the own pod
//! is the regarded object. Outside a pod there is none, and such Events are dropped.

use snapwatcher_api::pod::PodName;

use crate::events::Events;

/// Emits warning Events on the own pod. The default drops them.
#[derive(Clone, Default)]
pub struct OwnPodEvents(Option<OwnPod>);

#[derive(Clone)]
struct OwnPod {
    events: Events,
    name: PodName,
    uid: Option<String>,
}

impl OwnPodEvents {
    /// Events on the pod of this name.
    #[must_use]
    pub fn new(events: Events, name: PodName, uid: Option<String>) -> Self {
        Self(Some(OwnPod { events, name, uid }))
    }

    /// Emits a warning with one of the reasons in [`events`](crate::events).
    pub fn warn(&self, reason: &'static str, note: String) {
        if let Some(OwnPod { events, name, uid }) = &self.0 {
            events.warn_on_own_pod(name, uid.clone(), reason, note);
        }
    }
}
