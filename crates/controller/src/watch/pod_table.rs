//! The pods that are watched, about 1 KiB each, and how far the claim of each container has come: a fold over the
//! events of the watch, without I/O.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use kube::runtime::watcher::Event;

use crate::checkpoint::known_pods::KnownPods;
use crate::watch::log_block::SeenAs;
use snapwatcher_api::pod::{PodFacts, PodName, WatchedPod};

use super::eligibility::{Cause, Verdict, assess};

/// How long the watch of records may be behind what was created.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// All labelled pods of the watched namespaces, by UID.
#[derive(Default)]
pub struct Table {
    pods: HashMap<String, Row>,
    /// The same pods, for those who only ask whether one is there.
    alive: KnownPods,
    /// UIDs told by a listing under way, by scope.
    listings: HashMap<usize, HashSet<String>>,
}

struct Row {
    scope: usize,
    pod: PodFacts,
    seen_as: SeenAs,
    /// Ready when last looked at, whatever its labels and annotations ask for.
    is_ready: bool,
    claims: BTreeMap<String, Claim>,
    /// What held the pod back when last looked at.
    held_by: Option<Cause>,
}

/// How far the claim of one container has come; no entry: not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It failed `failures` times before. `again`: a record was deleted meanwhile, and what comes of it may be of the past.
    UnderWay {
        failures: u32,
        again: bool,
    },
    Failed {
        failures: u32,
        again: Timestamp,
    },
    Made,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// The pod is new to this process.
    Seen(PodFacts),
    /// Claim this container.
    Claim { pod: PodFacts, container: String, seen_as: SeenAs },
    /// The pod has become Ready or eligible, or is gone: what waits for it may look at it again.
    Changed(PodName),
    /// Look at this pod again at that time.
    LookAgain { uid: String, at: Timestamp },
    /// Another cause than before holds the pod back.
    Held { pod: PodFacts, cause: Cause },
    /// Nothing holds the pod back any more.
    Freed(PodFacts),
}

impl Table {
    /// An empty table that tells `alive` of its pods.
    pub fn new(alive: KnownPods) -> Self {
        Self { alive, ..Self::default() }
    }

