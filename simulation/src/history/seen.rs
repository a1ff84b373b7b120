//! What one process was shown and has started, as its engine must know it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::PodFacts;
use snapwatcher_controller::operation::OperationId;

use super::facts::{self, AttemptId};
use super::rejections::Rejections;
use super::setup::{LONGEST_SLOT, SEND_WINDOW};

/// An attempt that has started, until its response.
#[derive(Debug, Clone)]
pub(super) struct Attempting {
    /// Of its Checkpoint.
    pub(super) key: String,
    pub(super) node: Option<String>,
    pub(super) subject: Option<(String, String)>,
    /// What it is about if its pod is still as it was. The engine counts by this.
    pub(super) likely: Option<(String, String)>,
    pub(super) since: Duration,
}

/// An operation that runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Started {
    /// Of its Checkpoint.
    pub(super) key: String,
    /// When it started.
    pub(super) since: Duration,
    /// The last live read of a pod, and when it was answered.
    pub(super) live_read: Option<(PodFacts, Duration)>,
    /// Since when it writes its attempt, by that attempt's start.
    pub(super) writes_since: Option<(Option<Timestamp>, Duration)>,
    /// The Checkpoint of the request that leaves next.
    pub(super) requested: Option<Arc<Checkpoint>>,
    /// The process was paused since it started.
    pub(super) was_paused: bool,
}

/// A pod as the watch has shown it.
pub(super) struct ShownPod {
    pub(super) facts: PodFacts,
    /// Containers whose image was changed while they ran.
    outdated: Vec<OutdatedContainer>,
}

/// After this time, a container without a restart is taken to run its image.
const OUTDATED_FOR: Duration = Duration::from_secs(600);

struct OutdatedContainer {
    name: String,
    instance: Option<u64>,
    /// The one that it runs.
    image: String,
    shown_at: Duration,
}

impl ShownPod {
    /// Whether the process knew at that time that the container does not run the image of its spec.
    pub(super) fn is_outdated(&self, live: &PodFacts, container: &str, at: Duration) -> bool {
        let Some(live) = live.container(container) else { return false };
        let is_same = |outdated: &&OutdatedContainer| outdated.name == container && outdated.instance == live.instance;
        let known = self.outdated.iter().find(is_same).filter(|of| of.shown_at < at && at < of.shown_at + OUTDATED_FOR);
        known.is_some_and(|of| *of.image != *live.image)
    }
}

/// An attempt, and when it was first shown.
pub(super) struct ShownAttempt {
    /// Of the Checkpoint.
    uid: String,
    attempt: Option<AttemptId>,
    pub(super) at: Duration,
}

#[derive(Default)]
pub(super) struct Seen {
    /// By `namespace/name`.
    pub(super) records: BTreeMap<String, (usize, Arc<Checkpoint>)>,
    /// The last attempt of each Checkpoint.
    pub(super) attempts: HashMap<String, ShownAttempt>,
    /// By `namespace/name`.
    pub(super) pods: HashMap<String, ShownPod>,
    /// What a listing of pods under way has delivered, by scope.
    pub(super) listed_pods: HashMap<usize, HashSet<String>>,
    listings: HashMap<usize, HashSet<String>>,
    pub(super) listed: HashSet<usize>,
    /// The version of the last write that was answered.
    pub(super) written: HashMap<String, u64>,
    pub(super) attempting: BTreeMap<OperationId, Attempting>,
    /// The containers of attempts that have a response, until their operations end.
    pub(super) answered: HashMap<OperationId, (String, String)>,
    pub(super) started: HashMap<OperationId, Started>,
    pub(super) rejections: Rejections,
    /// When operations on Checkpoints were started lately.
    pub(super) starts: VecDeque<(Duration, String)>,
    pub(super) wakeups: VecDeque<Duration>,
    /// The wall clock has jumped, so that the waits of the engine are not known.
    pub(super) is_clock_wrong: bool,
    /// When leadership changed last.
    leadership_since: Duration,
    /// Until when each endpoint is left alone.
    pub(super) closed_endpoints: HashMap<String, Duration>,
    /// The namespaces whose pods in a row found the node of an endpoint not prepared.
    pub(super) unprepared: HashMap<String, HashSet<String>>,
}

