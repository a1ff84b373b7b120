//! Claims that the API server has rejected: those of a namespace are tried again one at a time, until one is accepted.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use snapwatcher_api::pod::PodFacts;
use snapwatcher_controller::Input;
use snapwatcher_controller::operation::{Claim, ClaimError, ClaimResult, OperationId, OperationResult, Progress};

use super::facts;
use super::time::seconds;

/// After this time, the next one is tried although the one before has no answer.
const LONGEST_RETRY: Duration = seconds(45);

/// What one process knows of rejected claims.
#[derive(Default)]
pub(super) struct Rejections {
    rejected: HashSet<Tried>,
    /// Claims under way.
    running: HashMap<OperationId, Tried>,
    /// The namespaces that wait, with the claims that were tried again meanwhile, and when.
    waiting: HashMap<String, Vec<(OperationId, Duration)>>,
}

/// A container as it was when it was claimed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Tried {
    namespace: String,
    uid: String,
    container: String,
    image: String,
    revision: String,
}

impl Tried {
    fn new(pod: &PodFacts, container: &str) -> Self {
        Self {
            namespace: pod.name.namespace.to_string(),
            uid: pod.uid.clone(),
            container: container.to_owned(),
            image: facts::image_of(pod, container).unwrap_or_default().to_owned(),
            revision: pod.revision().to_owned(),
        }
    }
}

impl Rejections {
    /// A claim starts. False: it is tried again beside another one.
    pub(super) fn may_start(&mut self, id: OperationId, claim: &Claim, now: Duration) -> bool {
        let tried = Tried::new(&claim.pod, &claim.container);
        let waiting = self.waiting.get_mut(&tried.namespace).filter(|_| self.rejected.contains(&tried));
        self.running.insert(id, tried);
        let Some(others) = waiting else { return true };
        others.retain(|(_, since)| now.saturating_sub(*since) < LONGEST_RETRY);
        others.push((id, now));
        others.len() == 1
    }

    /// What follows from an input of the engine.
    pub(super) fn input(&mut self, input: &Input) {
        match input {
            Input::Progress { id, progress: Progress::Claimed(_) } => self.accepted(*id),
            Input::Finished { id, result: OperationResult::Claim(result) } => match result {
                Ok(ClaimResult::AlreadyClaimed) => self.accepted(*id),
                Err(ClaimError::NoDefinition) => self.was_rejected(*id),
                Err(ClaimError::Call(call)) if call.is_about_object() => self.was_rejected(*id),
                _ => {
                    if let Some(tried) = self.ended(*id) {
                        self.rejected.remove(&tried);
                    }
                }
            },
            // Without an answer, the pod of the search is tried by itself.
            Input::Finished { result: OperationResult::Workload(Err(_)), .. } => *self = Self::default(),
            _ => {}
        }
    }

    /// The pods that the watch shows now. A container that was updated in place is tried as a new one.
    pub(super) fn pods_shown<'p>(&mut self, pods: impl Iterator<Item = &'p PodFacts>) {
        let pods: HashMap<&str, &PodFacts> = pods.map(|pod| (pod.uid.as_str(), pod)).collect();
        let is_as_before =
            |tried: &Tried| pods.get(tried.uid.as_str()).is_some_and(|pod| *tried == Tried::new(pod, &tried.container));
        self.rejected.retain(is_as_before);
        self.running.retain(|_, tried| is_as_before(tried));
    }

    fn accepted(&mut self, id: OperationId) {
        let Some(tried) = self.ended(id) else { return };
        // A container that waits since another one of its Checkpoint was rejected counts as tried again, too.
        self.waiting.remove(&tried.namespace);
        self.rejected.retain(|other| other.namespace != tried.namespace);
    }

    fn was_rejected(&mut self, id: OperationId) {
        let Some(tried) = self.ended(id) else { return };
        self.waiting.entry(tried.namespace.clone()).or_default();
        self.rejected.insert(tried);
    }

    /// A claim has ended. `None`: its pod was updated in place meanwhile.
    fn ended(&mut self, id: OperationId) -> Option<Tried> {
        for others in self.waiting.values_mut() {
            others.retain(|(of, _)| *of != id);
        }
        self.running.remove(&id)
    }
}
