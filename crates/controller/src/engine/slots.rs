//! Limits how many attempts run at once, in all, on one node and in one namespace: a checkpoint freezes its container and loads its
//! node, and an attempt without a response holds its slot for minutes.
//!
//! A slot is held by an operation of this process until the back-end has responded (and for its container until the watch
//! shows the outcome, since a claim asks the watch for successes), and by a Checkpoint that is InProgress,
//! of any holder, until its deadline. After NoResponse it is held longer, since the back-end may still be working. The clocks
//! that wrote a deadline and that read it can be wrong, so no slot is held for longer than an attempt can take after it was
//! first seen.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::outcome::Reason;

use super::message::Now;
use super::record_key::RecordKey;
use super::slot_share::{NamespaceSlots, counted, share};
use crate::record::{fields, first_attempt};

fn uncount(annotated: &mut HashMap<Subject, usize>, slot: &Slot) {
    let Some(subject) = slot.subject.as_ref().filter(|_| slot.is_in_annotation) else { return };
    if let Some(count) = annotated.get_mut(subject) {
        *count -= 1;
        if *count == 0 {
            annotated.remove(subject);
        }
    }
}

/// The limits. Only the leader starts attempts, so they hold for the cluster.
#[derive(Debug, Clone, Copy)]
pub struct ConcurrencyLimits {
    pub concurrent: usize,
    pub per_node: usize,
    /// How long a back-end may still work after the deadline of a request to which it never responded.
    pub response_timeout: Duration,
}

/// The container of an attempt. Without the namespace, a Checkpoint could hold a container of another one by a made-up UID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) pod_uid: String,
    pub(super) container: String,
}

/// All slots, by Checkpoint. Nodes are named as in labels, see [`checkpoint_name::label_value`].
pub(super) struct Slots {
    limits: ConcurrencyLimits,
    /// How long an attempt of this process holds its slot at most.
    longest: Duration,
    held: HashMap<RecordKey, Slot>,
    /// How many slots of a container are in annotations. People can write any number of them.
    annotated: HashMap<Subject, usize>,
    /// There are pods of several namespaces.
    is_shared: bool,
    /// Since [`Self::take_changed`].
    has_changed: bool,
}

/// The slot of one Checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slot {
    by: SlotHolder,
    node: Option<String>,
    subject: Option<Subject>,
    /// By an attempt that only an annotation shows, which people can write.
    is_in_annotation: bool,
}

/// What holds a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SlotHolder {
    /// An operation of this process, whatever the Checkpoint says.
    #[default]
    Operation,
    /// The Checkpoint.
    Checkpoint(ObservedAttempt),
    /// An operation whose back-end has responded, for its container alone: the watch does not show the outcome yet.
    Outcome,
}

/// An attempt in a Checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ObservedAttempt {
    /// It distinguishes the attempt from other ones of the Checkpoint.
    deadline: Timestamp,
    /// When it was first seen, by the clock since boot.
    since: Duration,
    /// Until when it has the slot, by the clock since boot.
    until: Duration,
    /// Until when it would have the slot if the clocks were right.
    stated: Timestamp,
}

impl Slot {
    fn is_held(&self, now: Duration) -> bool {
        match self.by {
            SlotHolder::Operation => true,
            SlotHolder::Checkpoint(attempt) => attempt.until > now,
            SlotHolder::Outcome => false,
        }
    }

    /// Whether no other attempt of the same container may start.
    fn holds_subject(&self, now: Duration) -> bool {
        self.is_held(now) || self.by == SlotHolder::Outcome
    }
}

impl Slots {
    pub(super) fn new(limits: ConcurrencyLimits, longest: Duration) -> Self {
        Self { limits, longest, held: HashMap::new(), annotated: HashMap::new(), is_shared: false, has_changed: false }
    }

    /// Whether a slot was taken or given back since the last call, so that work that waits for one may start. A slot that expires is
    /// reported by [`Self::drop_expired`].
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Whether there are pods of several namespaces.
    pub(super) fn share(&mut self, is_shared: bool) {
        self.has_changed |= self.is_shared != is_shared;
        self.is_shared = is_shared;
    }