impl Seen {
    /// Leadership has changed.
    pub(super) fn forget(&mut self, now: Duration) {
        self.leadership_since = now;
        self.rejections = Rejections::default();
        self.records.clear();
        // Of a Checkpoint on which an operation works, the process still knows when it saw the attempt first.
        let started: HashSet<&str> = self.started.values().map(|started| started.key.as_str()).collect();
        self.attempts.retain(|key, _| started.contains(key.as_str()));
        self.pods.clear();
        self.listings.clear();
        self.listed.clear();
    }

    /// Waits that were computed before count no longer.
    pub(super) fn clock_jumped(&mut self) {
        self.is_clock_wrong = true;
        for started in self.started.values_mut() {
            started.was_paused = true;
        }
    }

    /// Whether an attempt that was first shown then can be one of a leader before.
    pub(super) fn can_be_of_former_leader(&self, shown_at: Duration) -> bool {
        shown_at < self.leadership_since + SEND_WINDOW + LONGEST_SLOT
    }

    pub(super) fn has_pods_of_several_namespaces(&self) -> bool {
        let mut namespaces = self.pods.values().map(|pod| &pod.facts.name.namespace);
        let first = namespaces.next();
        namespaces.any(|namespace| Some(namespace) != first)
    }

    /// The operations on a Checkpoint.
    pub(super) fn operations_about<'a>(&'a self, key: &'a str) -> impl Iterator<Item = OperationId> + 'a {
        self.started.iter().filter(move |(_, started)| started.key == key).map(|(id, _)| *id)
    }

    pub(super) fn listing_started(&mut self, scope: usize) {
        self.listings.insert(scope, HashSet::new());
    }

    pub(super) fn listing_ended(&mut self, scope: usize) {
        // Checkpoints may be gone, so that claims are made anew.
        self.rejections = Rejections::default();
        let listed = self.listings.remove(&scope).unwrap_or_default();
        self.records.retain(|key, (of, _)| *of != scope || listed.contains(key));
        self.listed.insert(scope);
    }

    pub(super) fn pod_shown(&mut self, pod: &PodFacts, now: Duration) {
        let before = self.pods.remove(&pod.name.to_string()).filter(|before| before.facts.uid == pod.uid);
        let mut outdated = Vec::new();
        if let Some(ShownPod { facts, outdated: before }) = before {
            for (container, earlier) in pod.containers.iter().zip(facts.containers) {
                if container.image != earlier.image && earlier.instance.is_some() {
                    let (name, instance, image) =
                        (container.name.to_string(), earlier.instance, earlier.image.to_string());
                    outdated.push(OutdatedContainer { name, instance, image, shown_at: now });
                }
            }
            // The first image of an instance is the one that it runs.
            let is_first = |new: &OutdatedContainer| {
                !before.iter().any(|old| (&old.name, old.instance) == (&new.name, new.instance))
            };
            outdated.retain(is_first);
            outdated.extend(before);
        }
        self.pods.insert(pod.name.to_string(), ShownPod { facts: pod.clone(), outdated });
    }

    pub(super) fn shown(&mut self, scope: usize, checkpoint: &Arc<Checkpoint>, now: Duration) {
        let key = facts::key(checkpoint);
        if let Some(listing) = self.listings.get_mut(&scope) {
            listing.insert(key.clone());
        }
        let attempt = facts::attempt(checkpoint);
        // A Checkpoint that was deleted can be created again under its name.
        let uid = facts::uid(checkpoint);
        let is_known =
            |known: &ShownAttempt| known.uid == uid && facts::is_same(known.attempt.as_ref(), attempt.as_ref());
        if !self.attempts.get(&key).is_some_and(is_known) {
            self.attempts.insert(key.clone(), ShownAttempt { uid, attempt, at: now });
        }
        self.records.insert(key, (scope, Arc::clone(checkpoint)));
    }

    pub(super) fn deleted(&mut self, checkpoint: &Checkpoint) {
        // Claims are made anew.
        self.rejections = Rejections::default();
        self.records.remove(&facts::key(checkpoint));
    }
}
