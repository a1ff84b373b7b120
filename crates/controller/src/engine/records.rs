//! The events of Checkpoints, and what an unfinished Checkpoint needs.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::pod::PodFacts;

use super::attempts::Need;
use super::endpoint_breakers::Permit;
use super::message::{Now, Report};
use super::operation_results::RETRY_AFTER;
use super::pod_entry::PodEntry;
use super::record_key::RecordKey;
use super::record_table::{Reclaim, RecordChange, attempt_start};
use super::state::{Engine, Running, Task};
use super::timers::Timer;
use super::work_queue::WorkItem;
use crate::operation::{Operation, OperationId};
use crate::record::plan::{AttemptKnowledge, NextStep, plan};
use crate::record::{fields, first_attempt};

/// How many operations that only write a status run at once. People can create many Checkpoints that need one.
const MAX_WRITES: usize = 16;
/// How many of them may be of one namespace. An admission webhook there can delay each for long.
const MAX_WRITES_OF_NAMESPACE: usize = MAX_WRITES / 2;

/// A Checkpoint that needs a step is looked at again after this time, even without an event.
const RECHECK_AFTER: Duration = Duration::from_secs(300);

impl Engine {
    pub(super) fn checkpoint_event(&mut self, scope: usize, event: Event<Checkpoint>, now: Now) {
        let longest = self.settings.operations.longest_attempt();
        let mut is_ignored = false;
        let event = event.modify(|checkpoint| {
            first_attempt::trim_metadata(checkpoint);
            is_ignored = !first_attempt::read(checkpoint, longest);
            first_attempt::drop_text(checkpoint);
        });
        if is_ignored {
            self.report(Report::AttemptIgnored);
        }
        match self.records.apply(scope, event, now.boot) {
            RecordChange::None => {}
            RecordChange::Updated(checkpoint) => self.checkpoint_updated(&checkpoint, now),
            RecordChange::Deleted(key, reclaim) => {
                self.checkpoint_gone(&key, now);
                self.reclaim(&reclaim, now);
            }
            RecordChange::Listed { gone, reclaim } => {
                let scope = self.settings.scopes.get(scope);
                let is_listed = |key: &RecordKey| scope.is_some_and(|scope| scope.holds(key.namespace()));
                let (records, busy) = (&self.records, &self.busy);
                self.sent.retain(|key, _| !is_listed(key) || busy.contains_key(key) || records.contains(key));
                self.written.retain(|key, _| !is_listed(key) || records.contains(key));
                // Finished ones too, on which an operation still works. A Checkpoint that is being created may not be listed yet.
                let operations = &self.operations;
                let is_of_claim =
                    |id: &OperationId| operations.get(id).is_some_and(|running| matches!(running.task, Task::Claim(_)));
                let busy_and_gone =
                    busy.iter().filter(|(key, id)| is_listed(key) && !records.contains(key) && !is_of_claim(id));
                let busy_and_gone: Vec<_> = busy_and_gone.map(|(key, _)| key.clone()).collect();
                self.ended.retain(|key, _| !busy_and_gone.contains(key));
                self.gone.extend(busy_and_gone);
                for key in gone {
                    self.checkpoint_gone(&key, now);
                }
                self.drop_outcomes();
                self.claims.extend(std::mem::take(&mut self.unlisted));
                self.reclaim(&reclaim, now);
                self.look_at_all(now);
            }
        }
    }

    /// The first listing of the pods shows which slots count.
    pub(super) fn pods_listed(&mut self, scope: usize, now: Now) {
        if self.pods.is_newly_listed(scope) {
            self.look_at_all(now);
        }
    }

    fn look_at_all(&mut self, now: Now) {
        for key in self.records.unfinished_keys() {
            self.look_at(&key, now);
        }
    }

    fn checkpoint_updated(&mut self, checkpoint: &Arc<Checkpoint>, now: Now) {
        let key = RecordKey::of(checkpoint);
        if self.written.get(&key).is_some_and(|written| version(checkpoint).is_none_or(|shown| shown >= *written)) {
            self.written.remove(&key);
        }
        self.report(Report::CheckpointSeen(checkpoint.clone()));
        if checkpoint.phase().is_final() {
            self.timers.cancel(&Timer::Record(key.clone()));
            self.forget_work(&key);
            self.sent.remove(&key);
            if self.busy.contains_key(&key) {
                self.ended.insert(key.clone(), checkpoint.clone());
            }
            self.observe_slot(&key, checkpoint, now);
        } else {
            self.ended.remove(&key);
        }
        self.look_at(&key, now);
    }

    fn checkpoint_gone(&mut self, key: &RecordKey, now: Now) {
        self.forget_work(key);
        self.written.remove(key);
        self.sent.remove(key);
        self.ended.remove(key);
        self.timers.cancel(&Timer::Record(key.clone()));
        if self.busy.contains_key(key) {
            self.gone.insert(key.clone());
        } else {
            self.slots.observe(key, None, now);
        }
    }

    /// Nothing waits for a slot any more.
    fn forget_work(&mut self, key: &RecordKey) {
        let item = WorkItem::Attempt(key.clone());
        self.queue.remove(&item);
        self.blocked.retain(|(blocked, _)| *blocked != item);
    }