    fn insert(&mut self, key: &RecordKey, slot: Slot) {
        if self.held.get(key) == Some(&slot) {
            return;
        }
        self.remove(key);
        if let Some(subject) = slot.subject.as_ref().filter(|_| slot.is_in_annotation) {
            *self.annotated.entry(subject.clone()).or_default() += 1;
        }
        self.has_changed = true;
        self.held.insert(key.clone(), slot);
    }

    fn remove(&mut self, key: &RecordKey) {
        if let Some(slot) = self.held.remove(key) {
            self.has_changed = true;
            uncount(&mut self.annotated, &slot);
        }
    }

    fn retain(&mut self, is_kept: impl Fn(&RecordKey, &Slot) -> bool) {
        let Self { held, annotated, has_changed, .. } = self;
        held.retain(|key, slot| {
            let is_kept = is_kept(key, slot);
            if !is_kept {
                *has_changed = true;
                uncount(annotated, slot);
            }
            is_kept
        });
    }

    /// Whether fewer slots are taken than the limit for all namespaces and nodes allows.
    pub(super) fn has_any_free(&self, now: Duration) -> bool {
        self.taken(self.held(now)) < self.limits.concurrent
    }

    /// Whether an attempt of that namespace on that node (`None`: not known yet) can take a slot now.
    pub(super) fn has_free(&self, namespace: &str, node: Option<&str>, now: Duration) -> bool {
        // An attempt whose node is not known yet may be of the same container.
        let on_node = || {
            let made_up = self.namespaces_with_made_up_attempts(now);
            let is_possible = |key: &RecordKey, slot: &Slot| {
                slot.node.as_deref() == node && !(slot.is_in_annotation && made_up.contains(key.namespace()))
            };
            self.taken(self.held(now).filter(|(key, slot)| is_possible(key, slot)))
        };
        self.has_any_free(now)
            && self.taken_by(namespace, now) < self.most_of(namespace, now)
            && (node.is_none() || on_node() < self.limits.per_node)
    }

    /// Namespaces with attempts in annotations on more nodes than a leader has attempts at once. Some are made up, and they hold no
    /// node: they could hold each node of the cluster.
    fn namespaces_with_made_up_attempts(&self, now: Duration) -> HashSet<&str> {
        let mut nodes: HashMap<&str, HashSet<&str>> = HashMap::new();
        for (key, slot) in self.held(now).filter(|(_, slot)| slot.is_in_annotation) {
            nodes.entry(key.namespace()).or_default().extend(slot.node.as_deref());
        }
        let limit = self.limits.concurrent;
        nodes.into_iter().filter(|(_, nodes)| nodes.len() > limit).map(|(namespace, _)| namespace).collect()
    }

    /// How many slots the Checkpoints of a namespace may have beside those of the other namespaces.
    fn most_of(&self, namespace: &str, now: Duration) -> usize {
        let others = || self.taken(self.held(now).filter(|(key, _)| key.namespace() != namespace));
        if self.is_shared { share(self.limits.concurrent, others()) } else { self.limits.concurrent }
    }

    /// How many slots the Checkpoints of a namespace have.
    pub(super) fn taken_by(&self, namespace: &str, now: Duration) -> usize {
        self.taken(self.held(now).filter(|(key, _)| key.namespace() == namespace))
    }

    fn held(&self, now: Duration) -> impl Iterator<Item = (&RecordKey, &Slot)> + Clone {
        self.held.iter().filter(move |(_, slot)| slot.is_held(now))
    }

    /// Whether an attempt of that container has a slot, for another Checkpoint than `except`.
    pub(super) fn has_subject(&self, subject: &Subject, except: &RecordKey, now: Duration) -> bool {
        let mut others = self.held.iter().filter(|(key, _)| *key != except);
        others.any(|(_, slot)| slot.holds_subject(now) && slot.subject.as_ref() == Some(subject))
    }

