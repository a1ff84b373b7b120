//! The calls on pods: those of SnapWatcher, which only reads, and those of users, scheduler and kubelets.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use snapwatcher_api::pod::{
    WatchedCondition, WatchedContainer, WatchedContainerState, WatchedContainerStatus, WatchedPod, WatchedRunningState,
    WatchedStatus,
};

use super::ApiServer;
use super::checkpoint_rules::in_seconds;
use super::collection::{Continue, Event, Page};
use super::pod::Pod;
use super::rejection::Rejection;
use super::stored::key;

/// The default of `terminationGracePeriodSeconds`.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

impl ApiServer {
    /// GET.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, Rejection> {
        self.pods.get(namespace, name).cloned().ok_or(Rejection::NotFound)
    }

    /// GET of a list of the labeled pods, of one namespace or of all. `limit` 0 means all pods.
    pub fn list_labeled_pods(
        &self,
        namespace: Option<&str>,
        limit: usize,
        token: Option<&Continue>,
    ) -> Result<Page<Pod>, Rejection> {
        self.remembers(token.map_or(self.revision, |token| token.revision))?;
        Ok(self.pods.page((namespace, Pod::is_labeled), limit, (self.revision, token)))
    }

    /// The labeled pods of a revision, by a list of a whole namespace.
    pub fn labeled_pods_of<'a>(&'a self, namespace: &'a str, revision: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        let pods = self.pods.within(Some(namespace));
        pods.filter(move |pod| pod.is_labeled() && pod.facts.revision() == revision)
    }

    /// All pods of a namespace, labeled or not.
    pub fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods.within(Some(namespace))
    }

    /// The events of a watch of labeled pods since a revision, of one namespace or of all. A pod that loses its label is
    /// deleted for the watch.
    pub fn labeled_pod_events(
        &self,
        namespace: Option<&str>,
        since: u64,
    ) -> Result<impl Iterator<Item = Event<Pod>>, Rejection> {
        self.remembers(since)?;
        Ok(self.pods.events(namespace, Pod::is_labeled, since))
    }

    /// POST. The server sets UID and creation time. A status is dropped; the phase is Pending.
    pub fn create_pod(&mut self, object: WatchedPod, now: Timestamp) -> Result<Arc<Pod>, Rejection> {
        let (namespace, name) = key(&object.metadata);
        self.admits(namespace)?;
        if self.pods.get(namespace, name).is_some() {
            return Err(Rejection::AlreadyExists);
        }
        let metadata = ObjectMeta {
            uid: Some(self.next_uid()),
            creation_timestamp: Some(Time(in_seconds(now))),
            deletion_timestamp: None,
            ..object.metadata
        };
        let status = WatchedStatus { phase: Some("Pending".to_owned()), ..WatchedStatus::default() };
        let revision = self.next_revision();
        Ok(self.pods.put(revision, WatchedPod { metadata, status, ..object }.into()))
    }

    /// Changes a pod in place, as an update of its object or of its status does. What the server owns of its metadata stays.
    /// A change that changes nothing keeps the `resourceVersion`.
    pub fn change_pod(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut WatchedPod),
    ) -> Result<Arc<Pod>, Rejection> {
        let stored = self.pod(namespace, name)?;
        let mut object = stored.object.clone();
        change(&mut object);
        let ObjectMeta { labels, annotations, owner_references, .. } = object.metadata;
        object.metadata = ObjectMeta { labels, annotations, owner_references, ..stored.object.metadata.clone() };
        if object == stored.object {
            return Ok(stored);
        }
        let revision = self.next_revision();
        Ok(self.pods.put(revision, object.into()))
    }

    /// Sets the status as a kubelet does: the pod runs, each of its containers has started, and it is Ready or not.
    pub fn set_pod_ready(
        &mut self,
        namespace: &str,
        name: &str,
        is_ready: bool,
        now: Timestamp,
    ) -> Result<Arc<Pod>, Rejection> {
        let now = in_seconds(now);
        self.change_pod(namespace, name, |pod| {
            pod.status.phase = Some("Running".to_owned());
            if pod.status.container_statuses.is_empty() {
                let containers = pod.spec.containers.iter().map(|container| WatchedContainerStatus {
                    name: container.name.clone(),
                    started: Some(true),
                    image_id: image_id(container),
                    container_id: Some("1".to_owned()),
                    state: Some(WatchedContainerState { running: Some(WatchedRunningState { started_at: None }) }),
                });
                pod.status.container_statuses = containers.collect();
            }
            let status = if is_ready { "True" } else { "False" };
            let conditions = &mut pod.status.conditions;
            if !conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == status) {
                conditions.retain(|condition| condition.r#type != "Ready");
                conditions.push(WatchedCondition {
                    r#type: "Ready".to_owned(),
                    status: status.to_owned(),
                    last_transition_time: Some(now),
                });
            }
        })
    }

    /// Sets the status as a kubelet does after it has restarted the containers whose image was changed.
    pub fn restart_updated_containers(&mut self, namespace: &str, name: &str) -> Result<Arc<Pod>, Rejection> {
        self.change_pod(namespace, name, |pod| {
            let statuses = pod.status.container_statuses.iter_mut();
            for (container, status) in pod.spec.containers.iter().zip(statuses) {
                let image = image_id(container);
                if status.image_id != image {
                    let instance = status.container_id.as_deref().and_then(|id| id.parse::<u64>().ok());
                    status.container_id = Some((instance.unwrap_or_default() + 1).to_string());
                    status.image_id = image;
                }
            }
        })
    }

    /// Sets the status as a kubelet does when all containers have ended for good.
    pub fn end_pod(&mut self, namespace: &str, name: &str) -> Result<Arc<Pod>, Rejection> {
        self.change_pod(namespace, name, |pod| {
            pod.status.phase = Some("Succeeded".to_owned());
            pod.status.conditions.retain(|condition| condition.r#type != "Ready");
            for status in &mut pod.status.container_statuses {
                (status.started, status.state) = (Some(false), None);
            }
        })
    }

    /// DELETE with the grace period of 30 s. A pod on a node gets its deletion time and stays until [`Self::remove_pod`]. A
    /// pod without a node, or one that has ended, is removed at once.
    pub fn delete_pod(&mut self, namespace: &str, name: &str, now: Timestamp) -> Result<(), Rejection> {
        let stored = self.pod(namespace, name)?;
        let has_ended = matches!(stored.object.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if stored.object.spec.node_name.is_none() || has_ended {
            return self.remove_pod(namespace, name, now);
        }
        if !stored.facts.terminating {
            self.set_deletion(&stored, now, GRACE);
        }
        Ok(())
    }

    /// DELETE without a grace period, as a kubelet does when the containers have ended: the pod is gone. A watch sees the
    /// deletion time first.
    pub fn remove_pod(&mut self, namespace: &str, name: &str, now: Timestamp) -> Result<(), Rejection> {
        let stored = self.pod(namespace, name)?;
        self.set_deletion(&stored, now, SignedDuration::ZERO);
        let revision = self.next_revision();
        self.pods.remove(revision, &stored.object.metadata);
        Ok(())
    }

    fn set_deletion(&mut self, stored: &Pod, now: Timestamp, grace: SignedDuration) {
        let mut object = stored.object.clone();
        let metadata = &mut object.metadata;
        // A second deletion shortens the grace period of the first.
        let first = metadata.deletion_timestamp.as_ref().map(|until| until.0);
        let before = SignedDuration::from_secs(metadata.deletion_grace_period_seconds.unwrap_or_default());
        let asked = first.and_then(|until| until.checked_sub(before).ok()).unwrap_or(now);
        metadata.deletion_timestamp = Some(Time(in_seconds(asked.saturating_add(grace).unwrap_or(asked))));
        metadata.deletion_grace_period_seconds = Some(grace.as_secs());
        let revision = self.next_revision();
        self.pods.put(revision, object.into());
    }
}

fn image_id(container: &WatchedContainer) -> Option<String> {
    container.image.as_ref().map(|image| format!("sha256:{image}"))
}
