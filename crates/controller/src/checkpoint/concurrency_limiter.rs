//! Limits how many attempts run at once, in all and on one node: a checkpoint freezes its container and loads its node.
//!
//! A slot is held by an InProgress Checkpoint of any holder until its deadline. After NoResponse it is held longer, since
//! the back-end may still be working. So slots are counted from the Checkpoints, and from the attempts that this process
//! is about to write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::outcome::Reason;

use super::fields;

/// The limits. Only the leader starts attempts, so they hold for the cluster.
#[derive(Debug, Clone, Copy)]
pub struct ConcurrencyLimits {
    pub concurrent: usize,
    pub per_node: usize,
    /// How long a back-end may continue to work after the deadline of a request to which it never responded.
    pub response_timeout: Duration,
}

/// All slots, by UID of the Checkpoint. Nodes are named as in labels, see [`checkpoint_name::label_value`]. Cloning gives
/// another handle to the same slots.
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    limits: ConcurrencyLimits,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

/// The slot of one Checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slot {
    /// Acquired by this process, whatever the status says.
    is_acquired: bool,
    /// Held by the status until then.
    expires_at: Option<Timestamp>,
    node: Option<String>,
    /// UID of the pod and name of its container.
    subject: Option<(String, String)>,
}

impl Slot {
    fn is_held(&self, now: Timestamp) -> bool {
        self.is_acquired || self.expires_at.is_some_and(|at| at > now)
    }
}

impl ConcurrencyLimiter {
    pub fn new(limits: ConcurrencyLimits) -> Self {
        Self { limits, slots: Arc::default() }
    }

    /// Takes over a Checkpoint from the watch. `None`: it was deleted.
    pub fn observe(&self, uid: &str, checkpoint: Option<&Checkpoint>) {
        let shown = checkpoint.and_then(|checkpoint| slot_of(checkpoint, self.limits.response_timeout));
        let mut slots = self.lock();
        let is_acquired = slots.get(uid).is_some_and(|slot| slot.is_acquired);
        match shown {
            Some(shown) => drop(slots.insert(uid.to_owned(), Slot { is_acquired, ..shown })),
            None if is_acquired => {
                if let Some(slot) = slots.get_mut(uid) {
                    slot.expires_at = None;
                }
            }
            None => drop(slots.remove(uid)),
        }
    }

    /// Whether an attempt on that node (`None`: not known yet) can get a slot now.
    pub fn has_free_slot(&self, node: Option<&str>, now: Timestamp) -> bool {
        self.is_free(&self.lock(), None, node, now)
    }

    /// Acquires a slot for a Checkpoint. False: none is free.
    pub fn acquire(&self, uid: &str, node: Option<&str>, now: Timestamp) -> bool {
        let mut slots = self.lock();
        let is_free = self.is_free(&slots, Some(uid), node, now);
        if is_free {
            let slot = slots.entry(uid.to_owned()).or_default();
            (slot.is_acquired, slot.node) = (true, node.map(str::to_owned));
        }
        is_free
    }

    /// Assigns an acquired slot to the node of the pod that was read. False: the node has no free slot, or another
    /// Checkpoint of the same container holds one.
    pub fn assign_node(&self, uid: &str, node: &str, subject: (String, String), now: Timestamp) -> bool {
        let mut slots = self.lock();
        let has_same_subject = |(other, slot): (&String, &Slot)| {
            other != uid && slot.is_held(now) && slot.subject.as_ref() == Some(&subject)
        };
        if slots.iter().any(has_same_subject) || !self.is_free(&slots, Some(uid), Some(node), now) {
            return false;
        }
        let slot = slots.entry(uid.to_owned()).or_default();
        (slot.node, slot.subject) = (Some(node.to_owned()), Some(subject));
        true
    }