    /// Until when a Checkpoint has the slot of its last request, by the clock since boot; `None`: it has none.
    pub(super) fn held_until(&self, key: &RecordKey, now: Duration) -> Option<Duration> {
        match self.held.get(key)?.by {
            SlotHolder::Checkpoint(attempt) => Some(attempt.until).filter(|until| *until > now),
            SlotHolder::Operation | SlotHolder::Outcome => None,
        }
    }

    /// Takes a slot for an operation. False: none is free, another Checkpoint of the same container has one, or this one still has
    /// that of a request without a response.
    pub(super) fn take(
        &mut self,
        key: &RecordKey,
        node: Option<&str>,
        subject: Option<Subject>,
        now: Duration,
    ) -> bool {
        let has_subject = subject.as_ref().is_some_and(|subject| self.has_subject(subject, key, now));
        let has_own = self.held.get(key).is_some_and(|slot| slot.is_held(now));
        if has_own || has_subject || !self.has_free(key.namespace(), node, now) {
            return false;
        }
        let (by, node) = (SlotHolder::Operation, node.map(str::to_owned));
        let slot = Slot { by, node, subject, is_in_annotation: false };
        self.insert(key, slot);
        true
    }

    /// The back-end has responded to the operation. `deadline` is set if it may still be working, although it has not.
    pub(super) fn responded(&mut self, key: &RecordKey, deadline: Option<Timestamp>, now: Now) {
        let attempt = deadline.map(|deadline| {
            let latest = now.boot.saturating_add(self.longest);
            let stated = later(deadline, self.limits.response_timeout);
            ObservedAttempt { deadline, since: now.boot, until: now.boot_at(stated).min(latest), stated }
        });
        if let Some(slot) = self.held.get_mut(key) {
            slot.by = attempt.map_or(SlotHolder::Outcome, SlotHolder::Checkpoint);
            self.has_changed = true;
        }
    }

    /// The operation has ended.
    pub(super) fn release(&mut self, key: &RecordKey) {
        if self.held.get(key).is_some_and(|slot| slot.by == SlotHolder::Operation) {
            self.remove(key);
        }
    }

    /// Outcomes that need not be waited for any more: the watch shows them, or there will be none.
    pub(super) fn drop_outcomes(&mut self, is_awaited: impl Fn(&RecordKey) -> bool) {
        self.retain(|key, slot| slot.by != SlotHolder::Outcome || is_awaited(key));
    }

    /// Takes over a Checkpoint on which no operation of this process works. `None`: it was deleted.
    pub(super) fn observe(&mut self, key: &RecordKey, checkpoint: Option<&Checkpoint>, now: Now) {
        let slot = checkpoint.and_then(|checkpoint| self.slot_of(key, checkpoint, now));
        match slot.filter(|slot| !slot.is_in_annotation || !self.has_enough_of(slot, key)) {
            Some(slot) => self.insert(key, slot),
            None => self.remove(key),
        }
    }

    /// Whether other annotations already show as many attempts of this container as there can be in truth: one of its pod and one
    /// of its revision.
    fn has_enough_of(&self, slot: &Slot, key: &RecordKey) -> bool {
        let Some(subject) = &slot.subject else { return false };
        let own = self.held.get(key).filter(|own| own.is_in_annotation && own.subject.as_ref() == Some(subject));
        self.annotated.get(subject).copied().unwrap_or_default() >= 2 + usize::from(own.is_some())
    }

    /// Forgets the slots of Checkpoints, but not those of operations, nor those of Checkpoints on which an operation works.
    pub(super) fn forget_checkpoints(&mut self, is_busy: impl Fn(&RecordKey) -> bool) {
        self.retain(|key, slot| slot.by == SlotHolder::Operation || is_busy(key));
    }

    /// Drops the slots that have expired. False: none has after `last`, by the clock since boot. If a clock was wrong, the
    /// attempt stays known for as long as it states, so that it does not count as another one when it is seen again.
    pub(super) fn drop_expired(&mut self, last: Duration, now: Now) -> bool {
        let has_expired =
            |slot: &Slot| matches!(slot.by, SlotHolder::Checkpoint(of) if of.until > last && of.until <= now.boot);
        let have_expired = self.held.values().any(has_expired);
        let is_stated = |slot: &Slot| matches!(slot.by, SlotHolder::Checkpoint(of) if of.stated > now.wall);
        self.retain(|_, slot| slot.holds_subject(now.boot) || is_stated(slot));
        have_expired
    }

