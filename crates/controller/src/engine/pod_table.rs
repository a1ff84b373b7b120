//! The watched pods, less than 1 KiB each. The table turns the events of the watch into actions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::Event;

use snapwatcher_api::eligibility::{self, Choice, Ineligible};
use snapwatcher_api::pod::{PodFacts, PodName, RevisionLabels, WatchedPod};
use snapwatcher_kubernetes::backoff::Backoff;

use super::message::Now;
use super::pod_action::{ContainerKey, PodAction};
use super::pod_entry::{ClaimState, PodEntry};
use super::revision_index::{RevisionDigest, RevisionIndex};
use super::shared_facts::SharedFacts;
use crate::log_block::BlockEvent;

/// By how much the watch of Checkpoints may lag behind a claim.
const INDEX_LAG: Duration = Duration::from_secs(2);

/// The waits before a claim is retried, unless it was rejected. The longest is short enough for a claim within 30 s of the API
/// server's return.
pub(super) const CLAIM_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));

/// The same of claims that were rejected, or that have had no effect, and of those without a name. A quota, a missing right or a
/// webhook prevents those of many pods for long.
pub(super) const REJECTED_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// All labeled pods of the watched namespaces, in order, so that equal histories take equal steps.
#[derive(Default)]
pub(super) struct PodTable {
    /// Boxed, since a node of the map has up to twice as many slots as entries.
    pods: BTreeMap<PodName, Box<PodEntry>>,
    by_revision: RevisionIndex,
    shared: SharedFacts,
    revision_labels: RevisionLabels,
    /// What a listing under way has delivered, by scope.
    listings: HashMap<usize, HashSet<PodName>>,
    /// The scopes whose first listing is complete; false: [`Self::is_newly_listed`] has not said so yet.
    listed: HashMap<usize, bool>,
}

impl PodTable {
    /// Without pods. The labels name the revision of a pod.
    pub(super) fn new(revision_labels: RevisionLabels) -> Self {
        Self { revision_labels, ..Self::default() }
    }