    /// Releases an acquired slot. The status may still hold it.
    pub fn release(&self, uid: &str) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(uid) {
            slot.is_acquired = false;
            if slot.expires_at.is_none() {
                slots.remove(uid);
            }
        }
    }

    /// When the next slot expires. Expired slots are dropped.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let mut slots = self.lock();
        slots.retain(|_, slot| slot.is_held(now));
        slots.values().filter(|slot| !slot.is_acquired).filter_map(|slot| slot.expires_at).min()
    }

    fn is_free(&self, slots: &HashMap<String, Slot>, except: Option<&str>, node: Option<&str>, now: Timestamp) -> bool {
        let others = || slots.iter().filter(|(uid, slot)| except != Some(uid.as_str()) && slot.is_held(now));
        let on_node = || others().filter(|(_, slot)| slot.node.as_deref() == node).count();
        others().count() < self.limits.concurrent && (node.is_none() || on_node() < self.limits.per_node)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot that the status of a Checkpoint holds.
fn slot_of(checkpoint: &Checkpoint, response_timeout: Duration) -> Option<Slot> {
    let status = checkpoint.status.as_ref()?;
    let deadline = status.deadline.as_ref()?.0;
    let expires_at = match checkpoint.phase() {
        Phase::InProgress => deadline,
        _ if checkpoint.reason() == Some(Reason::NoResponse.as_str()) => {
            let longer = SignedDuration::try_from(response_timeout).unwrap_or_default();
            deadline.saturating_add(longer).unwrap_or(Timestamp::MAX)
        }
        _ => return None,
    };
    let pod = status.pod.as_ref();
    let subject = pod
        .zip(fields::container(checkpoint))
        .and_then(|(pod, container)| Some((pod.uid.clone()?, container.to_owned())));
    let node = pod.and_then(|pod| pod.node.as_deref()).map(checkpoint_name::label_value);
    Some(Slot { is_acquired: false, expires_at: Some(expires_at), node, subject })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;
    use snapwatcher_api::fixtures::{at, checkpoint};

    fn limiter(concurrent: usize, per_node: usize) -> ConcurrencyLimiter {
        let response_timeout = Duration::from_secs(120);
        ConcurrencyLimiter::new(ConcurrencyLimits { concurrent, per_node, response_timeout })
    }

    /// In progress on node `n1`.
    fn in_progress(deadline: Timestamp) -> Checkpoint {
        checkpoint("web").in_progress().status(|status| status.deadline = Some(MicroTime(deadline))).build()
    }

    #[test]
    fn the_limits_in_all_and_of_each_node_hold() {
        let limiter = limiter(3, 1);
        assert!(limiter.acquire("a", Some("n1"), at(0)));
        assert!(!limiter.acquire("b", Some("n1"), at(0)), "the node is full");
        assert!(limiter.acquire("b", Some("n2"), at(0)) && limiter.acquire("c", Some("n3"), at(0)));
        assert!(!limiter.acquire("d", Some("n4"), at(0)), "all slots are taken");
        limiter.release("a");
        assert!(limiter.acquire("d", Some("n4"), at(0)));
    }

    #[test]
    fn checkpoints_of_other_holders_hold_slots_until_their_deadline() {
        let limiter = limiter(8, 1);
        limiter.observe("theirs", Some(&in_progress(at(10))));
        assert!(!limiter.has_free_slot(Some("n1"), at(9)));
        assert_eq!(limiter.next_expiry(at(9)), Some(at(10)));
        assert!(limiter.has_free_slot(Some("n1"), at(10)));
    }

    #[test]
    fn a_request_without_a_response_holds_its_slot_longer() {
        let limiter = limiter(8, 1);
        let no_response = checkpoint("web")
            .in_progress()
            .reason(Phase::Unknown, Reason::NoResponse)
            .status(|status| status.deadline = Some(MicroTime(at(10))))
            .build();
        limiter.observe("r", Some(&no_response));
        assert!(!limiter.has_free_slot(Some("n1"), at(129)));
        assert!(limiter.has_free_slot(Some("n1"), at(130)));
    }

    #[test]
    fn a_slot_is_held_until_the_status_shows_the_end_of_the_attempt() {
        let limiter = limiter(1, 1);
        assert!(limiter.acquire("a", Some("n1"), at(0)));
        limiter.observe("a", Some(&in_progress(at(100))));
        limiter.release("a");
        assert!(!limiter.has_free_slot(None, at(1)), "the Checkpoint is still InProgress");
        let mut done = in_progress(at(100));
        done.status.as_mut().unwrap().phase = Some(Phase::Succeeded);
        limiter.observe("a", Some(&done));
        assert!(limiter.has_free_slot(None, at(1)));
    }

    #[test]
    fn two_checkpoints_of_one_container_never_run_at_once() {
        let limiter = limiter(8, 8);
        let subject = || ("u".to_owned(), "app".to_owned());
        assert!(limiter.acquire("automatic", None, at(0)) && limiter.assign_node("automatic", "n1", subject(), at(0)));
        assert!(limiter.acquire("manual", None, at(0)));
        assert!(!limiter.assign_node("manual", "n1", subject(), at(0)));
        limiter.release("automatic");
        assert!(limiter.assign_node("manual", "n1", subject(), at(0)));
    }

    #[test]
    fn a_deleted_checkpoint_frees_its_slot() {
        let limiter = limiter(1, 1);
        limiter.observe("a", Some(&in_progress(at(100))));
        limiter.observe("a", None);
        assert!(limiter.has_free_slot(Some("n1"), at(1)));
    }
}
