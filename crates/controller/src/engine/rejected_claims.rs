//! Claims that the API server has rejected. A quota or a policy mostly rejects those of all pods of a namespace, and for long.
//!
//! Each container is tried once. Those that were rejected wait together: one at a time is tried again, after waits that
//! double. When its claim is accepted, the others follow one after another, until one of them is rejected again.

use std::sync::Arc;
use std::time::Duration;

use super::message::Now;
use super::pod_action::{ContainerKey, PodAction};
use super::pod_table::REJECTED_RETRY;
use super::rejected_table::LONGEST_RETRY;
use super::state::Engine;
use super::timers::Timer;

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

    /// The claim of a container starts. If it is the one that is tried again, its time begins now: until here it may have waited for
    /// a slot.
    pub(super) fn retry_started(&mut self, key: &ContainerKey, now: Now) {
        let namespace = &key.pod.namespace;
        if self.rejected.namespaces.get(namespace).is_some_and(|wait| wait.tries(key)) {
            self.timers.set(Timer::Rejected(namespace.clone()), now.boot + LONGEST_RETRY);
        }
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