    /// How many pods are watched.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Follows one event of the watch of `scope`.
    pub fn apply(&mut self, scope: usize, event: Event<WatchedPod>, now: Timestamp) -> Vec<Task> {
        match event {
            Event::Init => {
                self.listings.insert(scope, HashSet::new());
                Vec::new()
            }
            Event::InitApply(pod) => {
                let pod = PodFacts::from(pod);
                self.listings.entry(scope).or_default().insert(pod.uid.clone());
                self.note(scope, pod, now)
            }
            Event::InitDone => {
                let listed = self.listings.remove(&scope).unwrap_or_default();
                let gone = self.pods.extract_if(|uid, row| row.scope == scope && !listed.contains(uid));
                gone.inspect(|(uid, _)| self.alive.gone(uid)).map(|(_, row)| Task::Changed(row.pod.name)).collect()
            }
            Event::Apply(pod) => self.note(scope, pod.into(), now),
            Event::Delete(pod) => {
                let gone = pod.metadata.uid.and_then(|uid| self.pods.remove(&uid));
                gone.inspect(|row| self.alive.gone(&row.pod.uid))
                    .map(|row| Task::Changed(row.pod.name))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Looks at a pod again: its delay may be over, or a failed claim due.
    pub fn look_again(&mut self, uid: &str, now: Timestamp) -> Vec<Task> {
        self.pods.get_mut(uid).map(|row| row.tasks(now)).unwrap_or_default()
    }

    /// The claim stands: made now, or before; unless a record was deleted meanwhile, which may have been this one.
    /// It is then claimed once more, when the watch of records has told what there is.
    pub fn claimed(&mut self, uid: &str, container: &str, now: Timestamp) -> Option<Task> {
        let row = self.pods.get_mut(uid)?;
        let is_doubtful = matches!(row.claims.get(container), Some(Claim::UnderWay { again: true, .. }));
        let at = now.saturating_add(LOOK_AGAIN).unwrap_or(Timestamp::MAX);
        let claim = if is_doubtful { Claim::Failed { failures: 0, again: at } } else { Claim::Made };
        row.claims.insert(container.to_owned(), claim);
        is_doubtful.then(|| Task::LookAgain { uid: uid.to_owned(), at })
    }

    /// The live read found the pod not eligible: its next state decides.
    pub fn refused(&mut self, uid: &str, container: &str) {
        if let Some(row) = self.pods.get_mut(uid) {
            row.claims.remove(container);
        }
    }

    /// The claim failed and is made again after a wait that doubles from `wait`, 8 times it at the most: short enough to
    /// be made within 30 s of the API server's return.
    pub fn failed(&mut self, uid: &str, container: &str, wait: SignedDuration, now: Timestamp) -> Option<Task> {
        let row = self.pods.get_mut(uid)?;
        let failures = match row.claims.get(container) {
            Some(Claim::UnderWay { failures, .. }) => failures + 1,
            _ => 1,
        };
        let at = now.saturating_add(wait * (1 << (failures - 1).min(3))).unwrap_or(Timestamp::MAX);
        row.claims.insert(container.to_owned(), Claim::Failed { failures, again: at });
        Some(Task::LookAgain { uid: uid.to_owned(), at })
    }

    /// The records of this pod, or of any where none is named, may be gone: claims are made again where there is none.
    pub fn forget_claims(&mut self, uid: Option<&str>, now: Timestamp) -> Vec<Task> {
        let rows = self.pods.values_mut().filter(|row| uid.is_none_or(|uid| row.pod.uid == uid));
        rows.flat_map(|row| {
            row.claims.retain(|_, claim| *claim != Claim::Made);
            for claim in row.claims.values_mut() {
                if let Claim::UnderWay { again, .. } = claim {
                    *again = true;
                }
            }
            row.tasks(now)
        })
        .collect()
    }

    fn note(&mut self, scope: usize, pod: PodFacts, now: Timestamp) -> Vec<Task> {
        let mut tasks = Vec::new();
        let row = match self.pods.entry(pod.uid.clone()) {
            Entry::Occupied(known) => {
                let row = known.into_mut();
                row.pod = pod;
                row
            }
            Entry::Vacant(new) => {
                self.alive.seen(new.key());
                tasks.push(Task::Seen(pod.clone()));
                let seen_as = if is_eligible(&assess(&pod, now)) { SeenAs::Added } else { SeenAs::Modified };
                let (claims, held_by) = (BTreeMap::new(), None);
                new.insert(Row { scope, pod, seen_as, is_ready: false, claims, held_by })
            }
        };
        tasks.extend(row.tasks(now));
        tasks
    }
}

impl Row {
    fn tasks(&mut self, now: Timestamp) -> Vec<Task> {
        let verdict = assess(&self.pod, now);
        let mut tasks = Vec::new();
        // A record made by hand may wait for a pod that is not claimed by itself.
        let is_ready = self.pod.running && self.pod.ready_since.is_some();
        if is_ready && !self.is_ready
            || is_eligible(&verdict) && !matches!(self.held_by, None | Some(Cause::Delayed(_)))
        {
            tasks.push(Task::Changed(self.pod.name.clone()));
        }
        self.is_ready = is_ready;
        let held_by = match verdict {
            Verdict::Claim(containers) => {
                tasks.extend(containers.into_iter().filter_map(|container| self.claim(container, now)));
                None
            }
            Verdict::Delayed(at) => {
                tasks.push(Task::LookAgain { uid: self.pod.uid.clone(), at });
                Some(Cause::Delayed(at))
            }
            Verdict::Wait(cause) | Verdict::Never(cause) => Some(cause),
        };
        if let Some(cause) = &held_by
            && self.held_by != held_by
        {
            tasks.push(Task::Held { pod: self.pod.clone(), cause: cause.clone() });
        }
        if held_by.is_none() && self.held_by.is_some() {
            tasks.push(Task::Freed(self.pod.clone()));
        }
        self.held_by = held_by;
        tasks
    }

    fn claim(&mut self, container: String, now: Timestamp) -> Option<Task> {
        let failures = match self.claims.get(&container) {
            None => 0,
            Some(&Claim::Failed { failures, again }) if again <= now => failures,
            Some(_) => return None,
        };
        self.claims.insert(container.clone(), Claim::UnderWay { failures, again: false });
        Some(Task::Claim { pod: self.pod.clone(), container, seen_as: self.seen_as })
    }
}

fn is_eligible(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Claim(_) | Verdict::Delayed(_))
}

#[cfg(test)]
mod tests;
