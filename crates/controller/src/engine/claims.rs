//! Claims: from a container that is eligible to the creation of its Checkpoint.
//!
//! A claim is also the first attempt where one may start now. If only a slot is missing, the container waits for it for a
//! short time; then its Checkpoint is created without an attempt, so that people see it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use snapwatcher_api::checkpoint::{CheckpointTarget, WorkloadReference};
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::eligibility::{self, Choice};
use snapwatcher_api::pod::{OncePer, PodFacts};
use snapwatcher_kubernetes::workload::{Workload, WorkloadError};

use super::endpoint_breakers::Permit;
use super::message::{ClaimReport, Now, Report};
use super::pod_action::ContainerKey;
use super::prepared_claim::PreparedClaim;
use super::record_key::RecordKey;
use super::record_table::SuccessOf;
use super::slots::Subject;
use super::state::{ClaimTask, Engine, Task};
use super::timers::Timer;
use super::work_queue::WorkItem;
use crate::log_block::BlockEvent;
use crate::operation::{Claim, ClaimError, Operation};

/// How many claims without an attempt, and searches for workloads, run at once.
pub(super) const MAX_CLAIMS: usize = 16;

/// How many of the claims without an attempt may be of one namespace. An admission webhook there can delay each for long.
const MAX_CLAIMS_OF_NAMESPACE: usize = MAX_CLAIMS / 2;

/// How long a container waits for a slot before it is claimed without an attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl ContainerKey {
    fn item(&self) -> WorkItem {
        WorkItem::Claim(self.clone())
    }

    fn subject(&self) -> Subject {
        let (namespace, pod_uid) = (self.pod.namespace.to_string(), self.uid.clone());
        Subject { namespace, pod_uid, container: self.container.clone() }
    }
}

impl Engine {
    pub(super) fn start_claims(&mut self, decisions: &mut usize, now: Now) {
        while *decisions > 0 && self.running_claims() < MAX_CLAIMS && !self.is_outage(now) {
            if let Some((key, claim)) = self.next_unattempted() {
                if !self.is_superseded(&key, &claim, false, now) {
                    self.start_claim(key, claim, None, now);
                }
            } else if let Some(key) = self.claims.pop_front() {
                self.prepare_claim(key, None, now);
            } else {
                return;
            }
            *decisions -= 1;
        }
    }

    /// The first claim without an attempt whose namespace has not too many under way.
    fn next_unattempted(&mut self) -> Option<(ContainerKey, PreparedClaim)> {
        let mut running: HashMap<&str, usize> = HashMap::new();
        for operation in self.operations.values() {
            if let Task::Claim(task) = &operation.task
                && !task.attempts
            {
                *running.entry(&task.key.pod.namespace).or_default() += 1;
            }
        }
        let may_start = |(key, _): &(ContainerKey, _)| {
            running.get(&*key.pod.namespace).is_none_or(|count| *count < MAX_CLAIMS_OF_NAMESPACE)
        };
        let first = self.unattempted.iter().position(may_start)?;
        self.unattempted.remove(first)
    }

    /// Drops waiting claims of containers that are gone.
    pub(super) fn drop_claims(&mut self, is_gone: impl Fn(&ContainerKey) -> bool) {
        self.claims.retain(|key| !is_gone(key));
        let unattempted = std::mem::take(&mut self.unattempted);
        let (gone, kept): (VecDeque<_>, _) = unattempted.into_iter().partition(|(key, _)| is_gone(key));
        self.unattempted = kept;
        for (key, claim) in gone {
            self.resume_followers(&RecordKey::new(&key.pod.namespace, &claim.name));
        }
    }

    pub(super) fn running_claims(&self) -> usize {
        let is_claim = |task: &Task| match task {
            Task::FindWorkload(_) => true,
            Task::Claim(task) => !task.attempts,
            _ => false,
        };
        self.operations.values().filter(|running| is_claim(&running.task)).count()
    }

    /// Decides what a container needs: nothing, its workload, a slot, or its Checkpoint.
    fn prepare_claim(&mut self, key: ContainerKey, workload: Option<Workload>, now: Now) {
        if !self.pods.is_claimable(&key, now) {
            if self.put_back(&key, now) {
                return;
            }
            let again = self.pods.claim_ineligible(&key, now);
            return self.take(again.into_iter().collect(), now);
        }
        if self.settings.backend.is_some() && !self.has_listed_checkpoints(&key) {
            self.unlisted.insert(key);
            return;
        }
        if self.rejected.must_wait(&key) {
            return self.hold_back(key, now);
        }
        let Some(entry) = self.pods.get(&key.pod) else { return };
        let pod = entry.pod.clone();
        if workload.is_none() {
            self.report(Report::ClaimStarted { pod: pod.clone(), container: key.container.clone() });
        }
        let once_per = pod.options.as_ref().ok().and_then(|options| options.once_per);
        let once_per = self.settings.once_per.of(once_per);
        let success = match once_per {
            OncePer::Pod => SuccessOf::Image(&key.image),
            OncePer::Revision => SuccessOf::Revision(pod.revision()),
        };
        if self.records.has_success(&key.uid, &key.container, success) {
            return self.already_claimed(&key, None, now);
        }
        let target = match (once_per, &workload) {
            (OncePer::Pod, _) => pod_target(&key),
            (OncePer::Revision, Some(workload)) => revision_target(&key, &pod, workload),
            (OncePer::Revision, None) => return self.find_workload(key, pod),
        };
        match self.free_name(&key, &target) {
            Ok(name) => match workload {
                None => self.find_workload(key, pod),
                Some(workload) => {
                    let node = checkpoint_name::label_value(pod.node.as_deref().unwrap_or_default());
                    self.claim(key, pod, PreparedClaim { target, workload, name, node }, now);
                }
            },
            Err(NoFreeName::Exists(name)) => self.already_claimed(&key, Some(name), now),
            Err(NoFreeName::AllTaken(last)) => self.claim_failed(&key, ClaimError::NoName(last), now),
        }
    }

