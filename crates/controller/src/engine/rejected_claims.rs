//! Claims that the API server has rejected. A quota or a policy mostly rejects those of all pods of a namespace, and for long.
//!
//! Each container is tried once. Those that were rejected wait together: one at a time is tried again, after waits that
//! double. When its claim is accepted, the others follow one after another, until one of them is rejected again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use snapwatcher_api::pod::PodName;

use super::message::Now;
use super::pod_action::{ContainerKey, PodAction};
use super::pod_table::REJECTED_RETRY;
use super::state::Engine;
use super::timers::Timer;

/// A container that is tried again has an answer by then, or the next one is tried.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The containers whose last claim was rejected.
#[derive(Default)]
pub(super) struct RejectedClaims {
    waiting: BTreeSet<ContainerKey>,
    /// Those that are tried again.
    retried: BTreeSet<ContainerKey>,
    /// The namespaces of both.
    namespaces: BTreeMap<Arc<str>, NamespaceWait>,
}

#[derive(Default)]
struct NamespaceWait {
    /// In a row, of containers that were tried again.
    rejections: u32,
    /// The last one that was tried again.
    last: Option<ContainerKey>,
    is_under_way: bool,
    /// A claim was accepted: the others follow.
    is_open: bool,
}

impl NamespaceWait {
    /// Whether this container is the one that is tried again now.
    fn tries(&self, key: &ContainerKey) -> bool {
        self.is_under_way && self.last.as_ref() == Some(key)
    }
}

impl RejectedClaims {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.retried.len()
    }

    /// Whether this container is to be tried again, and another one of its namespace was rejected meanwhile.
    pub(super) fn must_wait(&self, key: &ContainerKey) -> bool {
        let wait = self.namespaces.get(&key.pod.namespace).filter(|_| self.retried.contains(key));
        wait.is_some_and(|wait| !wait.is_open && !wait.tries(key))
    }

    /// Of a pod that is gone, or that another one has replaced, nothing is kept.
    pub(super) fn forget_pod(&mut self, pod: &PodName, uid: Option<&String>) {
        for keys in [&mut self.waiting, &mut self.retried] {
            let of_pod = keys.range(first_of(pod)..).take_while(|key| key.pod == *pod);
            let gone: Vec<_> = of_pod.filter(|key| Some(&key.uid) != uid).cloned().collect();
            for key in gone {
                keys.remove(&key);
            }
        }
    }

    /// The container waits. True: it is the first of its namespace.
    fn hold(&mut self, key: ContainerKey) -> bool {
        self.retried.remove(&key);
        // Those of earlier images of the container.
        let earlier = ContainerKey { image: "".into(), ..key.clone() };
        let is_same = |of: &&ContainerKey| (&of.pod, &of.uid, &of.container) == (&key.pod, &key.uid, &key.container);
        let same: Vec<_> = self.waiting.range(earlier..).take_while(is_same).cloned().collect();
        for key in same {
            self.waiting.remove(&key);
        }
        let is_first = !self.namespaces.contains_key(&key.pod.namespace);
        self.namespaces.entry(key.pod.namespace.clone()).or_default();
        self.waiting.insert(key);
        is_first
    }

    /// The claim of a container was rejected. Returns after how long one of its namespace is tried again; `None`: as before.
    fn reject(&mut self, key: &ContainerKey, jitter: f64) -> Option<Duration> {
        let is_first = self.hold(key.clone());
        let wait = self.namespaces.get_mut(&key.pod.namespace)?;
        if !is_first && !wait.is_open && !wait.tries(key) {
            return None;
        }
        wait.rejections = if wait.is_open { 1 } else { wait.rejections.saturating_add(1) };
        (wait.is_open, wait.is_under_way) = (false, false);
        Some(REJECTED_RETRY.wait(wait.rejections, jitter))
    }

    /// The next container of a namespace that waits and that `is_claimable`, after the last one that was tried.
    fn next(&self, namespace: &Arc<str>, is_claimable: impl Fn(&ContainerKey) -> bool) -> Option<ContainerKey> {
        let first = first_of(&PodName { namespace: namespace.clone(), name: "".into() });
        let last = self.namespaces.get(namespace).and_then(|wait| wait.last.clone()).unwrap_or_else(|| first.clone());
        let of_namespace = |key: &&ContainerKey| key.pod.namespace == *namespace;
        let later = self.waiting.range((Bound::Excluded(&last), Bound::Unbounded)).take_while(of_namespace);
        let earlier = self.waiting.range((Bound::Included(&first), Bound::Included(&last)));
        later.chain(earlier).find(|key| is_claimable(key)).cloned()
    }
}