    /// How many pods are watched.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn is_listed(&self, scope: usize) -> bool {
        self.listed.contains_key(&scope)
    }

    /// Whether the first listing of a scope is complete. True once.
    pub(super) fn is_newly_listed(&mut self, scope: usize) -> bool {
        self.listed.get_mut(&scope).is_some_and(|was_asked| !std::mem::replace(was_asked, true))
    }

    pub(super) fn get(&self, pod: &PodName) -> Option<&PodEntry> {
        self.pods.get(pod).map(|entry| &**entry)
    }

    /// Whether the first listing with that pod was complete before.
    pub(super) fn is_newcomer(&self, pod: &PodName) -> bool {
        self.pods.get(pod).is_some_and(|entry| self.is_listed(entry.scope))
    }

    /// The pods of that revision of a workload, and those of the revision whose workload is not known yet.
    pub(super) fn of_revision<'p>(
        &'p self,
        namespace: &'p str,
        revision: &'p str,
        workload_uid: &'p str,
    ) -> impl Iterator<Item = &'p PodEntry> {
        let digest = |workload| RevisionDigest::new(namespace, revision, workload);
        let namespace: Arc<str> = namespace.into();
        let names = self.by_revision.names(digest(Some(workload_uid))).chain(self.by_revision.names(digest(None)));
        let pods =
            names.filter_map(move |name| self.get(&PodName { namespace: namespace.clone(), name: name.clone() }));
        let is_of_workload =
            move |entry: &&PodEntry| entry.workload_uid.as_deref().is_none_or(|uid| uid == workload_uid);
        pods.filter(move |entry| entry.pod.revision() == revision).filter(is_of_workload)
    }

    pub(super) fn has_several_namespaces(&self) -> bool {
        let ends = self.pods.first_key_value().zip(self.pods.last_key_value());
        ends.is_some_and(|((first, _), (last, _))| first.namespace != last.namespace)
    }

    /// The UIDs of all pods.
    pub(super) fn uids(&self) -> HashSet<String> {
        self.pods.values().map(|entry| entry.pod.uid.clone()).collect()
    }

    /// The workload of a pod was looked up.
    pub(super) fn set_workload(&mut self, pod: &PodName, uid: &str, workload_uid: &str) {
        if let Some(entry) = self.pods.get_mut(pod).filter(|entry| entry.pod.uid == uid) {
            let before = RevisionDigest::of(entry);
            entry.workload_uid = Some(self.shared.text(workload_uid));
            self.by_revision.change(before, RevisionDigest::of(entry), &pod.name);
        }
    }

    /// Takes over one event of the watch of `scope`.
    pub(super) fn apply(&mut self, scope: usize, event: Event<WatchedPod>, now: Now) -> Vec<PodAction> {
        match event {
            Event::Init => {
                self.listings.insert(scope, HashSet::new());
                Vec::new()
            }
            Event::InitApply(pod) => {
                let pod = PodFacts::read(pod, &self.revision_labels);
                self.listings.entry(scope).or_default().insert(pod.name.clone());
                self.update(scope, pod, now)
            }
            Event::InitDone => {
                self.listed.entry(scope).or_insert(false);
                let listed = self.listings.remove(&scope).unwrap_or_default();
                let of_scope = self.pods.iter().filter(|(_, entry)| entry.scope == scope);
                let gone: Vec<PodName> =
                    of_scope.filter(|(name, _)| !listed.contains(*name)).map(|(name, _)| name.clone()).collect();
                gone.iter().filter_map(|name| self.remove(name)).collect()
            }
            Event::Apply(pod) => {
                let pod = PodFacts::read(pod, &self.revision_labels);
                self.update(scope, pod, now)
            }
            Event::Delete(pod) => {
                let pod = PodFacts::read(pod, &self.revision_labels);
                let is_known = self.pods.get(&pod.name).is_some_and(|entry| entry.pod.uid == pod.uid);
                is_known.then(|| self.remove(&pod.name)).flatten().into_iter().collect()
            }
        }
    }

    /// Assesses a pod again: its delay may have passed, or the retry of a claim may be due.
    pub(super) fn recheck(&mut self, pod: &PodName, now: Now) -> Vec<PodAction> {
        self.pods.get_mut(pod).map(|entry| entry.actions(now)).unwrap_or_default()
    }

    /// Whether that container is still to be claimed, by the last state of its pod.
    pub(super) fn is_claimable(&self, key: &ContainerKey, now: Now) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        let eligible = eligibility::check(Some(&entry.pod), Choice::Annotated, now.wall);
        entry.has_image_of(key) && eligible.is_ok_and(|containers| containers.contains(&key.container))
    }

    /// The container has a Checkpoint, unless the claim is outdated. Then it is repeated, after the watch of Checkpoints has had
    /// time to catch up. A claim from before the pod lost its label and got it again can end late, and decides nothing.
    pub(super) fn claim_done(&mut self, key: &ContainerKey, now: Now) -> Option<PodAction> {
        let entry = self.entry_mut(key)?;
        match entry.claim(&key.container) {
            Some(ClaimState::UnderWay { is_outdated: true, .. }) => {
                let retry_at = now.boot + INDEX_LAG;
                entry.set_claim(&key.container, Some(ClaimState::Failed { failures: 0, retry_at }));
                let at = entry.next_retry(now)?;
                Some(PodAction::Recheck { pod: key.pod.clone(), at })
            }
            Some(ClaimState::UnderWay { is_outdated: false, .. }) if entry.has_image_of(key) => {
                entry.set_claim(&key.container, Some(ClaimState::Done));
                None
            }
            _ => None,
        }
    }

    /// The pod is not eligible. Its next state decides, or the end of its delay, since a clock can be set back. After an update
    /// in place the state that decides may be known already.
    pub(super) fn claim_ineligible(&mut self, key: &ContainerKey, now: Now) -> Option<PodAction> {
        let entry = self.entry_mut(key)?;
        let is_outdated = matches!(entry.claim(&key.container), Some(ClaimState::UnderWay { is_outdated: true, .. }));
        entry.set_claim(&key.container, None);
        if is_outdated {
            return Some(PodAction::Recheck { pod: key.pod.clone(), at: now.boot });
        }
        match eligibility::check(Some(&entry.pod), Choice::Annotated, now.wall) {
            Err(Ineligible::Delayed(at)) => Some(PodAction::Recheck { pod: key.pod.clone(), at: now.boot_at(at) }),
            _ => None,
        }
    }

    /// The claim failed, and is retried after a wait. `jitter` is from 0 to 1.
    pub(super) fn claim_failed(
        &mut self,
        key: &ContainerKey,
        retry: Backoff,
        jitter: f64,
        now: Now,
    ) -> Option<PodAction> {
        let entry = self.entry_mut(key)?;
        let failures = match entry.claim(&key.container) {
            Some(ClaimState::UnderWay { failures, .. }) => failures + 1,
            _ => 1,
        };
        let retry_at = now.boot + retry.wait(failures, jitter);
        entry.set_claim(&key.container, Some(ClaimState::Failed { failures, retry_at }));
        let at = entry.next_retry(now)?;
        Some(PodAction::Recheck { pod: key.pod.clone(), at })
    }

    /// The claim was rejected, and is not tried again before [`Self::retry_rejected`]. False: it was of another image.
    pub(super) fn claim_rejected(&mut self, key: &ContainerKey) -> bool {
        let Some(entry) = self.entry_mut(key) else { return false };
        // When it is tried again, revision and Checkpoints are looked at again.
        let is_current = entry.has_image_of(key);
        entry.set_claim(&key.container, is_current.then_some(ClaimState::Rejected));
        is_current
    }

    /// Assesses a pod again whose claim was rejected.
    pub(super) fn retry_rejected(&mut self, key: &ContainerKey, now: Now) -> Vec<PodAction> {
        let Some(entry) = self.entry_mut(key) else { return Vec::new() };
        if entry.claim(&key.container) != Some(ClaimState::Rejected) || !entry.has_image_of(key) {
            return Vec::new();
        }
        entry.set_claim(&key.container, None);
        entry.actions(now)
    }

    /// Checkpoints of these pods were deleted. Containers without a Checkpoint are claimed again.
    pub(super) fn reclaim(&mut self, is_about: impl Fn(&PodEntry) -> bool, now: Now) -> Vec<PodAction> {
        let entries = self.pods.values_mut().filter(|entry| is_about(entry));
        entries.flat_map(|entry| entry.reclaim(now)).collect()
    }

    /// The same of pods of one namespace. The deletion of Checkpoints there costs no look at the pods of other namespaces.
    pub(super) fn reclaim_in(
        &mut self,
        namespace: &str,
        is_about: impl Fn(&PodEntry) -> bool,
        now: Now,
    ) -> Vec<PodAction> {
        let entries = self.pods.range_mut(start_of(namespace)..).take_while(|(name, _)| *name.namespace == *namespace);
        entries.filter(|(_, entry)| is_about(entry)).flat_map(|(_, entry)| entry.reclaim(now)).collect()
    }

    /// The same of one pod.
    pub(super) fn reclaim_pod(&mut self, name: &PodName, uid: &str, now: Now) -> Vec<PodAction> {
        let entry = self.pods.get_mut(name).filter(|entry| entry.pod.uid == uid);
        entry.map(|entry| entry.reclaim(now)).unwrap_or_default()
    }

    fn update(&mut self, scope: usize, pod: PodFacts, now: Now) -> Vec<PodAction> {
        let mut actions = Vec::new();
        let pod = self.kept(pod);
        let mut pod = self.shared.share(pod);
        // It only matters when the pod is seen for the first time.
        let admission = pod.admission.take();
        // Another pod of the same name is a new pod.
        if self.pods.get(&pod.name).is_some_and(|known| known.pod.uid != pod.uid) {
            actions.extend(self.remove(&pod.name));
        }
        if let Some(entry) = self.pods.get_mut(&pod.name) {
            let before = RevisionDigest::of(entry);
            actions.extend(entry.update(pod, now));
            self.by_revision.change(before, RevisionDigest::of(entry), &entry.pod.name.name);
            actions.extend(entry.actions(now));
            return actions;
        }
        actions.push(PodAction::Seen(PodFacts { admission, ..pod.clone() }));
        let eligible = eligibility::check(Some(&pod), Choice::Annotated, now.wall);
        let is_eligible = matches!(eligible, Ok(_) | Err(Ineligible::Delayed(_)));
        let event = if is_eligible { BlockEvent::Added } else { BlockEvent::Modified };
        let name = pod.name.clone();
        let mut entry = Box::new(PodEntry::new(scope, pod, event));
        actions.extend(entry.actions(now));
        self.by_revision.insert(RevisionDigest::of(&entry), name.name.clone());
        self.pods.insert(name, entry);
        actions
    }

    /// What is kept of a pod. Of one that has not run, or that has ended, no containers are: they can be large, need no node, and
    /// nothing is claimed. A pod that stops running for a while keeps those that it had, so that an update in place is seen.
    fn kept(&self, pod: PodFacts) -> PodFacts {
        let known = || self.pods.get(&pod.name).map(|entry| &entry.pod).filter(|known| known.uid == pod.uid);
        let had_containers = || known().is_some_and(|known| !known.containers.is_empty());
        if pod.ended || !pod.running && !had_containers() { pod.summary() } else { pod }
    }

    fn remove(&mut self, name: &PodName) -> Option<PodAction> {
        let entry = self.pods.remove(name)?;
        self.by_revision.remove(RevisionDigest::of(&entry), &name.name);
        Some(PodAction::changed(&entry.pod))
    }

    fn entry(&self, key: &ContainerKey) -> Option<&PodEntry> {
        self.get(&key.pod).filter(|entry| entry.pod.uid == key.uid)
    }

    fn entry_mut(&mut self, key: &ContainerKey) -> Option<&mut PodEntry> {
        self.pods.get_mut(&key.pod).filter(|entry| entry.pod.uid == key.uid).map(|entry| &mut **entry)
    }
}

/// Before the names of all pods of a namespace.
fn start_of(namespace: &str) -> PodName {
    PodName { namespace: namespace.into(), name: "".into() }
}

#[cfg(test)]
mod tests;