    /// Whether the Checkpoints of the container's scope are listed.
    pub(super) fn has_listed_checkpoints(&self, key: &ContainerKey) -> bool {
        self.are_checkpoints_listed(&key.pod.namespace)
    }

    /// Whether the Checkpoints of that namespace are listed.
    pub(super) fn are_checkpoints_listed(&self, namespace: &str) -> bool {
        let scope = self.settings.scopes.iter().position(|scope| scope.holds(namespace));
        scope.is_some_and(|scope| self.records.is_listed(scope))
    }

    fn find_workload(&mut self, key: ContainerKey, pod: PodFacts) {
        self.start(Task::FindWorkload(key), Operation::FindWorkload { pod: Box::new(pod) }, None, Permit::default());
    }

    pub(super) fn workload_found(&mut self, key: ContainerKey, result: Result<Workload, WorkloadError>, now: Now) {
        match result {
            Ok(workload) => {
                self.pods.set_workload(&key.pod, &key.uid, &workload.uid);
                self.prepare_claim(key, Some(workload), now);
            }
            Err(error) => self.claim_failed(&key, error.into(), now),
        }
    }

    /// The first derived name that no Checkpoint has.
    fn free_name(&self, key: &ContainerKey, target: &CheckpointTarget) -> Result<String, NoFreeName> {
        let mut last = String::new();
        for name in checkpoint_name::names(target) {
            match self.records.has_target(&key.pod.namespace, &name, target) {
                None => return Ok(name),
                Some(true) => return Err(NoFreeName::Exists(name)),
                Some(false) => last = name,
            }
        }
        Err(NoFreeName::AllTaken(last))
    }

    fn claim(&mut self, key: ContainerKey, pod: PodFacts, claim: PreparedClaim, now: Now) {
        if self.settings.backend.is_none() {
            let event = self.pods.get(&key.pod).map_or(BlockEvent::Modified, |entry| entry.event);
            let (container, workload) = (key.container.clone(), claim.workload);
            let report = ClaimReport { event, pod, container, workload, checkpoint: None };
            self.report(Report::Claimed(Box::new(report)));
            return self.claim_done(&key, now);
        }
        self.forget_other_claim(&key, &claim);
        let record = RecordKey::new(&key.pod.namespace, &claim.name);
        // The Checkpoint of that name was deleted during its attempt, which continues.
        let is_busy = self.busy.contains_key(&record);
        match self.claiming.entry(record) {
            // Another pod of the same revision is being claimed.
            Entry::Occupied(mut claiming) => return claiming.get_mut().push(key),
            Entry::Vacant(new) => drop(new.insert(Vec::new())),
        }
        if self.may_attempt(now) && !is_busy {
            self.queue.push(key.item(), Some(claim.node.clone()));
            self.timers.set(Timer::Claim(key.clone()), now.boot + LONGEST_WAIT);
            self.prepared.insert(key, claim);
        } else {
            self.unattempted.push_back((key, claim));
        }
    }

    /// A pod that lost its label and has it again starts without claims. Meanwhile its revision may have changed, so that it waits
    /// for another Checkpoint than before.
    fn forget_other_claim(&mut self, key: &ContainerKey, claim: &PreparedClaim) {
        if self.prepared.get(key).is_some_and(|before| before.name != claim.name)
            && let Some(before) = self.prepared.remove(key)
        {
            self.queue.remove(&key.item());
            self.resume_followers(&RecordKey::new(&key.pod.namespace, &before.name));
        }
    }

    /// A container has waited for a slot for long enough.
    pub(super) fn claim_without_attempt(&mut self, key: &ContainerKey, now: Now) {
        let Some(claim) = self.prepared.remove(key) else { return };
        // If the attempt of a manual Checkpoint succeeds, there is nothing to claim. Other pods of a revision do not wait for it.
        let is_of_pod = matches!(claim.target, CheckpointTarget::Pod { .. }) && self.pods.is_claimable(key, now);
        let record = RecordKey::new(&key.pod.namespace, &claim.name);
        if is_of_pod && self.slots.has_subject(&key.subject(), &record, now.boot) {
            self.prepared.insert(key.clone(), claim);
            return self.timers.set(Timer::Claim(key.clone()), now.boot + LONGEST_WAIT);
        }
        self.queue.remove(&key.item());
        self.unattempted.push_back((key.clone(), claim));
    }