    fn reclaim(&mut self, reclaim: &Reclaim, now: Now) {
        let actions = match reclaim {
            Reclaim::None => return,
            Reclaim::Pod { name, uid } => self.pods.reclaim_pod(name, uid, now),
            Reclaim::Revision { namespace, revision, pod } => {
                let is_of_revision = |pod: &PodFacts| pod.revision() == revision.as_str();
                let is_pod = |entry: &PodEntry| pod.as_ref() == Some(&entry.pod.uid) || is_of_revision(&entry.pod);
                self.pods.reclaim_in(namespace, is_pod, now)
            }
            Reclaim::Scope(scope) => self.pods.reclaim(|entry| entry.scope == *scope, now),
        };
        self.take(actions, now);
    }

    /// What the watch shows counts, unless an operation works on the Checkpoint or has written a newer version. Of attempts in
    /// annotations alone, which people can write, only those hold slots that can be true.
    pub(super) fn observe_slot(&mut self, key: &RecordKey, checkpoint: &Checkpoint, now: Now) {
        if self.busy.contains_key(key) || self.written.contains_key(key) {
            return;
        }
        let counts = !first_attempt::is_in(checkpoint) || self.can_be_true(key, checkpoint, now);
        self.slots.observe(key, Some(checkpoint).filter(|_| counts), now);
    }

    /// Whether the attempt in an annotation can be one of its pod, which runs, and of its holder: this process knows what it has
    /// sent, and a leader before it has written nothing after its slots have expired.
    fn can_be_true(&self, key: &RecordKey, checkpoint: &Checkpoint, now: Now) -> bool {
        let holder = checkpoint.status.as_ref().and_then(|status| status.holder.as_deref());
        let AttemptKnowledge { age, was_sent } = self.attempt_knowledge(key, checkpoint, now);
        let is_of_holder = if holder == Some(self.settings.operations.holder.to_string().as_str()) {
            was_sent
        } else {
            now.boot.saturating_sub(age) < self.stale_slots_expire_at
        };
        let pod = fields::pod_name(checkpoint).and_then(|name| self.pods.get(&name));
        is_of_holder && pod.is_some_and(|entry| is_attempt_of(checkpoint, &entry.pod))
    }

    /// Whether only an annotation shows the attempt of a Checkpoint, and its pod does not exist.
    fn is_of_no_pod(&self, checkpoint: &Checkpoint) -> bool {
        let pod = fields::pod_name(checkpoint).and_then(|name| self.pods.get(&name));
        let is_of_pod = pod.is_some_and(|entry| is_attempt_of(checkpoint, &entry.pod));
        first_attempt::is_in(checkpoint) && self.are_listed() && !is_of_pod
    }

    /// What this process knows of the attempt in a Checkpoint.
    fn attempt_knowledge(&self, key: &RecordKey, checkpoint: &Checkpoint, now: Now) -> AttemptKnowledge {
        let start = attempt_start(checkpoint);
        let was_sent = start.is_some() && self.sent.get(key).copied() == start;
        let age = self.records.unfinished(key).map(|record| record.age(now.boot)).unwrap_or_default();
        AttemptKnowledge { age, was_sent }
    }

    /// What an unfinished Checkpoint needs, by what is known of its attempt.
    pub(super) fn next_step(&self, key: &RecordKey, checkpoint: &Checkpoint, now: Now) -> NextStep {
        let settings = &self.settings.operations;
        let knowledge = self.attempt_knowledge(key, checkpoint, now);
        plan(checkpoint, &settings.holder, &settings.policy, knowledge, now.wall)
    }

