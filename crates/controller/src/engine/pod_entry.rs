//! One watched pod, and how far the claims of its containers have come.

use std::collections::HashSet;
use std::sync::Arc;
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
    pub(super) workload_uid: Option<Arc<str>>,
    /// Whether the pod was Ready in its last state, whatever its labels and annotations say.
    is_ready: bool,
    /// Whether the pod was running in its last state.
    is_running: bool,
    /// By container. Pods have few.
    claims: Vec<(Box<str>, ClaimState)>,
    /// Why the pod was not eligible in its last state.
    blocked_by: Option<Ineligible>,
    /// Containers whose image was changed in place, and that still run the image before.
    outdated: Vec<OutdatedContainer>,
}

/// The kubelet stops a container some time after its image was changed. Until then, the pod's status is that of the old one.
struct OutdatedContainer {
    name: Arc<str>,
    instance: u64,
    image: Arc<str>,
    /// What its status says.
    is_started: bool,
    /// By the clock since boot.
    until: Duration,
}

/// How long a container is taken to run the image before, at most: its termination takes some time. If it has not been restarted
/// by then, it runs the new one: this process saw neither its start nor the image before that.
const OUTDATED_FOR: Duration = Duration::from_secs(600);

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
    /// The API server has rejected it. When it is tried again is decided for all of the namespace.
    Rejected,
    /// The container has a Checkpoint.
    Done,
}

impl PodEntry {
    /// A pod that is seen for the first time.
    pub(super) fn new(scope: usize, pod: PodFacts, event: BlockEvent) -> Self {
        let (claims, outdated, workload_uid, blocked_by) = (Vec::new(), Vec::new(), None, None);
        Self { scope, pod, event, workload_uid, is_ready: false, is_running: false, claims, blocked_by, outdated }
    }

    /// Whether the pod names the image of that claim for its container.
    pub(super) fn has_image_of(&self, key: &ContainerKey) -> bool {
        self.pod.container(&key.container).is_some_and(|container| container.image == key.image)
    }

    pub(super) fn claim(&self, container: &str) -> Option<ClaimState> {
        self.claims.iter().find(|(name, _)| **name == *container).map(|(_, state)| *state)
    }

    pub(super) fn set_claim(&mut self, container: &str, state: Option<ClaimState>) {
        self.claims.retain(|(name, _)| **name != *container);
        if let Some(state) = state {
            // Most pods have one, and there are many pods.
            self.claims.reserve_exact(1);
            self.claims.push((container.into(), state));
        }
    }

