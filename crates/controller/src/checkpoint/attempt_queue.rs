//! The queue of attempts: round-robin over namespaces, so that a large namespace does not delay a small one.
//!
//! Within a namespace the Checkpoint that has waited longest comes first, of those whose node has a free slot.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::Checkpoint;

/// Checkpoints that wait for their attempt, each once and in its newest version.
#[derive(Default)]
pub(super) struct AttemptQueue {
    /// Namespaces in the order in which they are served.
    round_robin: VecDeque<String>,
    waiting: BTreeMap<String, NamespaceQueue>,
    /// All queued Checkpoints, by UID.
    checkpoints: HashMap<String, Arc<Checkpoint>>,
    /// How many were ever queued: the number of the last arrival.
    arrivals: u64,
}

/// Arrival number and UID of the Checkpoints of one namespace, by node (`None`: not known).
type NamespaceQueue = BTreeMap<Option<String>, VecDeque<(u64, String)>>;

/// A Checkpoint that was taken from the queue.
#[derive(Debug, Clone)]
pub(super) struct QueuedAttempt {
    pub uid: String,
    pub checkpoint: Arc<Checkpoint>,
    /// The node of its pod, if it is known.
    pub node: Option<String>,
}

impl AttemptQueue {
    pub(super) fn len(&self) -> usize {
        self.checkpoints.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.checkpoints.is_empty()
    }

    /// Appends a Checkpoint. One that is queued already keeps its position and gets the new version.
    pub(super) fn push(&mut self, checkpoint: Arc<Checkpoint>, node: Option<String>) {
        let (uid, namespace) = (checkpoint.uid().unwrap_or_default(), checkpoint.namespace().unwrap_or_default());
        if self.checkpoints.insert(uid.clone(), checkpoint).is_some() {
            return;
        }
        self.arrivals += 1;
        if !self.waiting.contains_key(&namespace) {
            self.round_robin.push_back(namespace.clone());
        }
        self.waiting.entry(namespace).or_default().entry(node).or_default().push_back((self.arrivals, uid));
    }

    /// Returns a Checkpoint to the queue, unless a newer version was queued meanwhile.
    pub(super) fn requeue(&mut self, checkpoint: Arc<Checkpoint>, node: Option<String>) {
        if !self.checkpoints.contains_key(&checkpoint.uid().unwrap_or_default()) {
            self.push(checkpoint, node);
        }
    }

    /// Takes the next Checkpoint whose node (`None`: not known) can take an attempt.
    pub(super) fn pop(&mut self, can_start: impl Fn(Option<&str>) -> bool) -> Option<QueuedAttempt> {
        for position in 0..self.round_robin.len() {
            let namespace = self.round_robin[position].clone();
            let Some(nodes) = self.waiting.get_mut(&namespace) else { continue };
            let free = nodes.iter().filter(|(node, _)| can_start(node.as_deref()));
            let first = free.filter_map(|(node, queue)| Some((queue.front()?.0, node))).min();
            let Some(node) = first.map(|(_, node)| node.clone()) else { continue };
            let (_, uid) = nodes.get_mut(&node).and_then(VecDeque::pop_front)?;
            nodes.retain(|_, queue| !queue.is_empty());
            let is_done = nodes.is_empty();
            self.round_robin.remove(position);
            if is_done {
                self.waiting.remove(&namespace);
            } else {
                self.round_robin.push_back(namespace);
            }
            let checkpoint = self.checkpoints.remove(&uid)?;
            return Some(QueuedAttempt { uid, checkpoint, node });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::{CheckpointFixture, checkpoint};

    fn object(namespace: &str, name: &str) -> CheckpointFixture {
        checkpoint(name).namespace(namespace).uid(&format!("{namespace}/{name}"))
    }

    fn push(queue: &mut AttemptQueue, namespace: &str, name: &str, node: Option<&str>) {
        queue.push(Arc::new(object(namespace, name).build()), node.map(Into::into));
    }

    fn order(queue: &mut AttemptQueue, can_start: impl Fn(Option<&str>) -> bool + Copy) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(can_start)).map(|next| next.uid).collect()
    }

    #[test]
    fn namespaces_are_served_round_robin_and_each_keeps_its_order() {
        let mut queue = AttemptQueue::default();
        for name in ["1", "2", "3"] {
            push(&mut queue, "large", name, Some("n1"));
        }
        push(&mut queue, "small", "1", Some("n1"));
        assert_eq!(order(&mut queue, |_| true), ["large/1", "small/1", "large/2", "large/3"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_node_delays_only_its_own_checkpoints() {
        let mut queue = AttemptQueue::default();
        push(&mut queue, "a", "1", Some("full"));
        push(&mut queue, "a", "2", Some("free"));
        push(&mut queue, "b", "1", Some("full"));
        push(&mut queue, "b", "2", None);
        assert_eq!(order(&mut queue, |node| node != Some("full")), ["a/2", "b/2"]);
        assert_eq!(queue.len(), 2);
        assert_eq!(order(&mut queue, |_| true), ["a/1", "b/1"]);
    }

    #[test]
    fn a_checkpoint_is_queued_once() {
        let mut queue = AttemptQueue::default();
        push(&mut queue, "a", "1", None);
        push(&mut queue, "a", "1", None);
        assert_eq!(order(&mut queue, |_| true), ["a/1"]);
        push(&mut queue, "a", "1", None);
        assert_eq!(queue.len(), 1, "and again after it was taken");
    }

    #[test]
    fn the_newest_version_of_a_checkpoint_is_taken() {
        let mut queue = AttemptQueue::default();
        push(&mut queue, "a", "1", None);
        let mut newer = object("a", "1").build();
        newer.metadata.resource_version = Some("2".into());
        queue.push(Arc::new(newer), None);
        assert_eq!(queue.pop(|_| true).unwrap().checkpoint.resource_version().as_deref(), Some("2"));
        assert!(queue.is_empty());
    }

    #[test]
    fn small_namespaces_are_among_the_first_served() {
        let mut queue = AttemptQueue::default();
        for number in 0..180 {
            push(&mut queue, "large", &format!("{number:03}"), Some("n1"));
        }
        for number in 0..10 {
            push(&mut queue, "small", &number.to_string(), Some("n1"));
            push(&mut queue, "tiny", &number.to_string(), Some("n2"));
        }
        let first: Vec<_> = order(&mut queue, |_| true).into_iter().take(60).collect();
        assert_eq!(first.iter().filter(|uid| !uid.starts_with("large")).count(), 20);
    }
}