    /// Decides the next step of an unfinished Checkpoint.
    pub(super) fn look_at(&mut self, key: &RecordKey, now: Now) {
        if self.busy.contains_key(key) || self.written.contains_key(key) {
            return;
        }
        let Some(record) = self.records.unfinished(key) else { return };
        let (checkpoint, resumes_at) = (record.checkpoint.clone(), record.resumes_at);
        self.observe_slot(key, &checkpoint, now);
        if !self.leads || self.is_stopping {
            return;
        }
        // Its owner may change it as often as they like.
        if now.boot < resumes_at {
            return self.timers.set(Timer::Record(key.clone()), resumes_at);
        }
        self.look_count += 1;
        let candidates = self.candidates(&checkpoint, now);
        // Until everything is listed, a pod can be missing, and an older Checkpoint.
        if self.are_listed() {
            self.records.count(key, candidates.has_container);
        }
        let step = match self.next_step(key, &checkpoint, now) {
            // An attempt that this process never sent is made up, so the Checkpoint is ended as one without an attempt.
            NextStep::Cancel if self.records.is_excess(key) => NextStep::Attempt,
            // Nor is one of a pod that does not exist waited for: people could fill the memory with them meanwhile.
            NextStep::After(_) if self.records.is_excess(key) && self.is_of_no_pod(&checkpoint) => NextStep::Attempt,
            step => step,
        };
        let is_write = matches!(step, NextStep::MarkInterrupted | NextStep::Cancel);
        if is_write && !self.may_write(key) {
            return self.timers.set(Timer::Record(key.clone()), now.boot + RETRY_AFTER);
        }
        match step {
            NextStep::Rest => {}
            NextStep::After(wait) => self.timers.set(Timer::Record(key.clone()), now.boot + wait),
            NextStep::Attempt => {
                self.timers.set(Timer::Record(key.clone()), now.boot + RECHECK_AFTER);
                match self.need_of(&checkpoint, candidates, None, now) {
                    Need::Attempt(chosen) => self.queue.push(WorkItem::Attempt(key.clone()), chosen.node),
                    // The reason NoResponse, which the write replaces, keeps the slot over a change of the leader.
                    Need::Write { .. } if let Some(until) = self.slots.held_until(key, now.boot) => {
                        self.timers.set(Timer::Record(key.clone()), until);
                    }
                    Need::Write { .. } if !self.may_write(key) => {
                        self.timers.set(Timer::Record(key.clone()), now.boot + RETRY_AFTER);
                    }
                    Need::Write { reason, message } if self.may_write_unmet(reason, now) => {
                        let operation = Operation::WriteUnmet { checkpoint: checkpoint.clone(), reason, message };
                        self.start(Task::WriteUnmet(checkpoint), operation, Some(key.clone()), Permit::default());
                    }
                    Need::Nothing | Need::Write { .. } => {}
                }
            }
            NextStep::MarkInterrupted => {
                let task = Task::MarkInterrupted(checkpoint.clone());
                self.start(task, Operation::MarkInterrupted(checkpoint), Some(key.clone()), Permit::default());
            }
            NextStep::Cancel => {
                let operation = Operation::Cancel(checkpoint.clone());
                self.start(Task::Cancel(checkpoint), operation, Some(key.clone()), Permit::default());
            }
        }
    }

    /// Whether the status of a Checkpoint that is not attempted may be written. One beyond the limit of its namespace is ended while
    /// the program is suspended, too: it takes memory.
    fn may_write_unmet(&self, reason: Reason, now: Now) -> bool {
        self.may_attempt(now) || reason == Reason::TooManyCheckpoints && !self.is_outage(now) && self.are_listed()
    }

    /// Whether an operation that only writes the status of this Checkpoint may start.
    fn may_write(&self, key: &RecordKey) -> bool {
        let is_write = |task: &Task| matches!(task, Task::WriteUnmet(_) | Task::MarkInterrupted(_) | Task::Cancel(_));
        let running = self.operations.values().filter(|running| is_write(&running.task));
        let of_namespace =
            |running: &&Running| running.record.as_ref().is_some_and(|of| of.namespace() == key.namespace());
        running.clone().count() < MAX_WRITES && running.filter(of_namespace).count() < MAX_WRITES_OF_NAMESPACE
    }

    /// An operation has written this version. Until the watch shows it, what the watch shows is outdated.
    pub(super) fn wrote(&mut self, key: &RecordKey, checkpoint: &Checkpoint, now: Now) {
        let Some(written) = version(checkpoint) else { return };
        if self.ended.get(key).and_then(|ended| version(ended)).is_some_and(|ended| ended < written) {
            self.ended.remove(key);
        }
        // Then the watch shows nothing more of it.
        if self.gone.contains(key) || self.records.is_finished(key) {
            return;
        }
        let shown = self.records.unfinished(key).and_then(|record| version(&record.checkpoint));
        if shown.is_none_or(|shown| shown < written) {
            self.written.insert(key.clone(), written);
        }
        // It can have been deleted while the watch was interrupted, before the end of the operation. Then nothing shows it.
        if shown.is_none() {
            self.timers.set(Timer::Record(key.clone()), now.boot + RECHECK_AFTER);
        }
    }

    /// Keeps nothing of a Checkpoint that the watch still does not show, long after the last write.
    pub(super) fn forget_unshown(&mut self, key: &RecordKey) {
        let is_unknown = !self.records.contains(key) && !self.busy.contains_key(key);
        if is_unknown && self.written.remove(key).is_some() {
            self.sent.remove(key);
            self.drop_outcomes();
        }
    }
}

/// A later write of the same object has a higher number. Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>,
/// and KEP-5504, which makes the comparison part of the API. `None` for a server that has other versions.
fn version(checkpoint: &Checkpoint) -> Option<u64> {
    checkpoint.resource_version()?.parse().ok()
}

/// Whether the attempt in an annotation can be one of that pod. The revision of a pod can change during its attempt. Its image
/// can too, but within a second the attempt is written to the status.
fn is_attempt_of(checkpoint: &Checkpoint, pod: &PodFacts) -> bool {
    let node = checkpoint.status.as_ref().and_then(|status| status.pod.as_ref()?.node.as_deref());
    let container = fields::container(checkpoint).and_then(|name| pod.container(name));
    let image = checkpoint.status.as_ref().and_then(|status| status.image.as_deref());
    let is_running = pod.running && node.is_some() && node == pod.node.as_deref();
    is_running
        && fields::pod_uid(checkpoint) == Some(pod.uid.as_str())
        && container.is_some_and(|container| image == Some(&*container.image))
}
