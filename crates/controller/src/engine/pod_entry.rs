//! One watched pod, and how far the claims of its containers have come.

use std::time::Duration;

use snapwatcher_api::eligibility::{self, Choice, Ineligible};
use snapwatcher_api::pod::{ContainerFacts, PodFacts};

use super::message::Now;
use super::pod_action::{ContainerKey, PodAction};
use crate::log_block::BlockEvent;

pub(super) struct PodEntry {
    pub(super) scope: usize,
    pub(super) pod: PodFacts,
    pub(super) event: BlockEvent,
    /// The UID of its workload, once it was looked up.
    pub(super) workload_uid: Option<String>,
    /// Whether the pod was Ready in its last state, whatever its labels and annotations say.
    is_ready: bool,
    /// By container. Pods have few.
    claims: Vec<(Box<str>, ClaimState)>,
    /// Why the pod was not eligible in its last state.
    blocked_by: Option<Ineligible>,
}

/// How far the claim of one container has come. Without an entry it has not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimState {
    /// `is_outdated`: meanwhile a Checkpoint was deleted, or the pod was updated in place. So the result may be about the deleted
    /// one, or about the image or revision before.
    UnderWay { failures: u32, is_outdated: bool },
    Failed {
        failures: u32,
        /// By the clock since boot.
        retry_at: Duration,
    },
    /// The container has a Checkpoint.
    Done,
}

impl PodEntry {
    /// A pod that is seen for the first time.
    pub(super) fn new(scope: usize, pod: PodFacts, event: BlockEvent) -> Self {
        let (claims, workload_uid, blocked_by) = (Vec::new(), None, None);
        Self { scope, pod, event, workload_uid, is_ready: false, claims, blocked_by }
    }

    pub(super) fn claim(&self, container: &str) -> Option<ClaimState> {
        self.claims.iter().find(|(name, _)| **name == *container).map(|(_, state)| *state)
    }

    pub(super) fn set_claim(&mut self, container: &str, state: Option<ClaimState>) {
        self.claims.retain(|(name, _)| **name != *container);
        self.claims.extend(state.map(|state| (container.into(), state)));
    }

    /// What was claimed of these containers does not count any more.
    pub(super) fn forget_claims(&mut self, of: impl Fn(&str) -> bool) {
        self.claims.retain(|(container, state)| *state != ClaimState::Done || !of(container));
        for (_, state) in self.claims.iter_mut().filter(|(container, _)| of(container)) {
            if let ClaimState::UnderWay { is_outdated, .. } = state {
                *is_outdated = true;
            }
        }
    }

    /// Forgets the claims of what was updated in place since `before`: containers with another image, or all with another
    /// revision. False: nothing was.
    pub(super) fn updated_in_place(&mut self, before: &PodFacts) -> bool {
        let has_changed = |container: &&ContainerFacts| {
            before.container(&container.name).is_some_and(|before| before.image != container.image)
        };
        let changed: Vec<String> =
            self.pod.containers.iter().filter(has_changed).map(|container| container.name.clone()).collect();
        let has_new_revision = before.revision() != self.pod.revision();
        if !has_new_revision && changed.is_empty() {
            return false;
        }
        self.forget_claims(|container| has_new_revision || changed.iter().any(|name| name == container));
        true
    }

    pub(super) fn actions(&mut self, now: Now) -> Vec<PodAction> {
        let eligible = eligibility::check(Some(&self.pod), Choice::Annotated, now.wall);
        let mut actions = Vec::new();
        // A manual Checkpoint may wait for a pod that is not eligible by its annotations.
        let is_ready = self.pod.running && self.pod.ready_since.is_some();
        let is_newly_ready = is_ready && !self.is_ready;
        let was_blocked = !matches!(self.blocked_by, None | Some(Ineligible::Delayed(_)));
        if is_newly_ready || was_blocked && matches!(eligible, Ok(_) | Err(Ineligible::Delayed(_))) {
            actions.push(PodAction::changed(&self.pod));
        }
        self.is_ready = is_ready;
        let blocked_by = match eligible {
            Ok(containers) => {
                actions.extend(containers.into_iter().filter_map(|container| self.start_claim(container, now)));
                let next = self.next_retry(now);
                actions.extend(next.map(|at| PodAction::Recheck { pod: self.pod.name.clone(), at }));
                None
            }
            Err(cause) => {
                if let Ineligible::Delayed(at) = cause {
                    actions.push(PodAction::Recheck { pod: self.pod.name.clone(), at: now.boot_at(at) });
                }
                Some(cause)
            }
        };
        if let Some(cause) = &blocked_by
            && self.blocked_by != blocked_by
        {
            actions.push(PodAction::Blocked { pod: self.pod.clone(), cause: cause.clone() });
        }
        if blocked_by.is_none() && self.blocked_by.is_some() {
            actions.push(PodAction::Unblocked(self.pod.clone()));
        }
        self.blocked_by = blocked_by;
        actions
    }

    /// When the next failed claim is retried. A pod has one time at which it is assessed again, and several containers.
    pub(super) fn next_retry(&self, now: Now) -> Option<Duration> {
        let times = self.claims.iter().filter_map(|(_, state)| match state {
            ClaimState::Failed { retry_at, .. } => Some(*retry_at),
            ClaimState::UnderWay { .. } | ClaimState::Done => None,
        });
        times.filter(|at| *at > now.boot).min()
    }

    fn start_claim(&mut self, container: String, now: Now) -> Option<PodAction> {
        let image = self.pod.container(&container)?.image.clone();
        let failures = match self.claim(&container) {
            None => 0,
            Some(ClaimState::Failed { failures, retry_at }) if retry_at <= now.boot => failures,
            Some(_) => return None,
        };
        self.set_claim(&container, Some(ClaimState::UnderWay { failures, is_outdated: false }));
        let (pod, uid) = (self.pod.name.clone(), self.pod.uid.clone());
        Some(PodAction::Claim(ContainerKey { pod, uid, container, image }))
    }
}