    /// Claims all containers again that have no Checkpoint any more.
    pub(super) fn reclaim(&mut self, now: Now) -> Vec<PodAction> {
        self.forget_claims(|_| true);
        self.actions(now)
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

    /// Takes over a later state of the pod. Forgets the claims of what was updated in place: containers with another image, or
    /// all with another revision or another controller. Returns what Checkpoints may wait for.
    pub(super) fn update(&mut self, pod: PodFacts, now: Now) -> Vec<PodAction> {
        let before = std::mem::replace(&mut self.pod, pod);
        let has_changed = |(container, before): &(&ContainerFacts, &ContainerFacts)| container.image != before.image;
        let changed: Vec<(&ContainerFacts, &ContainerFacts)> =
            same_containers(&self.pod, &before).filter(has_changed).collect();
        for (container, before) in &changed {
            let is_known = self.outdated.iter().any(|outdated| outdated.name == container.name);
            if let (Some(instance), false) = (before.instance, is_known) {
                let (name, image) = (container.name.clone(), before.image.clone());
                let until = now.boot + OUTDATED_FOR;
                self.outdated.push(OutdatedContainer { name, instance, image, is_started: false, until });
            }
        }
        let changed: HashSet<Arc<str>> = changed.into_iter().map(|(container, _)| container.name.clone()).collect();
        let has_new_controller = before.controller != self.pod.controller;
        let has_new_revision = before.revision() != self.pod.revision() || has_new_controller;
        if has_new_controller {
            self.workload_uid = None;
        }
        if has_new_revision || !changed.is_empty() {
            let is_changed = |container: &str| has_new_revision || changed.contains(container);
            self.forget_claims(is_changed);
            self.claims.retain(|(container, state)| *state != ClaimState::Rejected || !is_changed(container));
        }
        for outdated in &mut self.outdated {
            outdated.is_started = self.pod.container(&outdated.name).is_some_and(|container| container.started);
        }
        let is_restarted = self.hold_outdated_back(now);
        if has_new_revision || !changed.is_empty() {
            return vec![PodAction::changed(&before), PodAction::changed(&self.pod)];
        }
        is_restarted.then(|| PodAction::changed(&self.pod)).into_iter().collect()
    }

    /// A container that still runs the image before has not started. Forgets those that were restarted, or whose image is again
    /// the one before. Returns whether there were such.
    fn hold_outdated_back(&mut self, now: Now) -> bool {
        let before = self.outdated.len();
        let containers = &mut self.pod.containers;
        self.outdated.retain(|outdated| {
            let container = containers.iter_mut().find(|container| container.name == outdated.name);
            let Some(container) = container else { return false };
            let is_same = container.instance == Some(outdated.instance) && container.image != outdated.image;
            let is_outdated = is_same && now.boot < outdated.until;
            container.started = outdated.is_started && !is_outdated;
            is_outdated
        });
        self.outdated.len() < before
    }

    /// The instance of that container that still runs another image than its pod's spec names.
    pub(super) fn outdated_instance(&self, container: &str) -> Option<u64> {
        self.outdated.iter().find(|outdated| *outdated.name == *container).map(|outdated| outdated.instance)
    }

    pub(super) fn actions(&mut self, now: Now) -> Vec<PodAction> {
        let is_released = self.hold_outdated_back(now);
        let eligible = eligibility::check(Some(&self.pod), Choice::Annotated, now.wall);
        let mut actions = Vec::new();
        // A manual Checkpoint may wait for a pod that is not eligible by its annotations.
        let is_ready = self.pod.running && self.pod.ready_since.is_some();
        let is_newly_ready = is_ready && !self.is_ready;
        let was_blocked = !matches!(self.blocked_by, None | Some(Ineligible::Delayed(_)));
        let is_unblocked = was_blocked && matches!(eligible, Ok(_) | Err(Ineligible::Delayed(_)));
        let has_just_ended = eligible == Err(Ineligible::Ended) && self.blocked_by != Some(Ineligible::Ended);
        // Attempts in annotations count for pods that run.
        let is_newly_running = self.pod.running && !self.is_running;
        if is_newly_ready || is_newly_running || is_unblocked || has_just_ended || is_released {
            actions.push(PodAction::changed(&self.pod));
        }
        (self.is_ready, self.is_running) = (is_ready, self.pod.running);
        let blocked_by = match eligible {
            Ok(containers) => {
                actions.extend(containers.into_iter().filter_map(|container| self.start_claim(container, now)));
                None
            }
            Err(cause) => Some(cause),
        };
        let delay = if let Some(Ineligible::Delayed(at)) = blocked_by { Some(now.boot_at(at)) } else { None };
        let restart = self.outdated.iter().map(|outdated| outdated.until).min();
        let retry = self.next_retry(now).filter(|_| blocked_by.is_none());
        let next = [delay, restart, retry].into_iter().flatten().min();
        actions.extend(next.map(|at| PodAction::Recheck { pod: self.pod.name.clone(), at }));
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
            ClaimState::UnderWay { .. } | ClaimState::Rejected | ClaimState::Done => None,
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

/// The containers of both states of a pod.
fn same_containers<'p>(
    now: &'p PodFacts,
    before: &'p PodFacts,
) -> impl Iterator<Item = (&'p ContainerFacts, &'p ContainerFacts)> {
    // Containers cannot be added, removed or reordered.
    now.containers.iter().zip(&before.containers).filter(|(now, before)| now.name == before.name)
}
