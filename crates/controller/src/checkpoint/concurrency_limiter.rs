//! How many checkpoints are taken at once: each freezes its container and loads its node.
//!
//! A slot is an InProgress record of any holder until its deadline, or one whose request was never answered until nobody
//! can still be at work on it; so the slots are counted from the records, and by what this process is about to write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::checkpoint_index;
use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::Reason;
use snapwatcher_api::record_name;

/// The limits of one process, which is the only one that starts attempts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub concurrent: usize,
    pub per_node: usize,
    /// How long a back-end may go on after its deadline with a request that it never answered.
    pub response_timeout: Duration,
}

/// All slots. Nodes are named as in labels, see [`record_name::label_value`]. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    limits: Limits,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

/// What one record takes up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slot {
    /// Taken by this process, whatever the record says.
    is_taken: bool,
    /// Shown by the record until then.
    until: Option<Timestamp>,
    node: Option<String>,
    /// UID of the pod and its container.
    subject: Option<(String, String)>,
}

impl Slot {
    fn counts(&self, now: Timestamp) -> bool {
        self.is_taken || self.until.is_some_and(|until| until > now)
    }
}

impl ConcurrencyLimiter {
    pub fn new(limits: Limits) -> Self {
        Self { limits, slots: Arc::default() }
    }

    /// Follows one record as the watch told it; `None`: it is gone.
    pub fn observe(&self, uid: &str, record: Option<&Checkpoint>) {
        let shown = record.and_then(|record| shown(record, self.limits.response_timeout));
        let mut slots = self.lock();
        let is_taken = slots.get(uid).is_some_and(|slot| slot.is_taken);
        match shown {
            Some(shown) => drop(slots.insert(uid.to_owned(), Slot { is_taken, ..shown })),
            None if is_taken => {
                if let Some(slot) = slots.get_mut(uid) {
                    slot.until = None;
                }
            }
            None => drop(slots.remove(uid)),
        }
    }

    /// Whether an attempt on that node, if it is known yet, has room now.
    pub fn has_room(&self, node: Option<&str>, now: Timestamp) -> bool {
        self.room(&self.lock(), None, node, now)
    }

    /// Takes a slot for a record; false: there is none.
    pub fn take(&self, uid: &str, node: Option<&str>, now: Timestamp) -> bool {
        let mut slots = self.lock();
        let is_free = self.room(&slots, Some(uid), node, now);
        if is_free {
            let slot = slots.entry(uid.to_owned()).or_default();
            (slot.is_taken, slot.node) = (true, node.map(str::to_owned));
        }
        is_free
    }

    /// Says what a slot that was taken is about, once the pod was read; false: its node is full, or another record of
    /// the same container is under way.
    pub fn settle(&self, uid: &str, node: &str, subject: (String, String), now: Timestamp) -> bool {
        let mut slots = self.lock();
        let same = |(other, slot): (&String, &Slot)| {
            other != uid && slot.counts(now) && slot.subject.as_ref() == Some(&subject)
        };
        if slots.iter().any(same) || !self.room(&slots, Some(uid), Some(node), now) {
            return false;
        }
        let slot = slots.entry(uid.to_owned()).or_default();
        (slot.node, slot.subject) = (Some(node.to_owned()), Some(subject));
        true
    }

