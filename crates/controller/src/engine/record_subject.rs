//! What an unfinished Checkpoint is about, so that the event of a pod concerns few of them.

use std::sync::Arc;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::PodName;

use crate::record::first_attempt;

/// What a Checkpoint is about, in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RecordSubject {
    namespace: Arc<str>,
    about: About,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum About {
    /// The pod of this name.
    Pod(Arc<str>),
    /// All pods of this revision.
    Revision(Arc<str>),
    /// An attempt on the pod of this name, which only an annotation shows. Whether its slot is taken depends on the pod.
    Attempt(Arc<str>),
}

impl RecordSubject {
    pub(super) fn pod(pod: &PodName) -> Self {
        Self { namespace: pod.namespace.clone(), about: About::Pod(pod.name.clone()) }
    }

    pub(super) fn revision(namespace: &Arc<str>, revision: &str) -> Self {
        Self { namespace: namespace.clone(), about: About::Revision(revision.into()) }
    }

    pub(super) fn attempt(pod: &PodName) -> Self {
        Self { namespace: pod.namespace.clone(), about: About::Attempt(pod.name.clone()) }
    }

    /// All subjects of a Checkpoint. The pod of the last attempt is one too.
    pub(super) fn all_of(checkpoint: &Checkpoint) -> impl Iterator<Item = Self> {
        let namespace: Arc<str> = checkpoint.namespace().unwrap_or_default().into();
        let named = checkpoint.spec.pod.as_ref().map(|pod| pod.name.as_str());
        let attempted = checkpoint.status.as_ref().and_then(|status| status.pod.as_ref()).map(|pod| pod.name.as_str());
        let annotated = attempted.filter(|_| first_attempt::is_in(checkpoint));
        let pods = [named, attempted].into_iter().flatten().map(|name| About::Pod(name.into()));
        let revision = checkpoint.spec.revision.as_deref().map(|revision| About::Revision(revision.into()));
        let about: Vec<About> = pods.chain(revision).chain(annotated.map(|name| About::Attempt(name.into()))).collect();
        about.into_iter().map(move |about| Self { namespace: namespace.clone(), about })
    }
}
