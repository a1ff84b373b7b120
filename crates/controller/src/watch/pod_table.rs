//! The watched pods, about 1 KiB each, and how far the claim of each container has come.
//!
//! The table turns the events of the watch into actions. It does no I/O.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::watcher::Event;

use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};
use snapwatcher_kubernetes::backoff::Backoff;

use super::eligibility::{Eligibility, Ineligible, assess};
use super::log_block::BlockEvent;
use crate::checkpoint::known_pods::KnownPods;

/// By how much the watch of Checkpoints may lag behind a claim.
const INDEX_LAG: SignedDuration = SignedDuration::from_secs(2);

/// The waits before a failed claim is retried. The longest is short enough for a claim within 30 s of the API server's
/// return.
const CLAIM_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));

/// All labeled pods of the watched namespaces, by UID.
#[derive(Default)]
pub(super) struct PodTable {
    pods: HashMap<String, PodEntry>,
    /// The UIDs of the same pods, for other services.
    known_pods: KnownPods,
    /// UIDs that a listing under way has delivered, by scope.
    listings: HashMap<usize, HashSet<String>>,
}

struct PodEntry {
    scope: usize,
    pod: PodFacts,
    event: BlockEvent,
    /// Whether the pod was Ready in its last state, whatever its labels and annotations say.
    is_ready: bool,
    claims: BTreeMap<String, ClaimState>,
    /// Why the pod was not eligible in its last state.
    blocked_by: Option<Ineligible>,
}

/// How far the claim of one container has come. Without an entry it has not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClaimState {
    /// `is_outdated`: a Checkpoint was deleted meanwhile, so the result may be about the deleted one.
    UnderWay {
        failures: u32,
        is_outdated: bool,
    },
    Failed {
        failures: u32,
        retry_at: Timestamp,
    },
    Made,
}

/// What the pod watch has to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum WatchAction {
    /// The pod is new to this process.
    Seen(PodFacts),
    /// Claim this container.
    Claim { pod: PodFacts, container: String, event: BlockEvent },
    /// The pod has become Ready or eligible, or is gone: Checkpoints that wait for it are to be reconciled.
    PodChanged(PodName),
    /// Call [`PodTable::recheck`] at that time.
    Recheck { uid: String, at: Timestamp },
    /// The pod is not eligible, for another cause than before.
    Blocked { pod: PodFacts, cause: Ineligible },
    /// The pod has become eligible.
    Unblocked(PodFacts),
}

impl PodTable {
    /// An empty table that keeps `known_pods` up to date.
    pub(super) fn new(known_pods: KnownPods) -> Self {
        Self { known_pods, ..Self::default() }
    }

