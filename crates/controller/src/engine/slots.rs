//! Limits how many attempts run at once, in all and on one node: a checkpoint freezes its container and loads its node.
//!
//! A slot is held by an operation of this process until the back-end has responded, and by a Checkpoint that is InProgress,
//! of any holder, until its deadline. After NoResponse it is held longer, since the back-end may still be working.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::outcome::Reason;

use super::record_key::RecordKey;
use crate::record::fields;

/// The limits. Only the leader starts attempts, so they hold for the cluster.
#[derive(Debug, Clone, Copy)]
pub struct ConcurrencyLimits {
    pub concurrent: usize,
    pub per_node: usize,
    /// How long a back-end may still work after the deadline of a request to which it never responded.
    pub response_timeout: Duration,
}

/// UID of a pod and name of its container.
pub(super) type Subject = (String, String);

/// All slots, by Checkpoint. Nodes are named as in labels, see [`checkpoint_name::label_value`].
pub(super) struct Slots {
    limits: ConcurrencyLimits,
    held: HashMap<RecordKey, Slot>,
}

/// The slot of one Checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slot {
    by: SlotHolder,
    node: Option<String>,
    subject: Option<Subject>,
}

/// What holds a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SlotHolder {
    /// An operation of this process, whatever the Checkpoint says.
    #[default]
    Operation,
    /// The Checkpoint, until then.
    Checkpoint(Timestamp),
}

impl Slot {
    fn is_held(&self, now: Timestamp) -> bool {
        match self.by {
            SlotHolder::Operation => true,
            SlotHolder::Checkpoint(until) => until > now,
        }
    }
}

impl Slots {
    pub(super) fn new(limits: ConcurrencyLimits) -> Self {
        Self { limits, held: HashMap::new() }
    }

    /// Whether an attempt on that node (`None`: not known yet) can take a slot now.
    pub(super) fn has_free(&self, node: Option<&str>, now: Timestamp) -> bool {
        self.is_free(None, node, now)
    }

    /// Takes a slot for an operation. False: none is free, or another Checkpoint of the same container has one.
    pub(super) fn take(
        &mut self,
        key: &RecordKey,
        node: Option<&str>,
        subject: Option<Subject>,
        now: Timestamp,
    ) -> bool {
        let has_same_subject = |(other, slot): (&RecordKey, &Slot)| {
            other != key && subject.is_some() && slot.is_held(now) && slot.subject == subject
        };
        if !self.is_free(Some(key), node, now) || self.held.iter().any(has_same_subject) {
            return false;
        }
        let slot = Slot { by: SlotHolder::Operation, node: node.map(str::to_owned), subject };
        self.held.insert(key.clone(), slot);
        true
    }

    /// The back-end has responded to the operation. `deadline` is set if it may still be working, although it has not.
    pub(super) fn responded(&mut self, key: &RecordKey, deadline: Option<Timestamp>) {
        let until = deadline.map(|deadline| self.longer(deadline));
        match (self.held.get_mut(key), until) {
            (Some(slot), Some(until)) => slot.by = SlotHolder::Checkpoint(until),
            (Some(_), None) => drop(self.held.remove(key)),
            (None, _) => {}
        }
    }

    /// The operation has ended.
    pub(super) fn release(&mut self, key: &RecordKey) {
        if self.held.get(key).is_some_and(|slot| slot.by == SlotHolder::Operation) {
            self.held.remove(key);
        }
    }

    /// Takes over a Checkpoint on which no operation of this process works. `None`: it was deleted.
    pub(super) fn observe(&mut self, key: &RecordKey, checkpoint: Option<&Checkpoint>) {
        match checkpoint.and_then(|checkpoint| self.slot_of(checkpoint)) {
            Some(slot) => drop(self.held.insert(key.clone(), slot)),
            None => drop(self.held.remove(key)),
        }
    }

    /// Forgets the slots of Checkpoints, but not those of operations, nor those of Checkpoints on which an operation works.
    pub(super) fn forget_checkpoints(&mut self, is_busy: impl Fn(&RecordKey) -> bool) {
        self.held.retain(|key, slot| slot.by == SlotHolder::Operation || is_busy(key));
    }

    /// Drops the slots that have expired. False: there was none.
    pub(super) fn drop_expired(&mut self, now: Timestamp) -> bool {
        let before = self.held.len();
        self.held.retain(|_, slot| slot.is_held(now));
        self.held.len() < before
    }

    /// When the next slot expires.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let until = |slot: &Slot| if let SlotHolder::Checkpoint(until) = slot.by { Some(until) } else { None };
        self.held.values().filter_map(until).min()
    }

    fn is_free(&self, except: Option<&RecordKey>, node: Option<&str>, now: Timestamp) -> bool {
        let others = || self.held.iter().filter(|(key, slot)| except != Some(*key) && slot.is_held(now));
        let all = || others().map(|(_, slot)| slot);
        // An attempt whose node is not known yet may be of the same container.
        let on_node = || containers(all().filter(|slot| slot.node.as_deref() == node));
        containers(all()) < self.limits.concurrent && (node.is_none() || on_node() < self.limits.per_node)
    }

    /// The slot that the status of a Checkpoint holds.
    fn slot_of(&self, checkpoint: &Checkpoint) -> Option<Slot> {
        let status = checkpoint.status.as_ref()?;
        let deadline = status.deadline.as_ref()?.0;
        let until = match checkpoint.phase() {
            Phase::InProgress => deadline,
            _ if checkpoint.reason() == Some(Reason::NoResponse.as_str()) => self.longer(deadline),
            _ => return None,
        };
        let pod = status.pod.as_ref();
        let container = pod.zip(fields::container(checkpoint));
        let subject = container.and_then(|(pod, container)| Some((pod.uid.clone()?, container.to_owned())));
        let node = pod.and_then(|pod| pod.node.as_deref()).map(checkpoint_name::label_value);
        Some(Slot { by: SlotHolder::Checkpoint(until), node, subject })
    }

    fn longer(&self, deadline: Timestamp) -> Timestamp {
        let longer = SignedDuration::try_from(self.limits.response_timeout).unwrap_or_default();
        deadline.saturating_add(longer).unwrap_or(Timestamp::MAX)
    }
}

