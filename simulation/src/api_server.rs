//! An API server in memory: Checkpoints, pods and namespaces, with the answers of the real one.
//!
//! `tests/simulated_api_server` compares the answers with those of a real API server.
//!
//! All objects share one revision counter, which is each object's `resourceVersion` at its last write. Versions are shared by
//! `Arc` and are never changed. A list or watch yields the same objects as a read.
//!
//! Not simulated: finalizers, garbage collection by owner references, field managers, patches, and the generation of pods. A
//! watch is no stream: its client asks for the events since a revision, and decides itself how late it reads them.

mod checkpoint_rules;
mod checkpoints;
mod collection;
mod pod;
mod pods;
mod rejection;
mod stored;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use snapwatcher_api::checkpoint::Checkpoint;

use collection::Collection;
use stored::key;

pub use collection::{Continue, Event, EventKind, Page};
pub use pod::Pod;
pub use rejection::Rejection;

/// The simulated API server.
#[derive(Debug, Clone, Default)]
pub struct ApiServer {
    /// Of the last write.
    revision: u64,
    /// Changes up to this revision are forgotten.
    compacted: u64,
    /// How many UIDs were given.
    uids: u64,
    namespaces: Vec<Namespace>,
    checkpoints: Collection<Checkpoint>,
    pods: Collection<Pod>,
}

#[derive(Debug, Clone)]
struct Namespace {
    name: String,
    is_terminating: bool,
}

impl ApiServer {
    /// A server with these namespaces and no other objects.
    pub fn new(namespaces: &[&str]) -> Self {
        let mut server = Self::default();
        for name in namespaces {
            server.create_namespace(name);
        }
        server
    }

    /// The revision of the last write: the `resourceVersion` of a list that is made now.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Creates a namespace, if it does not exist.
    pub fn create_namespace(&mut self, name: &str) {
        if self.namespace(name).is_none() {
            self.next_revision();
            self.namespaces.push(Namespace { name: name.to_owned(), is_terminating: false });
        }
    }

    /// Whether a namespace is being deleted.
    pub fn is_terminating(&self, name: &str) -> bool {
        self.namespace(name).is_some_and(|namespace| namespace.is_terminating)
    }

    /// Begins the deletion of a namespace: from now on nothing can be created in it. Its objects stay until
    /// [`Self::remove_namespace`].
    pub fn terminate_namespace(&mut self, name: &str) {
        if let Some(namespace) = self.namespaces.iter_mut().find(|namespace| namespace.name == name) {
            namespace.is_terminating = true;
            self.next_revision();
        }
    }

    /// Ends the deletion of a namespace: its objects are deleted one by one, then the namespace.
    pub fn remove_namespace(&mut self, name: &str, now: Timestamp) -> Result<(), Rejection> {
        self.terminate_namespace(name);
        for checkpoint in self.checkpoints.within(Some(name)).cloned().collect::<Vec<_>>() {
            let revision = self.next_revision();
            self.checkpoints.remove(revision, &checkpoint.metadata);
        }
        for pod in self.pods.within(Some(name)).cloned().collect::<Vec<_>>() {
            self.remove_pod(name, key(&pod.object.metadata).1, now)?;
        }
        self.namespaces.retain(|namespace| namespace.name != name);
        Ok(())
    }

    /// Forgets the changes up to this revision, as etcd does some minutes after them. A watch that has seen less
    /// has to list again.
    pub fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision.min(self.revision));
        self.checkpoints.forget(self.compacted);
        self.pods.forget(self.compacted);
    }

    fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.name == name)
    }

    /// Whether objects can be created in this namespace.
    fn admits(&self, namespace: &str) -> Result<(), Rejection> {
        match self.namespace(namespace) {
            None => Err(Rejection::NotFound),
            Some(found) if found.is_terminating => Err(Rejection::NamespaceTerminating),
            Some(_) => Ok(()),
        }
    }

    /// Whether the changes since this revision are known.
    fn remembers(&self, revision: u64) -> Result<(), Rejection> {
        if revision < self.compacted { Err(Rejection::Expired) } else { Ok(()) }
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }
}
