//! The calls on Checkpoints.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use kube::core::params::Preconditions;
use snapwatcher_api::checkpoint::Checkpoint;

use super::ApiServer;
use super::checkpoint_rules::{as_sent, check_metadata, check_spec, check_status, in_seconds};
use super::collection::{Continue, Event, Page};
use super::rejection::Rejection;
use super::stored::key;

impl ApiServer {
    /// POST. The server sets UID, generation and creation time. A status is dropped.
    pub fn create_checkpoint(&mut self, object: Checkpoint, now: Timestamp) -> Result<Arc<Checkpoint>, Rejection> {
        let (namespace, name) = key(&object.metadata);
        self.admits(namespace)?;
        check_metadata(&object.metadata)?;
        check_spec(&object.spec)?;
        if object.metadata.resource_version.is_some() {
            return Err(Rejection::VersionInCreation);
        }
        if self.checkpoints.get(namespace, name).is_some() {
            return Err(Rejection::AlreadyExists);
        }
        let metadata = ObjectMeta {
            uid: Some(self.next_uid()),
            generation: Some(1),
            creation_timestamp: Some(Time(in_seconds(now))),
            ..object.metadata
        };
        let revision = self.next_revision();
        Ok(self.checkpoints.put(revision, Checkpoint { metadata, status: None, ..object }))
    }

    /// GET.
    pub fn checkpoint(&self, namespace: &str, name: &str) -> Result<Arc<Checkpoint>, Rejection> {
        self.checkpoints.get(namespace, name).cloned().ok_or(Rejection::NotFound)
    }

    /// PUT of the status: of the object only key, UID, `resourceVersion` and status are read.
    pub fn replace_status(&mut self, object: Checkpoint) -> Result<Arc<Checkpoint>, Rejection> {
        let stored = self.to_replace(&object.metadata)?;
        let status = object.status.map(as_sent);
        if let Some(status) = &status {
            check_status(status)?;
        }
        if stored.status == status {
            return Ok(stored);
        }
        let changed = Checkpoint { metadata: stored.metadata.clone(), spec: stored.spec.clone(), status };
        let revision = self.next_revision();
        Ok(self.checkpoints.put(revision, changed))
    }

    /// PUT of the object: its labels and annotations are stored, its status is ignored. The spec can't be changed.
    pub fn replace_checkpoint(&mut self, object: Checkpoint) -> Result<Arc<Checkpoint>, Rejection> {
        let stored = self.to_replace(&object.metadata)?;
        check_metadata(&object.metadata)?;
        check_spec(&object.spec)?;
        if stored.spec != object.spec {
            return Err(Rejection::Invalid("spec is immutable: delete this Checkpoint and create another"));
        }
        let ObjectMeta { labels, annotations, .. } = object.metadata;
        let metadata = ObjectMeta { labels, annotations, ..stored.metadata.clone() };
        if metadata == stored.metadata {
            return Ok(stored);
        }
        let changed = Checkpoint { metadata, spec: object.spec, status: stored.status.clone() };
        let revision = self.next_revision();
        Ok(self.checkpoints.put(revision, changed))
    }

    /// DELETE, under these preconditions.
    pub fn delete_checkpoint(
        &mut self,
        namespace: &str,
        name: &str,
        preconditions: &Preconditions,
    ) -> Result<(), Rejection> {
        let stored = self.checkpoint(namespace, name)?;
        let differs = |wanted: &Option<String>, found: &Option<String>| wanted.is_some() && wanted != found;
        let Preconditions { uid, resource_version } = preconditions;
        if differs(uid, &stored.metadata.uid) || differs(resource_version, &stored.metadata.resource_version) {
            return Err(Rejection::Conflict);
        }
        let revision = self.next_revision();
        self.checkpoints.remove(revision, &stored.metadata);
        Ok(())
    }

    /// GET of a list, of one namespace or of all. `limit` 0 means all objects.
    pub fn list_checkpoints(
        &self,
        namespace: Option<&str>,
        limit: usize,
        token: Option<&Continue>,
    ) -> Result<Page<Checkpoint>, Rejection> {
        self.remembers(token.map_or(self.revision, |token| token.revision))?;
        Ok(self.checkpoints.page((namespace, |_| true), limit, (self.revision, token)))
    }

    /// The events of a watch since a revision, of one namespace or of all.
    pub fn checkpoint_events(
        &self,
        namespace: Option<&str>,
        since: u64,
    ) -> Result<impl Iterator<Item = Event<Checkpoint>>, Rejection> {
        self.remembers(since)?;
        Ok(self.checkpoints.events(namespace, |_| true, since))
    }

    /// The stored version that a PUT of this object replaces.
    fn to_replace(&self, sent: &ObjectMeta) -> Result<Arc<Checkpoint>, Rejection> {
        let (namespace, name) = key(sent);
        let stored = self.checkpoints.get(namespace, name).ok_or(Rejection::NotFound)?;
        // Before the resourceVersion, so that a PUT with a foreign UID and without a version is a conflict.
        if sent.uid.is_some() && sent.uid != stored.metadata.uid {
            return Err(Rejection::Conflict);
        }
        match &sent.resource_version {
            None => Err(Rejection::Invalid("metadata.resourceVersion must be specified for an update")),
            Some(version) if Some(version) != stored.metadata.resource_version.as_ref() => Err(Rejection::Conflict),
            Some(_) => Ok(Arc::clone(stored)),
        }
    }
}
