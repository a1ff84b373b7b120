//! Limits how many attempts run at once, in all and on one node: a checkpoint freezes its container and loads its node.
//!
//! A slot is held by an operation of this process until the back-end has responded, and by a Checkpoint that is InProgress,
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
    /// How long an attempt of this process holds its slot at most.
    longest: Duration,
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
    /// The Checkpoint.
    Checkpoint(ObservedAttempt),
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
}

impl Slot {
    fn is_held(&self, now: Duration) -> bool {
        match self.by {
            SlotHolder::Operation => true,
            SlotHolder::Checkpoint(attempt) => attempt.until > now,
        }
    }
}

impl Slots {
    pub(super) fn new(limits: ConcurrencyLimits, longest: Duration) -> Self {
        Self { limits, longest, held: HashMap::new() }
    }

    /// Whether an attempt on that node (`None`: not known yet) can take a slot now.
    pub(super) fn has_free(&self, node: Option<&str>, now: Duration) -> bool {
        self.is_free(None, node, now)
    }

    /// Takes a slot for an operation. False: none is free, or another Checkpoint of the same container has one.
    pub(super) fn take(
        &mut self,
        key: &RecordKey,
        node: Option<&str>,
        subject: Option<Subject>,
        now: Duration,
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
    pub(super) fn responded(&mut self, key: &RecordKey, deadline: Option<Timestamp>, now: Now) {
        let attempt = deadline.map(|deadline| {
            let latest = now.boot.saturating_add(self.longest);
            let until = now.boot_at(later(deadline, self.limits.response_timeout)).min(latest);
            ObservedAttempt { deadline, since: now.boot, until }
        });
        match (self.held.get_mut(key), attempt) {
            (Some(slot), Some(attempt)) => slot.by = SlotHolder::Checkpoint(attempt),
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
    pub(super) fn observe(&mut self, key: &RecordKey, checkpoint: Option<&Checkpoint>, now: Now) {
        match checkpoint.and_then(|checkpoint| self.slot_of(key, checkpoint, now)) {
            Some(slot) => drop(self.held.insert(key.clone(), slot)),
            None => drop(self.held.remove(key)),
        }
    }

    /// Forgets the slots of Checkpoints, but not those of operations, nor those of Checkpoints on which an operation works.
    pub(super) fn forget_checkpoints(&mut self, is_busy: impl Fn(&RecordKey) -> bool) {
        self.held.retain(|key, slot| slot.by == SlotHolder::Operation || is_busy(key));
    }

    /// Drops the slots that have expired. False: there was none.
    pub(super) fn drop_expired(&mut self, now: Duration) -> bool {
        let before = self.held.len();
        self.held.retain(|_, slot| slot.is_held(now));
        self.held.len() < before
    }

    /// When the next slot expires, by the clock since boot.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        let until = |slot: &Slot| {
            if let SlotHolder::Checkpoint(attempt) = slot.by { Some(attempt.until) } else { None }
        };
        self.held.values().filter_map(until).min()
    }

    fn is_free(&self, except: Option<&RecordKey>, node: Option<&str>, now: Duration) -> bool {
        let others = || self.held.iter().filter(|(key, slot)| except != Some(*key) && slot.is_held(now));
        let all = || others().map(|(_, slot)| slot);
        // An attempt whose node is not known yet may be of the same container.
        let on_node = || containers(all().filter(|slot| slot.node.as_deref() == node));
        containers(all()) < self.limits.concurrent && (node.is_none() || on_node() < self.limits.per_node)
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
        let until = now.boot_at(later(deadline, extra)).min(since.saturating_add(longest));
        let pod = status.pod.as_ref();
        let container = pod.zip(fields::container(checkpoint));
        let subject = container.and_then(|(pod, container)| Some((pod.uid.clone()?, container.to_owned())));
        let node = pod.and_then(|pod| pod.node.as_deref()).map(checkpoint_name::label_value);
        let by = SlotHolder::Checkpoint(ObservedAttempt { deadline, since, until });
        Some(Slot { by, node, subject })
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(SignedDuration::try_from(by).unwrap_or_default()).unwrap_or(Timestamp::MAX)
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
        let limits = ConcurrencyLimits { concurrent, per_node, response_timeout: Duration::from_secs(120) };
        Slots::new(limits, Duration::from_secs(250))
    }

    fn boot(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// When the clock since boot shows this, and the wall clock the same after its start.
    fn now(second: u32) -> Now {
        Now { wall: at(second.into()), boot: boot(second.into()) }
    }

    fn key(name: &str) -> RecordKey {
        RecordKey::new("default", name)
    }

    fn take(slots: &mut Slots, name: &str, node: &str) -> bool {
        slots.take(&key(name), Some(node), None, boot(0))
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
        slots.observe(&key("theirs"), Some(&in_progress(at(10))), now(0));
        assert!(!slots.has_free(Some("n1"), boot(9)));
        assert_eq!(slots.next_expiry(), Some(boot(10)));
        assert!(slots.has_free(Some("n1"), boot(10)));
    }

    #[test]
    fn a_request_without_a_response_holds_its_slot_longer() {
        let mut observed = slots(8, 1);
        let no_response = checkpoint("web")
            .in_progress()
            .reason(Phase::Unknown, Reason::NoResponse)
            .status(|status| status.deadline = Some(MicroTime(at(10))))
            .build();
        observed.observe(&key("r"), Some(&no_response), now(0));
        let mut own = slots(8, 1);
        assert!(take(&mut own, "r", "n1"));
        own.responded(&key("r"), Some(at(10)), now(0));
        own.release(&key("r"));
        for slots in [observed, own] {
            assert!(!slots.has_free(Some("n1"), boot(129)));
            assert!(slots.has_free(Some("n1"), boot(130)));
        }
    }

    #[test]
    fn a_response_frees_the_slot_before_the_outcome_is_written() {
        let mut slots = slots(1, 1);
        assert!(take(&mut slots, "a", "n1"));
        assert!(!slots.has_free(None, boot(0)));
        slots.responded(&key("a"), None, now(0));
        assert!(slots.has_free(None, boot(0)));
    }

    #[test]
    fn two_checkpoints_of_one_container_never_run_at_once() {
        let mut slots = slots(8, 8);
        let subject = || Some(("u".to_owned(), "app".to_owned()));
        assert!(slots.take(&key("automatic"), Some("n1"), subject(), boot(0)));
        assert!(!slots.take(&key("manual"), Some("n1"), subject(), boot(0)));
        slots.release(&key("automatic"));
        assert!(slots.take(&key("manual"), Some("n1"), subject(), boot(0)));
    }

    #[test]
    fn the_checkpoints_of_one_container_hold_one_slot() {
        let mut slots = slots(2, 8);
        for name in ["a", "b", "c"] {
            slots.observe(&key(name), Some(&in_progress(at(10))), now(0));
        }
        assert!(slots.has_free(Some("n1"), boot(1)));
        slots.observe(&key("a"), None, now(0));
        assert!(take(&mut slots, "other", "n2"));
        assert!(!slots.has_free(Some("n1"), boot(1)), "the others still hold it");
    }

    #[test]
    fn an_attempt_on_an_unknown_node_hides_no_slot_of_its_container() {
        // The order of the slots differs between runs.
        for _ in 0..20 {
            let mut slots = slots(8, 1);
            assert!(slots.take(&key("manual"), None, Some(("u".to_owned(), "app".to_owned())), boot(0)));
            slots.observe(&key("automatic"), Some(&in_progress(at(10))), now(0));
            assert!(!slots.has_free(Some("n1"), boot(1)));
        }
    }

    #[test]
    fn a_deleted_checkpoint_frees_its_slot() {
        let mut slots = slots(1, 1);
        slots.observe(&key("a"), Some(&in_progress(at(100))), now(0));
        slots.observe(&key("a"), None, now(0));
        assert!(slots.has_free(Some("n1"), boot(1)));
    }

    #[test]
    fn a_deadline_of_a_wrong_clock_holds_no_slot_for_longer_than_an_attempt_takes() {
        let mut observed = slots(8, 1);
        for second in [0, 100] {
            observed.observe(&key("theirs"), Some(&in_progress(at(7200))), now(second));
        }
        let mut own = slots(8, 1);
        assert!(take(&mut own, "r", "n1"));
        own.responded(&key("r"), Some(at(7200)), now(0));
        // The attempt says itself that it takes 7,200 s.
        let mut stated = checkpoint("web").in_progress().build();
        let status = stated.status.as_mut().unwrap();
        (status.start_time, status.deadline) = (Some(MicroTime(at(7100))), Some(MicroTime(at(7200))));
        let mut short = slots(8, 1);
        short.observe(&key("theirs"), Some(&stated), now(0));
        for (slots, freed) in [(observed, 7200), (own, 250), (short, 250)] {
            assert!(!slots.has_free(Some("n1"), boot(freed - 1)), "{freed}");
            assert!(slots.has_free(Some("n1"), boot(freed)), "{freed}");
        }
    }

    #[test]
    fn a_slot_that_has_expired_before_it_is_seen_is_free() {
        let mut slots = slots(8, 1);
        let no_response = checkpoint("web").in_progress().reason(Phase::Unknown, Reason::NoResponse).build();
        slots.observe(&key("r"), Some(&no_response), now(130 + 120));
        assert!(slots.has_free(Some("n1"), boot(130 + 120)));
        slots.observe(&key("r"), Some(&no_response), now(130 + 119));
        assert!(!slots.has_free(Some("n1"), boot(130 + 119)));
    }
}