    /// A slot on its node is free for this claim, unless an attempt of the same container has one.
    pub(super) fn start_claim_with_attempt(&mut self, key: ContainerKey, now: Now) {
        let Some(claim) = self.prepared.remove(&key) else { return };
        if self.is_superseded(&key, &claim, true, now) {
            return self.timers.cancel(&Timer::Claim(key));
        }
        let record = RecordKey::new(&key.pod.namespace, &claim.name);
        if !self.slots.take(&record, Some(&claim.node), Some(key.subject()), now.boot) {
            let node = Some(claim.node.clone());
            self.blocked.push((key.item(), node));
            self.prepared.insert(key, claim);
            return;
        }
        self.timers.cancel(&Timer::Claim(key.clone()));
        let endpoint = self.endpoint(Some(&claim.node)).map(str::to_owned);
        let permit = self.breakers.issue(endpoint.as_deref(), now.boot);
        self.start_claim(key, claim, Some(permit), now);
    }

    /// While a claim waits, another process can make it, and a manual Checkpoint can succeed. Then the decision is made again.
    fn is_superseded(&mut self, key: &ContainerKey, claim: &PreparedClaim, attempts: bool, now: Now) -> bool {
        let record = RecordKey::new(&key.pod.namespace, &claim.name);
        let is_superseded = self.records.contains(&record)
            || attempts && self.busy.contains_key(&record)
            || self.records.has_success(&key.uid, &key.container, success_of(&claim.target));
        if is_superseded {
            self.resume_followers(&record);
            self.prepare_claim(key.clone(), Some(claim.workload.clone()), now);
        }
        is_superseded
    }

    /// With a permit, the claim is also an attempt, and has a slot.
    fn start_claim(&mut self, key: ContainerKey, claim: PreparedClaim, permit: Option<Permit>, now: Now) {
        let record = RecordKey::new(&key.pod.namespace, &claim.name);
        let attempts = permit.is_some();
        let permit = permit.unwrap_or_default();
        let entry = self.pods.get(&key.pod).filter(|entry| {
            // The revision may have changed too.
            let is_of_target = eligibility::check(Some(&entry.pod), Choice::Target(&claim.target), now.wall).is_ok();
            is_of_target && self.pods.is_claimable(&key, now)
        });
        let must_wait = self.rejected.must_wait(&key);
        let entry = entry.filter(|_| !must_wait);
        let Some((pod, event)) = entry.map(|entry| (entry.pod.clone(), entry.event)) else {
            if attempts {
                self.slots.release(&record);
                self.end_permit(&permit, now);
            }
            self.resume_followers(&record);
            if must_wait {
                return self.hold_back(key, now);
            }
            if self.put_back(&key, now) {
                return;
            }
            let again = self.pods.claim_ineligible(&key, now);
            return self.take(again.into_iter().collect(), now);
        };
        self.retry_started(&key, now);
        let operation = Operation::Claim(Box::new(Claim {
            pod: pod.clone(),
            container: key.container.clone(),
            target: claim.target.clone(),
            workload: claim.workload.clone(),
            name: claim.name.clone(),
            attempts,
        }));
        let task = ClaimTask { key, claim, pod, event, attempts, is_claimed: false };
        self.start(Task::Claim(Box::new(task)), operation, Some(record), permit);
    }
}

/// Why no Checkpoint can be created.
enum NoFreeName {
    /// The Checkpoint of this name is about the same target.
    Exists(String),
    /// Checkpoints of other targets have all names. This is the last.
    AllTaken(String),
}

fn pod_target(key: &ContainerKey) -> CheckpointTarget {
    let ContainerKey { pod, uid, container, image } = key.clone();
    CheckpointTarget::Pod { name: pod.name.to_string(), uid, container, image: image.to_string() }
}

/// By what a success of the same container makes the claim of this target unnecessary.
fn success_of(target: &CheckpointTarget) -> SuccessOf<'_> {
    match target {
        CheckpointTarget::Revision { revision, .. } => SuccessOf::Revision(revision),
        CheckpointTarget::Pod { image, .. } => SuccessOf::Image(image),
        CheckpointTarget::Manual { image, .. } => SuccessOf::Image(image.as_deref().unwrap_or_default()),
    }
}

fn revision_target(key: &ContainerKey, pod: &PodFacts, workload: &Workload) -> CheckpointTarget {
    let Workload { api_version, kind, name, uid } = workload.clone();
    let workload = WorkloadReference { api_version, kind, name, uid };
    CheckpointTarget::Revision { workload, revision: pod.revision().to_owned(), container: key.container.clone() }
}