    /// When the next slot expires after `last`, by the clock since boot.
    pub(super) fn next_expiry(&self, last: Duration) -> Option<Duration> {
        let until = |slot: &Slot| {
            if let SlotHolder::Checkpoint(attempt) = slot.by { Some(attempt.until) } else { None }
        };
        self.held.values().filter_map(until).filter(|until| *until > last).min()
    }

    /// How many containers have these slots. Of one container at most one attempt runs, and on one node and in one namespace no
    /// more than the limits allow, whatever annotations with made-up attempts say.
    fn taken<'s>(&self, slots: impl Iterator<Item = (&'s RecordKey, &'s Slot)> + Clone) -> usize {
        let mut subjects = HashSet::new();
        let mut is_new = |slot: &'s Slot| slot.subject.as_ref().is_none_or(|subject| subjects.insert(subject));
        let mut of_namespaces: HashMap<&str, NamespaceSlots> = HashMap::new();
        let mut certain = 0;
        for (key, _) in slots.clone().filter(|&(_, slot)| !slot.is_in_annotation && is_new(slot)) {
            of_namespaces.entry(key.namespace()).or_default().certain += 1;
            certain += 1;
        }
        let mut on_nodes: HashMap<Option<&str>, usize> = HashMap::new();
        for (key, slot) in slots.filter(|&(_, slot)| slot.is_in_annotation && is_new(slot)) {
            of_namespaces.entry(key.namespace()).or_default().claimed += 1;
            *on_nodes.entry(slot.node.as_deref()).or_default() += 1;
        }
        let by_nodes = certain + at_most(&on_nodes, self.limits.per_node);
        let by_namespaces = self.is_shared.then(|| counted(self.limits.concurrent, of_namespaces.into_values()));
        by_namespaces.map_or(by_nodes, |by_namespaces| by_nodes.min(by_namespaces))
    }

    /// The slot that the status of a Checkpoint holds.
    fn slot_of(&self, key: &RecordKey, checkpoint: &Checkpoint, now: Now) -> Option<Slot> {
        let status = checkpoint.status.as_ref()?;
        let deadline = status.deadline.as_ref()?.0;
        let extra = match checkpoint.phase() {
            Phase::InProgress => Duration::ZERO,
            _ if checkpoint.reason() == Some(Reason::NoResponse.as_str()) => self.limits.response_timeout,
            _ => return None,
        };
        let known = self.held.get(key).and_then(|slot| match slot.by {
            SlotHolder::Checkpoint(attempt) if attempt.deadline == deadline => Some(attempt.since),
            _ => None,
        });
        let since = known.unwrap_or(now.boot);
        // Another leader may have allowed longer attempts.
        let length = status.start_time.as_ref().and_then(|start| deadline.duration_since(start.0).try_into().ok());
        let longest = self.longest.max(length.unwrap_or(Duration::ZERO).saturating_add(extra));
        let stated = later(deadline, extra);
        let until = now.boot_at(stated).min(since.saturating_add(longest));
        let pod = status.pod.as_ref();
        let container = pod.zip(fields::container(checkpoint));
        let subject = container.and_then(|(pod, container)| {
            let (namespace, container) = (key.namespace().to_owned(), container.to_owned());
            Some(Subject { namespace, pod_uid: pod.uid.clone()?, container })
        });
        let node = pod.and_then(|pod| pod.node.as_deref()).map(checkpoint_name::label_value);
        let by = SlotHolder::Checkpoint(ObservedAttempt { deadline, since, until, stated });
        let is_in_annotation = first_attempt::is_in(checkpoint);
        Some(Slot { by, node, subject, is_in_annotation })
    }
}

/// The sum, of which no part counts more than the limit.
fn at_most(parts: &HashMap<Option<&str>, usize>, limit: usize) -> usize {
    parts.values().map(|part| (*part).min(limit)).sum()
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(SignedDuration::try_from(by).unwrap_or_default()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
