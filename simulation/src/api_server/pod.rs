//! A pod as it is stored.

use kube::core::ObjectMeta;
use snapwatcher_api::pod::{PodFacts, WatchedPod};

use super::stored::Stored;

/// A version of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// As the watch decodes it, with its `resourceVersion`.
    pub object: WatchedPod,
    /// The facts of `object`, computed once for all readers.
    pub facts: PodFacts,
}

impl Pod {
    /// Opted in by its label.
    pub fn is_labeled(&self) -> bool {
        self.facts.labelled
    }
}

impl From<WatchedPod> for Pod {
    fn from(object: WatchedPod) -> Self {
        Self { facts: object.clone().into(), object }
    }
}

impl Stored for Pod {
    fn metadata(&self) -> &ObjectMeta {
        &self.object.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.object.metadata
    }
}
