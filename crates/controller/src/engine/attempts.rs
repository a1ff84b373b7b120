//! Attempts: from a Checkpoint that needs one, or a claim that is one, to the start of its operation.

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::eligibility::{self, Choice, Ineligible};
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::PodName;

use super::candidates::{self, Candidates};
use super::message::Now;
use super::record_key::RecordKey;
use super::slots::Subject;
use super::state::{Engine, Task};
use super::work_queue::WorkItem;
use crate::operation::{Attempt, Operation, ShownContainer};
use crate::record::fields;
use crate::record::plan::NextStep;

/// Message of a Checkpoint from a backup.
const FROM_BACKUP: &str = "restored from a backup without its status (label velero.io/restore-name), so nothing is requested \
                           for it. Delete it: a Ready labeled pod then gets a Checkpoint. For a manual one, create another";

/// What an unfinished Checkpoint needs.
pub(super) enum Need {
    /// Nothing before a pod changes.
    Nothing,
    /// Its status is to say why there is no attempt.
    Write {
        reason: Reason,
        message: String,
    },
    Attempt(ChosenPod),
}

/// The pod of an attempt.
pub(super) struct ChosenPod {
    pub(super) name: PodName,
    /// As a label value; `None`: the pod is not known to the watch, or not eligible by it. A live read decides.
    pub(super) node: Option<String>,
    subject: Option<Subject>,
    shown: Option<ShownContainer>,
}

impl Engine {
    /// Starts the next attempt or claim that can start. False: there is none.
    pub(super) fn start_next(&mut self, now: Now) -> bool {
        if !self.slots.has_any_free(now.boot) {
            return false;
        }
        // Taken out, since the condition reads the rest of the engine.
        let mut queue = std::mem::take(&mut self.queue);
        let next = queue.pop(
            |namespace| self.slots.taken_by(namespace, now.boot),
            |namespace, node| {
                // Before, the back-end does not know what was taken there.
                self.are_checkpoints_listed(namespace)
                    && self.breakers.allows(self.endpoint(node), now.boot)
                    && self.slots.has_free(namespace, node, now.boot)
            },
        );
        self.queue = queue;
        match next {
            None => return false,
            Some((WorkItem::Claim(key), _)) => self.start_claim_with_attempt(key, now),
            Some((WorkItem::Attempt(key), node)) => self.start_attempt(key, node.as_deref(), now),
        }
        true
    }

    fn start_attempt(&mut self, key: RecordKey, queued_node: Option<&str>, now: Now) {
        let Some(checkpoint) = self.records.unfinished(&key).map(|record| record.checkpoint.clone()) else { return };
        if self.busy.contains_key(&key) || self.written.contains_key(&key) {
            return;
        }
        // Since it was queued, another process may have begun an attempt.
        if self.next_step(&key, &checkpoint, now) != NextStep::Attempt {
            return self.look_at(&key, now);
        }
        let candidates = self.candidates(&checkpoint, now);
        let Need::Attempt(chosen) = self.need_of(&checkpoint, candidates, queued_node, now) else {
            return self.look_at(&key, now);
        };
        let ChosenPod { name, node, subject, shown } = chosen;
        if node.as_deref() != queued_node && node.is_some() {
            return self.queue.push(WorkItem::Attempt(key), node);
        }
        if !self.slots.take(&key, node.as_deref(), subject, now.boot) {
            return self.blocked.push((WorkItem::Attempt(key), node));
        }
        let endpoint = self.endpoint(node.as_deref()).map(str::to_owned);
        let permit = self.breakers.issue(endpoint.as_deref(), now.boot);
        let operation =
            Operation::Attempt(Box::new(Attempt { checkpoint: checkpoint.clone(), pod: name, node, shown }));
        self.start(Task::Attempt(checkpoint), operation, Some(key), permit);
    }

    /// Looks at the pods of a Checkpoint.
    pub(super) fn candidates(&self, checkpoint: &Checkpoint, now: Now) -> Candidates {
        let namespace = checkpoint.metadata.namespace.as_deref().unwrap_or_default();
        let target = fields::target(checkpoint);
        let candidates = match &target {
            None | Some(CheckpointTarget::Manual { .. }) => Candidates::default(),
            Some(CheckpointTarget::Pod { name, uid, container, image }) => {
                let name = PodName { namespace: namespace.into(), name: name.as_str().into() };
                let pod = self.pods.get(&name).map(|entry| &entry.pod).filter(|pod| pod.uid == *uid);
                let has_container = pod.is_some_and(|pod| pod.has_image(container, image) == Some(true));
                Candidates { has_container, first: None }
            }
            Some(target @ CheckpointTarget::Revision { workload, revision, .. }) => {
                let pods = self.pods.of_revision(namespace, revision, &workload.uid);
                let health = |node: &str| self.breakers.health(self.endpoint(Some(node)), now.boot);
                let same_endpoint = |a: &str, b: &str| self.endpoint(Some(a)) == self.endpoint(Some(b));
                candidates::of_revision(checkpoint, target, pods, health, same_endpoint, now.wall)
            }
        };
        let has_first_name = |target| checkpoint_name::is_among_first(&checkpoint.name_any(), target);
        Candidates {
            has_container: candidates.has_container && target.as_ref().is_some_and(has_first_name),
            ..candidates
        }
    }

