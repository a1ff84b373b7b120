//! The containers whose last claim was rejected, by namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use snapwatcher_api::pod::PodName;

use super::pod_action::ContainerKey;
use super::pod_table::REJECTED_RETRY;

/// A container that is tried again has an answer by then, or the next one is tried.
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The containers whose last claim was rejected.
#[derive(Default)]
pub(super) struct RejectedClaims {
    pub(super) waiting: BTreeSet<ContainerKey>,
    /// Those that are tried again.
    pub(super) retried: BTreeSet<ContainerKey>,
    /// The namespaces of both.
    pub(super) namespaces: BTreeMap<Arc<str>, NamespaceWait>,
}

#[derive(Default)]
pub(super) struct NamespaceWait {
    /// In a row, of containers that were tried again.
    pub(super) rejections: u32,
    /// The last one that was tried again.
    pub(super) last: Option<ContainerKey>,
    pub(super) is_under_way: bool,
    /// A claim was accepted: the others follow.
    pub(super) is_open: bool,
}

impl NamespaceWait {
    /// Whether this container is the one that is tried again now.
    pub(super) fn tries(&self, key: &ContainerKey) -> bool {
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
            let of_pod = keys.range(ContainerKey::first_of(pod)..).take_while(|key| key.pod == *pod);
            let gone: Vec<_> = of_pod.filter(|key| Some(&key.uid) != uid).cloned().collect();
            for key in gone {
                keys.remove(&key);
            }
        }
    }

    /// The container waits. True: it is the first of its namespace.
    pub(super) fn hold(&mut self, key: ContainerKey) -> bool {
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
    pub(super) fn reject(&mut self, key: &ContainerKey, jitter: f64) -> Option<Duration> {
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
    pub(super) fn next(
        &self,
        namespace: &Arc<str>,
        is_claimable: impl Fn(&ContainerKey) -> bool,
    ) -> Option<ContainerKey> {
        let first = ContainerKey::first_of(&PodName { namespace: namespace.clone(), name: "".into() });
        let last = self.namespaces.get(namespace).and_then(|wait| wait.last.clone()).unwrap_or_else(|| first.clone());
        let of_namespace = |key: &&ContainerKey| key.pod.namespace == *namespace;
        let later = self.waiting.range((Bound::Excluded(&last), Bound::Unbounded)).take_while(of_namespace);
        let earlier = self.waiting.range((Bound::Included(&first), Bound::Included(&last)));
        later.chain(earlier).find(|key| is_claimable(key)).cloned()
    }
}
