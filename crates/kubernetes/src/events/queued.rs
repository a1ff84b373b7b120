//! An Event on its way from its cause to the API server.

use std::fmt;
use std::hash::{Hash as _, Hasher};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Resource as _, ResourceExt as _};

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::PodName;

/// `reportingController` of all Events.
const REPORTING_CONTROLLER: &str = "snapwatcher";
/// The longest note, in bytes, see the field `note` of events.k8s.io/v1.
const LONGEST_NOTE: usize = 1024;
/// The longest first part of an Event's name. The second part is a dot and a time of at most 16 digits; both have at most 253.
const LONGEST_NAME: usize = 236;

/// An Event that is not published yet. It holds no more than what differs between Events.
#[derive(Debug)]
pub(super) struct QueuedEvent {
    pub(super) kind: ObjectKind,
    /// Namespace and name of the object that the Event is about.
    pub(super) object: PodName,
    pub(super) uid: Option<String>,
    /// The related object, in the same namespace.
    pub(super) checkpoint: Option<CheckpointReference>,
    pub(super) is_warning: bool,
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// What kind of object an Event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ObjectKind {
    Pod,
    Checkpoint,
    Snapshot,
}

impl ObjectKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Checkpoint => "Checkpoint",
            Self::Snapshot => "Snapshot",
        }
    }

    fn api_version(self) -> String {
        match self {
            Self::Pod => "v1".to_owned(),
            Self::Checkpoint | Self::Snapshot => Checkpoint::api_version(&()).into_owned(),
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As in all texts, the kinds of Kubernetes are words and ours are names.
        f.write_str(if *self == Self::Pod { "pod" } else { self.as_str() })
    }
}

/// Name and UID of a Checkpoint.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckpointReference {
    name: String,
    uid: Option<String>,
}

impl From<&Checkpoint> for CheckpointReference {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self { name: checkpoint.name_any(), uid: checkpoint.uid() }
    }
}

impl fmt::Display for QueuedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event `{}` on {} `{}`", self.reason, self.kind, self.object)
    }
}

impl QueuedEvent {
    /// Cuts the note to what the API server accepts, and frees the rest while the Event is queued.
    pub(super) fn cut_note(&mut self) {
        let end = (0..=LONGEST_NOTE.min(self.note.len())).rev().find(|&at| self.note.is_char_boundary(at));
        self.note.truncate(end.unwrap_or(0));
        self.note.shrink_to_fit();
    }

    /// Hashes what two Events have in common if one repeats the other: all but the note.
    pub(super) fn hash_identity(&self, hasher: &mut impl Hasher) {
        (self.kind, &self.object, &self.uid, &self.checkpoint, self.is_warning, self.action, self.reason).hash(hasher);
    }

    /// The name of the Event if it is created now. Like client-go's: the name of the object and the time in nanoseconds.
    pub(super) fn name_at(&self, now: Timestamp) -> String {
        let end = self.object.name.len().min(LONGEST_NAME); // names of objects are ASCII
        let object = self.object.name.get(..end).unwrap_or_default().trim_end_matches(['.', '-']);
        format!("{object}.{:x}", now.as_nanosecond())
    }

    /// The object to create.
    pub(super) fn into_object(self, name: String, instance: &str, now: Timestamp) -> Event {
        let namespace = self.object.namespace.to_string();
        let related = self.checkpoint.map(|checkpoint| ObjectReference {
            api_version: Some(Checkpoint::api_version(&()).into_owned()),
            kind: Some(Checkpoint::kind(&()).into_owned()),
            namespace: Some(namespace.clone()),
            name: Some(checkpoint.name),
            uid: checkpoint.uid,
            ..ObjectReference::default()
        });
        Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() },
            event_time: Some(MicroTime(now)),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.to_owned()),
            action: Some(self.action.to_owned()),
            reason: Some(self.reason.to_owned()),
            note: Some(self.note),
            regarding: Some(ObjectReference {
                api_version: Some(self.kind.api_version()),
                kind: Some(self.kind.as_str().to_owned()),
                namespace: Some(namespace),
                name: Some(self.object.name.to_string()),
                uid: self.uid,
                ..ObjectReference::default()
            }),
            related,
            reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::at;

    use super::*;

    fn event(pod: &str, note: String) -> QueuedEvent {
        QueuedEvent {
            kind: ObjectKind::Pod,
            object: PodName { namespace: "default".into(), name: pod.into() },
            uid: None,
            checkpoint: None,
            is_warning: true,
            action: "Checkpoint",
            reason: "Busy",
            note,
        }
    }

    #[test]
    fn a_note_is_cut_to_what_the_api_takes() {
        let mut event = event("web", format!("a{}", "é".repeat(600)));
        event.cut_note();
        assert_eq!(event.note.len(), 1023);
    }

    #[test]
    fn the_name_of_an_event_is_valid_for_the_longest_name_of_a_pod() {
        let name = event(&format!("{}.{}", "a".repeat(235), "b".repeat(17)), String::new()).name_at(at(0));
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
        assert_eq!(event("web", String::new()).name_at(Timestamp::UNIX_EPOCH), "web.0");
    }

    #[test]
    fn an_event_names_the_kind_of_its_object() {
        for (kind, api_version, name, text) in [
            (ObjectKind::Pod, "v1", "Pod", "Event `Busy` on pod `default/web`"),
            (
                ObjectKind::Checkpoint,
                "snap.weaversoft.io/v1alpha1",
                "Checkpoint",
                "Event `Busy` on Checkpoint `default/web`",
            ),
            (ObjectKind::Snapshot, "snap.weaversoft.io/v1alpha1", "Snapshot", "Event `Busy` on Snapshot `default/web`"),
        ] {
            let event = QueuedEvent { kind, ..event("web", String::new()) };
            assert_eq!(event.to_string(), text);
            let regarding = event.into_object("web.1".to_owned(), "snapwatcher-0", at(0)).regarding.unwrap();
            assert_eq!((regarding.api_version.as_deref(), regarding.kind.as_deref()), (Some(api_version), Some(name)));
        }
    }
}