    /// Chooses the pod of an attempt.
    pub(super) fn need_of(
        &self,
        checkpoint: &Checkpoint,
        candidates: Candidates,
        queued_node: Option<&str>,
        now: Now,
    ) -> Need {
        let namespace = checkpoint.metadata.namespace.clone().unwrap_or_default();
        let unknown = |name: &str| {
            let name = PodName { namespace: namespace.as_str().into(), name: name.into() };
            let subject = self.likely_subject(checkpoint, &name);
            let shown = self.shown(&name, subject.as_ref().map(|subject| subject.container.as_str()));
            Need::Attempt(ChosenPod { name, node: queued_node.map(str::to_owned), subject, shown })
        };
        if fields::is_from_backup(checkpoint) {
            return Need::Write { reason: Reason::FromBackup, message: FROM_BACKUP.to_owned() };
        }
        if self.records.is_excess(&RecordKey::of(checkpoint)) {
            let most = self.settings.max_manual_checkpoints;
            let message = format!(
                "namespace `{namespace}` already had {most} unfinished Checkpoints that SnapWatcher did not create. Create \
                 this one again when some of them have finished"
            );
            return Need::Write { reason: Reason::TooManyCheckpoints, message };
        }
        let target = fields::target(checkpoint);
        let name = match &target {
            Some(CheckpointTarget::Pod { name, .. } | CheckpointTarget::Manual { name, .. }) => name,
            Some(target @ CheckpointTarget::Revision { .. }) => {
                return self.need_of_revision(checkpoint, target, candidates, now);
            }
            // The operation writes what is wrong with the spec.
            None => return unknown(""),
        };
        let pod = PodName { namespace: namespace.as_str().into(), name: name.as_str().into() };
        let Some(target) = &target else { return Need::Nothing };
        match self.known_pod(&pod, target, now) {
            Ok(chosen) => Need::Attempt(chosen),
            Err(cause) if fields::is_shown(checkpoint, cause.reason(), &cause.message(&pod, target)) => Need::Nothing,
            Err(_) => unknown(name),
        }
    }

    fn need_of_revision(
        &self,
        checkpoint: &Checkpoint,
        target: &CheckpointTarget,
        candidates: Candidates,
        now: Now,
    ) -> Need {
        let CheckpointTarget::Revision { workload, revision, .. } = target else { return Need::Nothing };
        if let Some(chosen) = candidates.first.and_then(|pod| self.known_pod(&pod, target, now).ok()) {
            return Need::Attempt(chosen);
        }
        let tried = checkpoint.status.as_ref().map_or(0, |status| status.tried_pods.len());
        let another = match tried {
            0 => "a Ready pod".to_owned(),
            1 => "another Ready pod (1 was tried)".to_owned(),
            _ => format!("another Ready pod ({tried} were tried)"),
        };
        let message = format!("waiting for {another} of {} `{}`, revision {revision}", workload.kind, workload.name);
        if fields::is_shown(checkpoint, Reason::NotReady, &message) || !self.all_are_listed(now) {
            return Need::Nothing;
        }
        Need::Write { reason: Reason::NotReady, message }
    }

    /// Pod and container of an attempt whose pod is not eligible by the watch. The live read can find it eligible.
    fn likely_subject(&self, checkpoint: &Checkpoint, name: &PodName) -> Option<Subject> {
        let pod = self.pods.get(name).map(|entry| &entry.pod);
        let uid = pod.map(|pod| pod.uid.as_str()).or_else(|| fields::pod_uid(checkpoint))?;
        let options = pod.and_then(|pod| pod.options.as_ref().ok());
        let chosen = || options.and_then(|options| options.containers.first()).map(String::as_str);
        let container = fields::container(checkpoint).or_else(chosen)?;
        let (namespace, container) = (name.namespace.to_string(), container.to_owned());
        Some(Subject { namespace, pod_uid: uid.to_owned(), container })
    }

    /// What the watch shows of a container.
    fn shown(&self, pod: &PodName, container: Option<&str>) -> Option<ShownContainer> {
        let entry = self.pods.get(pod)?;
        let container = container?;
        let image = entry.pod.image_digest(container)?;
        Some(ShownContainer { image, outdated: entry.outdated_instance(container) })
    }

    fn known_pod(&self, name: &PodName, target: &CheckpointTarget, now: Now) -> Result<ChosenPod, Ineligible> {
        let pod = self.pods.get(name).map(|entry| &entry.pod);
        let containers = eligibility::check(pod, Choice::Target(target), now.wall)?;
        let pod = pod.ok_or(Ineligible::Gone)?;
        let node = checkpoint_name::label_value(pod.node.as_deref().unwrap_or_default());
        let container = containers.into_iter().next();
        let shown = self.shown(name, container.as_deref());
        let (namespace, pod_uid) = (name.namespace.to_string(), pod.uid.clone());
        let subject = container.map(|container| Subject { namespace, pod_uid, container });
        Ok(ChosenPod { name: name.clone(), node: Some(node), subject, shown })
    }
}