    /// How many pods are watched.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Takes over one event of the watch of `scope`.
    pub(super) fn apply(&mut self, scope: usize, event: Event<WatchedPod>, now: Timestamp) -> Vec<WatchAction> {
        match event {
            Event::Init => {
                self.listings.insert(scope, HashSet::new());
                Vec::new()
            }
            Event::InitApply(pod) => {
                let pod = PodFacts::from(pod);
                self.listings.entry(scope).or_default().insert(pod.uid.clone());
                self.update(scope, pod, now)
            }
            Event::InitDone => {
                let listed = self.listings.remove(&scope).unwrap_or_default();
                let gone = self.pods.extract_if(|uid, entry| entry.scope == scope && !listed.contains(uid));
                gone.inspect(|(uid, _)| self.known_pods.remove(uid))
                    .map(|(_, entry)| WatchAction::PodChanged(entry.pod.name))
                    .collect()
            }
            Event::Apply(pod) => self.update(scope, pod.into(), now),
            Event::Delete(pod) => {
                let gone = pod.metadata.uid.and_then(|uid| self.pods.remove(&uid));
                gone.inspect(|entry| self.known_pods.remove(&entry.pod.uid))
                    .map(|entry| WatchAction::PodChanged(entry.pod.name))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Assesses a pod again: its delay may have passed, or the retry of a claim may be due.
    pub(super) fn recheck(&mut self, uid: &str, now: Timestamp) -> Vec<WatchAction> {
        self.pods.get_mut(uid).map(|entry| entry.actions(now)).unwrap_or_default()
    }

    /// The container has a Checkpoint, unless one was deleted during the claim. Then the claim is repeated, after the
    /// watch of Checkpoints has had time to catch up.
    pub(super) fn claim_made(&mut self, uid: &str, container: &str, now: Timestamp) -> Option<WatchAction> {
        let entry = self.pods.get_mut(uid)?;
        let is_outdated = matches!(entry.claims.get(container), Some(ClaimState::UnderWay { is_outdated: true, .. }));
        let at = now.saturating_add(INDEX_LAG).unwrap_or(Timestamp::MAX);
        let state = if is_outdated { ClaimState::Failed { failures: 0, retry_at: at } } else { ClaimState::Made };
        entry.claims.insert(container.to_owned(), state);
        is_outdated.then(|| WatchAction::Recheck { uid: uid.to_owned(), at })
    }

    /// By a live read the pod is not eligible. Its next state decides.
    pub(super) fn claim_ineligible(&mut self, uid: &str, container: &str) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.claims.remove(container);
        }
    }

    /// The claim failed, and is retried after a wait.
    pub(super) fn claim_failed(&mut self, uid: &str, container: &str, now: Timestamp) -> Option<WatchAction> {
        let entry = self.pods.get_mut(uid)?;
        let failures = match entry.claims.get(container) {
            Some(ClaimState::UnderWay { failures, .. }) => failures + 1,
            _ => 1,
        };
        let at = now.saturating_add(CLAIM_RETRY.wait(failures, Backoff::NO_JITTER)).unwrap_or(Timestamp::MAX);
        entry.claims.insert(container.to_owned(), ClaimState::Failed { failures, retry_at: at });
        Some(WatchAction::Recheck { uid: uid.to_owned(), at })
    }

    /// Checkpoints of this pod (`None`: of any pod) were deleted. Containers without a Checkpoint are claimed again.
    pub(super) fn reclaim(&mut self, uid: Option<&str>, now: Timestamp) -> Vec<WatchAction> {
        let entries = self.pods.values_mut().filter(|entry| uid.is_none_or(|uid| entry.pod.uid == uid));
        entries
            .flat_map(|entry| {
                entry.claims.retain(|_, state| *state != ClaimState::Made);
                for state in entry.claims.values_mut() {
                    if let ClaimState::UnderWay { is_outdated, .. } = state {
                        *is_outdated = true;
                    }
                }
                entry.actions(now)
            })
            .collect()
    }

    fn update(&mut self, scope: usize, pod: PodFacts, now: Timestamp) -> Vec<WatchAction> {
        let mut actions = Vec::new();
        let entry = match self.pods.entry(pod.uid.clone()) {
            Entry::Occupied(known) => {
                let entry = known.into_mut();
                entry.pod = pod;
                entry
            }
            Entry::Vacant(new) => {
                self.known_pods.insert(new.key());
                actions.push(WatchAction::Seen(pod.clone()));
                let event = if is_eligible(&assess(&pod, now)) { BlockEvent::Added } else { BlockEvent::Modified };
                let (claims, blocked_by) = (BTreeMap::new(), None);
                new.insert(PodEntry { scope, pod, event, is_ready: false, claims, blocked_by })
            }
        };
        actions.extend(entry.actions(now));
        actions
    }
}

impl PodEntry {
    fn actions(&mut self, now: Timestamp) -> Vec<WatchAction> {
        let eligibility = assess(&self.pod, now);
        let mut actions = Vec::new();
        // A manual Checkpoint may wait for a pod that is not eligible by its annotations.
        let is_ready = self.pod.running && self.pod.ready_since.is_some();
        if is_ready && !self.is_ready
            || is_eligible(&eligibility) && !matches!(self.blocked_by, None | Some(Ineligible::Delayed(_)))
        {
            actions.push(WatchAction::PodChanged(self.pod.name.clone()));
        }
        self.is_ready = is_ready;
        let blocked_by = match eligibility {
            Eligibility::Eligible(containers) => {
                actions.extend(containers.into_iter().filter_map(|container| self.claim(container, now)));
                None
            }
            Eligibility::Delayed(at) => {
                actions.push(WatchAction::Recheck { uid: self.pod.uid.clone(), at });
                Some(Ineligible::Delayed(at))
            }
            Eligibility::NotYet(cause) | Eligibility::Never(cause) => Some(cause),
        };
        if let Some(cause) = &blocked_by
            && self.blocked_by != blocked_by
        {
            actions.push(WatchAction::Blocked { pod: self.pod.clone(), cause: cause.clone() });
        }
        if blocked_by.is_none() && self.blocked_by.is_some() {
            actions.push(WatchAction::Unblocked(self.pod.clone()));
        }
        self.blocked_by = blocked_by;
        actions
    }

    fn claim(&mut self, container: String, now: Timestamp) -> Option<WatchAction> {
        let failures = match self.claims.get(&container) {
            None => 0,
            Some(&ClaimState::Failed { failures, retry_at }) if retry_at <= now => failures,
            Some(_) => return None,
        };
        self.claims.insert(container.clone(), ClaimState::UnderWay { failures, is_outdated: false });
        Some(WatchAction::Claim { pod: self.pod.clone(), container, event: self.event })
    }
}

fn is_eligible(eligibility: &Eligibility) -> bool {
    matches!(eligibility, Eligibility::Eligible(_) | Eligibility::Delayed(_))
}

#[cfg(test)]
mod tests;
