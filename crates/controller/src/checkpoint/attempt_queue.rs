//! The order in which waiting records are attempted: round-robin over namespaces, so that a large one does not hold up a
//! small one, and within a namespace the one that waits longest on a node that has room.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::Checkpoint;

/// Records that wait for their attempt, each once and as it was last told.
#[derive(Default)]
pub struct Queue {
    /// Namespaces in the order of their turns.
    turns: VecDeque<String>,
    waiting: BTreeMap<String, Namespace>,
    /// All that wait, by UID.
    records: HashMap<String, Arc<Checkpoint>>,
    /// How many were ever put in: the order of arrival.
    arrivals: u64,
}

/// Arrival and UID of those of one namespace, by node as far as it is known.
type Namespace = BTreeMap<Option<String>, VecDeque<(u64, String)>>;

/// One record whose turn it is.
#[derive(Debug, Clone)]
pub struct Next {
    pub uid: String,
    pub record: Arc<Checkpoint>,
    /// The node of its pod, if that is known.
    pub node: Option<String>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Puts a record at the end; one that waits already keeps its place.
    pub fn put(&mut self, record: Arc<Checkpoint>, node: Option<String>) {
        let (uid, namespace) = (record.uid().unwrap_or_default(), record.namespace().unwrap_or_default());
        if self.records.insert(uid.clone(), record).is_some() {
            return;
        }
        self.arrivals += 1;
        if !self.waiting.contains_key(&namespace) {
            self.turns.push_back(namespace.clone());
        }
        self.waiting.entry(namespace).or_default().entry(node).or_default().push_back((self.arrivals, uid));
    }

    /// Puts back a record that was taken; what was told of it meanwhile is newer.
    pub fn put_back(&mut self, record: Arc<Checkpoint>, node: Option<String>) {
        if !self.records.contains_key(&record.uid().unwrap_or_default()) {
            self.put(record, node);
        }
    }

    /// Takes the next record whose node, if known, has room.
    pub fn next(&mut self, has_room: impl Fn(Option<&str>) -> bool) -> Option<Next> {
        for turn in 0..self.turns.len() {
            let namespace = self.turns[turn].clone();
            let Some(nodes) = self.waiting.get_mut(&namespace) else { continue };
            let with_room = nodes.iter().filter(|(node, _)| has_room(node.as_deref()));
            let longest = with_room.filter_map(|(node, queue)| Some((queue.front()?.0, node))).min();
            let Some(node) = longest.map(|(_, node)| node.clone()) else { continue };
            let (_, uid) = nodes.get_mut(&node).and_then(VecDeque::pop_front)?;
            nodes.retain(|_, queue| !queue.is_empty());
            let is_done = nodes.is_empty();
            self.turns.remove(turn);
            if is_done {
                self.waiting.remove(&namespace);
            } else {
                self.turns.push_back(namespace);
            }
            let record = self.records.remove(&uid)?;
            return Some(Next { uid, record, node });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::checkpoint::CheckpointSpec;

    fn put(queue: &mut Queue, namespace: &str, name: &str, node: Option<&str>) {
        let mut record = Checkpoint::new(name, CheckpointSpec::default());
        record.metadata.namespace = Some(namespace.into());
        record.metadata.uid = Some(format!("{namespace}/{name}"));
        queue.put(Arc::new(record), node.map(Into::into));
    }

    fn order(queue: &mut Queue, has_room: impl Fn(Option<&str>) -> bool + Copy) -> Vec<String> {
        std::iter::from_fn(|| queue.next(has_room)).map(|next| next.uid).collect()
    }

    #[test]
    fn namespaces_take_turns_and_each_keeps_its_order() {
        let mut queue = Queue::default();
        for name in ["1", "2", "3"] {
            put(&mut queue, "large", name, Some("n1"));
        }
        put(&mut queue, "small", "1", Some("n1"));
        assert_eq!(order(&mut queue, |_| true), ["large/1", "small/1", "large/2", "large/3"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_node_holds_up_only_its_own() {
        let mut queue = Queue::default();
        put(&mut queue, "a", "1", Some("full"));
        put(&mut queue, "a", "2", Some("free"));
        put(&mut queue, "b", "1", Some("full"));
        put(&mut queue, "b", "2", None);
        assert_eq!(order(&mut queue, |node| node != Some("full")), ["a/2", "b/2"]);
        assert_eq!(queue.len(), 2);
        assert_eq!(order(&mut queue, |_| true), ["a/1", "b/1"]);
    }

    #[test]
    fn a_record_waits_once() {
        let mut queue = Queue::default();
        put(&mut queue, "a", "1", None);
        put(&mut queue, "a", "1", None);
        assert_eq!(order(&mut queue, |_| true), ["a/1"]);
        put(&mut queue, "a", "1", None);
        assert_eq!(queue.len(), 1, "and again after it was taken");
    }

    #[test]
    fn a_record_is_taken_as_it_was_last_told() {
        let mut queue = Queue::default();
        put(&mut queue, "a", "1", None);
        let mut newer = Checkpoint::new("1", CheckpointSpec::default());
        newer.metadata.namespace = Some("a".into());
        newer.metadata.uid = Some("a/1".into());
        newer.metadata.resource_version = Some("2".into());
        queue.put(Arc::new(newer), None);
        assert_eq!(queue.next(|_| true).unwrap().record.resource_version().as_deref(), Some("2"));
        assert!(queue.is_empty());
    }

    #[test]
    fn small_namespaces_are_among_the_first_served() {
        let mut queue = Queue::default();
        for number in 0..180 {
            put(&mut queue, "large", &format!("{number:03}"), Some("n1"));
        }
        for number in 0..10 {
            put(&mut queue, "small", &number.to_string(), Some("n1"));
            put(&mut queue, "tiny", &number.to_string(), Some("n2"));
        }
        let first: Vec<_> = order(&mut queue, |_| true).into_iter().take(60).collect();
        assert_eq!(first.iter().filter(|uid| !uid.starts_with("large")).count(), 20);
    }
}