fn first_of(pod: &PodName) -> ContainerKey {
    ContainerKey { pod: pod.clone(), uid: String::new(), container: String::new(), image: "".into() }
}

impl Engine {
    /// The API server has rejected the claim of a container.
    pub(super) fn claim_rejected(&mut self, key: &ContainerKey, jitter: f64, now: Now) {
        if !self.pods.claim_rejected(key) {
            return self.retry_is_pointless(key, now);
        }
        if let Some(wait) = self.rejected.reject(key, jitter) {
            self.timers.set(Timer::Rejected(key.pod.namespace.clone()), now.boot + wait);
        }
    }

    /// The container waits with the others of its namespace that were rejected.
    pub(super) fn hold_back(&mut self, key: ContainerKey, now: Now) {
        if !self.pods.claim_rejected(&key) {
            return self.retry_is_pointless(&key, now);
        }
        let namespace = key.pod.namespace.clone();
        if self.rejected.hold(key) {
            self.timers.set(Timer::Rejected(namespace), now.boot + LONGEST_RETRY);
        }
    }

    /// A container that is tried again is not eligible any more: it waits again. False: it is not tried again.
    pub(super) fn put_back(&mut self, key: &ContainerKey, now: Now) -> bool {
        let is_retried = self.rejected.retried.contains(key);
        if is_retried {
            self.retry_ended(key, now);
            self.hold_back(key.clone(), now);
        }
        is_retried
    }

    /// Meanwhile the image was changed in place: the next claim is another one.
    fn retry_is_pointless(&mut self, key: &ContainerKey, now: Now) {
        self.retry_ended(key, now);
        let actions = self.pods.recheck(&key.pod, now);
        self.take(actions, now);
    }

    /// The API server has accepted the claim of a container.
    pub(super) fn claim_accepted(&mut self, key: &ContainerKey, now: Now) {
        let is_retried = self.rejected.retried.remove(key);
        let Some(wait) = self.rejected.namespaces.get_mut(&key.pod.namespace) else { return };
        if is_retried {
            (wait.is_open, wait.is_under_way) = (true, false);
        }
        // A quota that has room for one may have room for others.
        if wait.is_open || !wait.is_under_way {
            self.timers.set(Timer::Rejected(key.pod.namespace.clone()), now.boot);
        }
    }

    /// A container that was tried again has got no answer from the API server to its claim.
    pub(super) fn retry_ended(&mut self, key: &ContainerKey, now: Now) {
        let is_retried = self.rejected.retried.remove(key);
        let Some(wait) = self.rejected.namespaces.get_mut(&key.pod.namespace) else { return };
        if is_retried && wait.tries(key) {
            wait.is_under_way = false;
            let again = REJECTED_RETRY.wait(wait.rejections, self.random.f64());
            self.timers.set(Timer::Rejected(key.pod.namespace.clone()), now.boot + again);
        }
    }

    /// Tries the next rejected claim of a namespace again.
    pub(super) fn retry_rejected(&mut self, namespace: Arc<str>, now: Now) {
        let Some(wait) = self.rejected.namespaces.get(&namespace) else { return };
        let is_open = wait.is_open;
        let next = self.rejected.next(&namespace, |key| is_open || self.pods.is_claimable(key, now));
        let Some(key) = next else {
            if self.rejected.next(&namespace, |_| true).is_none() {
                self.rejected.namespaces.remove(&namespace);
            } else {
                // None of their pods is eligible now.
                self.timers.set(Timer::Rejected(namespace), now.boot + LONGEST_RETRY);
            }
            return;
        };
        self.rejected.waiting.remove(&key);
        let actions = self.pods.retry_rejected(&key, now);
        let is_tried = actions.iter().any(|action| matches!(action, PodAction::Claim(claim) if *claim == key));
        if is_tried {
            self.rejected.retried.insert(key.clone());
        }
        if let Some(wait) = self.rejected.namespaces.get_mut(&namespace) {
            (wait.last, wait.is_under_way) = (Some(key), is_tried && !is_open);
        }
        let again = if is_open || !is_tried { Duration::ZERO } else { LONGEST_RETRY };
        self.timers.set(Timer::Rejected(namespace), now.boot + again);
        self.take(actions, now);
    }
}
