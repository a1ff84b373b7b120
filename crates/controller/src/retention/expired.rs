//! Which finished Checkpoints of a namespace are too many or too old: a pure function over a listing that arrives in parts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::finished::{FinishedCheckpoint, RetentionSubject};

/// The most Checkpoints of one namespace that one round looks at. Each costs up to two calls, and the other namespaces wait for
/// them. The next round looks at others.
pub(super) const NAMESPACE_SHARE: usize = 1000;
/// The most Checkpoints of one namespace that one round deletes without a look at their pods. Each costs one call.
pub(super) const UNREAD_SHARE: usize = 10 * NAMESPACE_SHARE;
/// The most Checkpoints of one namespace that are kept in memory because they may be among the newest of their workload. Each takes
/// less than a kilobyte.
pub(super) const MOST_COUNTED: usize = 4 * NAMESPACE_SHARE;

/// How many Checkpoints of each workload are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct RetentionPolicy {
    pub limit: usize,
    pub ttl: Duration,
    /// The time between two rounds.
    pub every: Duration,
}

/// The finished Checkpoints of one namespace, of which it keeps no more than its shares.
pub(super) struct NamespaceCheckpoints {
    pub(super) namespace: String,
    policy: RetentionPolicy,
    now: Timestamp,
    /// The newest of each workload, the oldest of them first.
    newest: HashMap<String, BTreeMap<(Timestamp, Reverse<String>), FinishedCheckpoint>>,
    /// How many are in `newest`.
    counted: usize,
    /// Expired ones that no pod needs, since they were taken.
    unread: Vec<FinishedCheckpoint>,
    /// How many were in `unread`.
    unread_in_all: usize,
    /// Expired ones whose pods must be read: a random choice of them.
    share: Vec<FinishedCheckpoint>,
    /// Of how many `share` is a choice.
    share_of: usize,
}

impl NamespaceCheckpoints {
    pub(super) fn new(namespace: String, policy: RetentionPolicy, now: Timestamp) -> Self {
        let (newest, unread, share) = (HashMap::new(), Vec::new(), Vec::new());
        Self { namespace, policy, now, newest, counted: 0, unread, unread_in_all: 0, share, share_of: 0 }
    }

    /// Takes over the next Checkpoint of the namespace. Pods with `known_pods` as UIDs exist.
    pub(super) fn add(&mut self, checkpoint: FinishedCheckpoint, known_pods: &HashSet<String>) {
        let ttl = SignedDuration::try_from(self.policy.ttl).unwrap_or(SignedDuration::MAX);
        let is_old = self.now.duration_since(checkpoint.completed) > ttl;
        let expired = if is_old || self.policy.limit == 0 { Some(checkpoint) } else { self.count(checkpoint) };
        match expired {
            Some(expired) if expired.has_known_pod(known_pods) => {}
            Some(expired) if expired.subject != RetentionSubject::Nothing => self.choose(expired),
            Some(expired) if self.unread_in_all < UNREAD_SHARE => {
                self.unread.push(expired);
                self.unread_in_all += 1;
            }
            _ => {}
        }
    }

    /// The expired Checkpoints that may be deleted without a look at a pod, of those added since the last call.
    pub(super) fn take_unread(&mut self) -> Vec<FinishedCheckpoint> {
        std::mem::take(&mut self.unread)
    }

    /// The expired Checkpoints that may be deleted if their pods are gone.
    pub(super) fn into_share(self) -> Vec<FinishedCheckpoint> {
        self.share
    }

    /// Counts a Checkpoint for the limit of its workload. Returns the one that is beyond the limit then.
    fn count(&mut self, checkpoint: FinishedCheckpoint) -> Option<FinishedCheckpoint> {
        // A forgotten Checkpoint stays until a later round, or until it is old.
        if self.counted >= MOST_COUNTED
            && let Some(workload) = self.newest.keys().next().cloned()
        {
            self.counted -= self.newest.remove(&workload).map_or(0, |forgotten| forgotten.len());
        }
        let newest = self.newest.entry(checkpoint.workload.clone()).or_default();
        newest.insert((checkpoint.completed, Reverse(checkpoint.name.clone())), checkpoint);
        if newest.len() > self.policy.limit {
            return newest.pop_first().map(|(_, oldest)| oldest);
        }
        self.counted += 1;
        None
    }

    /// Each Checkpoint is chosen with the same probability: some stay for as long as their pods exist, and must not take the whole
    /// share in every round.
    fn choose(&mut self, expired: FinishedCheckpoint) {
        self.share_of += 1;
        if self.share.len() < NAMESPACE_SHARE {
            self.share.push(expired);
        } else if let Some(chosen) = self.share.get_mut(fastrand::usize(..self.share_of)) {
            *chosen = expired;
        }
    }

    /// How many Checkpoints are in memory.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.newest.values().map(BTreeMap::len).sum::<usize>() + self.unread.len() + self.share.len()
    }
}