    /// Gives back a slot; what the record shows goes on counting.
    pub fn give_back(&self, uid: &str) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(uid) {
            slot.is_taken = false;
            if slot.until.is_none() {
                slots.remove(uid);
            }
        }
    }

    /// When the next slot falls free by itself; those that have are dropped.
    pub fn next_free(&self, now: Timestamp) -> Option<Timestamp> {
        let mut slots = self.lock();
        slots.retain(|_, slot| slot.counts(now));
        slots.values().filter(|slot| !slot.is_taken).filter_map(|slot| slot.until).min()
    }

    fn room(&self, slots: &HashMap<String, Slot>, but: Option<&str>, node: Option<&str>, now: Timestamp) -> bool {
        let others = || slots.iter().filter(|(uid, slot)| but != Some(uid.as_str()) && slot.counts(now));
        let on_node = || others().filter(|(_, slot)| slot.node.as_deref() == node).count();
        others().count() < self.limits.concurrent && (node.is_none() || on_node() < self.limits.per_node)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot that a record shows.
fn shown(record: &Checkpoint, response_timeout: Duration) -> Option<Slot> {
    let status = record.status.as_ref()?;
    let deadline = status.deadline.as_ref()?.0;
    let until = match record.phase() {
        Phase::InProgress => deadline,
        _ if record.reason() == Some(Reason::NoResponse.as_str()) => {
            let longer = SignedDuration::try_from(response_timeout).unwrap_or_default();
            deadline.saturating_add(longer).unwrap_or(Timestamp::MAX)
        }
        _ => return None,
    };
    let pod = status.pod.as_ref();
    let subject = pod
        .zip(checkpoint_index::container(record))
        .and_then(|(pod, container)| Some((pod.uid.clone()?, container.to_owned())));
    let node = pod.and_then(|pod| pod.node.as_deref()).map(record_name::label_value);
    Some(Slot { is_taken: false, until: Some(until), node, subject })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;
    use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus, PodStatus};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn budget(concurrent: usize, per_node: usize) -> ConcurrencyLimiter {
        ConcurrencyLimiter::new(Limits { concurrent, per_node, response_timeout: Duration::from_secs(120) })
    }

    fn in_progress(node: &str, deadline: Timestamp) -> Checkpoint {
        let mut record = Checkpoint::new("r", CheckpointSpec { container: Some("app".into()), ..Default::default() });
        record.status = Some(CheckpointStatus {
            phase: Some(Phase::InProgress),
            deadline: Some(MicroTime(deadline)),
            pod: Some(PodStatus { name: "web".into(), uid: Some("u".into()), node: Some(node.into()) }),
            ..Default::default()
        });
        record
    }

    #[test]
    fn a_node_and_the_whole_have_their_limits() {
        let budget = budget(3, 1);
        assert!(budget.take("a", Some("n1"), at(0)));
        assert!(!budget.take("b", Some("n1"), at(0)), "the node is full");
        assert!(budget.take("b", Some("n2"), at(0)) && budget.take("c", Some("n3"), at(0)));
        assert!(!budget.take("d", Some("n4"), at(0)), "all slots are taken");
        budget.give_back("a");
        assert!(budget.take("d", Some("n4"), at(0)));
    }

    #[test]
    fn records_of_other_holders_take_slots_until_their_deadline() {
        let budget = budget(8, 1);
        budget.observe("theirs", Some(&in_progress("n1", at(10))));
        assert!(!budget.has_room(Some("n1"), at(9)));
        assert_eq!(budget.next_free(at(9)), Some(at(10)));
        assert!(budget.has_room(Some("n1"), at(10)));
    }

    #[test]
    fn a_request_without_an_answer_holds_its_slot_longer() {
        let budget = budget(8, 1);
        let mut record = in_progress("n1", at(10));
        let status = record.status.as_mut().unwrap();
        status.phase = Some(Phase::Unknown);
        snapwatcher_api::checkpoint::set_conditions(
            &mut status.conditions,
            Phase::Unknown,
            "NoResponse",
            None,
            None,
            at(9),
        );
        budget.observe("r", Some(&record));
        assert!(!budget.has_room(Some("n1"), at(129)));
        assert!(budget.has_room(Some("n1"), at(130)));
    }

    #[test]
    fn a_slot_is_kept_from_taking_it_until_the_record_shows_the_end() {
        let budget = budget(1, 1);
        assert!(budget.take("a", Some("n1"), at(0)));
        budget.observe("a", Some(&in_progress("n1", at(100))));
        budget.give_back("a");
        assert!(!budget.has_room(None, at(1)), "the record is still InProgress");
        let mut done = in_progress("n1", at(100));
        done.status.as_mut().unwrap().phase = Some(Phase::Succeeded);
        budget.observe("a", Some(&done));
        assert!(budget.has_room(None, at(1)));
    }

    #[test]
    fn two_records_of_one_container_are_never_under_way_at_once() {
        let budget = budget(8, 8);
        let subject = || ("u".to_owned(), "app".to_owned());
        assert!(budget.take("automatic", None, at(0)) && budget.settle("automatic", "n1", subject(), at(0)));
        assert!(budget.take("by-hand", None, at(0)));
        assert!(!budget.settle("by-hand", "n1", subject(), at(0)));
        budget.give_back("automatic");
        assert!(budget.settle("by-hand", "n1", subject(), at(0)));
    }

    #[test]
    fn a_deleted_record_gives_its_slot_back() {
        let budget = budget(1, 1);
        budget.observe("a", Some(&in_progress("n1", at(100))));
        budget.observe("a", None);
        assert!(budget.has_room(Some("n1"), at(1)));
    }
}