/// How many containers have these slots. Of one container at most one attempt runs, whatever Checkpoints with made-up attempts
/// say.
fn containers<'s>(slots: impl Iterator<Item = &'s Slot>) -> usize {
    let mut subjects = HashSet::new();
    slots.filter(|slot| slot.subject.as_ref().is_none_or(|subject| subjects.insert(subject))).count()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;
    use snapwatcher_api::fixtures::{at, checkpoint};

    fn slots(concurrent: usize, per_node: usize) -> Slots {
        Slots::new(ConcurrencyLimits { concurrent, per_node, response_timeout: Duration::from_secs(120) })
    }

    fn key(name: &str) -> RecordKey {
        RecordKey::new("default", name)
    }

    fn take(slots: &mut Slots, name: &str, node: &str) -> bool {
        slots.take(&key(name), Some(node), None, at(0))
    }

    /// In progress on node `n1`.
    fn in_progress(deadline: Timestamp) -> Checkpoint {
        checkpoint("web").in_progress().status(|status| status.deadline = Some(MicroTime(deadline))).build()
    }

    #[test]
    fn the_limits_in_all_and_of_each_node_hold() {
        let mut slots = slots(3, 1);
        assert!(take(&mut slots, "a", "n1"));
        assert!(!take(&mut slots, "b", "n1"), "the node is full");
        assert!(take(&mut slots, "b", "n2") && take(&mut slots, "c", "n3"));
        assert!(!take(&mut slots, "d", "n4"), "all slots are taken");
        slots.release(&key("a"));
        assert!(take(&mut slots, "d", "n4"));
    }

    #[test]
    fn checkpoints_of_other_holders_hold_slots_until_their_deadline() {
        let mut slots = slots(8, 1);
        slots.observe(&key("theirs"), Some(&in_progress(at(10))));
        assert!(!slots.has_free(Some("n1"), at(9)));
        assert_eq!(slots.next_expiry(), Some(at(10)));
        assert!(slots.has_free(Some("n1"), at(10)));
    }

    #[test]
    fn a_request_without_a_response_holds_its_slot_longer() {
        let mut observed = slots(8, 1);
        let no_response = checkpoint("web")
            .in_progress()
            .reason(Phase::Unknown, Reason::NoResponse)
            .status(|status| status.deadline = Some(MicroTime(at(10))))
            .build();
        observed.observe(&key("r"), Some(&no_response));
        let mut own = slots(8, 1);
        assert!(take(&mut own, "r", "n1"));
        own.responded(&key("r"), Some(at(10)));
        own.release(&key("r"));
        for slots in [observed, own] {
            assert!(!slots.has_free(Some("n1"), at(129)));
            assert!(slots.has_free(Some("n1"), at(130)));
        }
    }

    #[test]
    fn a_response_frees_the_slot_before_the_outcome_is_written() {
        let mut slots = slots(1, 1);
        assert!(take(&mut slots, "a", "n1"));
        assert!(!slots.has_free(None, at(0)));
        slots.responded(&key("a"), None);
        assert!(slots.has_free(None, at(0)));
    }

    #[test]
    fn two_checkpoints_of_one_container_never_run_at_once() {
        let mut slots = slots(8, 8);
        let subject = || Some(("u".to_owned(), "app".to_owned()));
        assert!(slots.take(&key("automatic"), Some("n1"), subject(), at(0)));
        assert!(!slots.take(&key("manual"), Some("n1"), subject(), at(0)));
        slots.release(&key("automatic"));
        assert!(slots.take(&key("manual"), Some("n1"), subject(), at(0)));
    }

    #[test]
    fn the_checkpoints_of_one_container_hold_one_slot() {
        let mut slots = slots(2, 8);
        for name in ["a", "b", "c"] {
            slots.observe(&key(name), Some(&in_progress(at(10))));
        }
        assert!(slots.has_free(Some("n1"), at(1)));
        slots.observe(&key("a"), None);
        assert!(take(&mut slots, "other", "n2"));
        assert!(!slots.has_free(Some("n1"), at(1)), "the others still hold it");
    }

    #[test]
    fn an_attempt_on_an_unknown_node_hides_no_slot_of_its_container() {
        // The order of the slots differs between runs.
        for _ in 0..20 {
            let mut slots = slots(8, 1);
            assert!(slots.take(&key("manual"), None, Some(("u".to_owned(), "app".to_owned())), at(0)));
            slots.observe(&key("automatic"), Some(&in_progress(at(10))));
            assert!(!slots.has_free(Some("n1"), at(1)));
        }
    }

    #[test]
    fn a_deleted_checkpoint_frees_its_slot() {
        let mut slots = slots(1, 1);
        slots.observe(&key("a"), Some(&in_progress(at(100))));
        slots.observe(&key("a"), None);
        assert!(slots.has_free(Some("n1"), at(1)));
    }
}
