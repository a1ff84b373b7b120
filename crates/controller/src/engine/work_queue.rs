//! What waits for a slot: claims with their first attempt, and attempts of Checkpoints. The namespace that has the fewest slots
//! comes first, round-robin among those that have as many, so that a large or slow namespace does not delay another.
//!
//! Within a namespace the item that has waited longest comes first, of those whose node has a free slot.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::pod_action::ContainerKey;
use super::record_key::RecordKey;

/// So many places of removed items may be left beside those that are queued.
const MOST_REMOVED: usize = 1024;

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WorkItem {
    /// The claim of a pod's container, which is its first attempt too.
    Claim(ContainerKey),
    /// An attempt of a Checkpoint.
    Attempt(RecordKey),
}

impl WorkItem {
    fn namespace(&self) -> &str {
        match self {
            Self::Claim(key) => &key.pod.namespace,
            Self::Attempt(key) => key.namespace(),
        }
    }

    fn is_attempt(&self) -> bool {
        matches!(self, Self::Attempt(_))
    }
}

/// Items that wait, each once.
#[derive(Default)]
pub(super) struct WorkQueue {
    /// Namespaces in the order in which they are served.
    round_robin: VecDeque<String>,
    waiting: BTreeMap<String, NamespaceQueue>,
    /// The arrival number and the node of each item.
    queued: HashMap<WorkItem, (u64, Option<String>)>,
    attempts: usize,
    /// Places in the lines whose item was removed, or moved to another line.
    removed: usize,
    /// How many were ever queued: the number of the last arrival.
    arrivals: u64,
}

/// Arrival number and item, by node (`None`: not known).
type NamespaceQueue = BTreeMap<Option<String>, VecDeque<(u64, WorkItem)>>;

impl WorkQueue {
    /// How many attempts of Checkpoints wait.
    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    pub(super) fn len(&self) -> usize {
        self.queued.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    pub(super) fn contains(&self, item: &WorkItem) -> bool {
        self.queued.contains_key(item)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Appends an item. One that is queued already keeps its arrival number, but moves to the line of that node.
    pub(super) fn push(&mut self, item: WorkItem, node: Option<String>) {
        let arrival = match self.queued.get(&item) {
            Some((_, queued)) if *queued == node => return,
            Some((arrival, _)) => {
                self.removed += 1;
                *arrival
            }
            None => {
                self.arrivals += 1;
                self.attempts += usize::from(item.is_attempt());
                self.arrivals
            }
        };
        self.queued.insert(item.clone(), (arrival, node.clone()));
        let namespace = item.namespace().to_owned();
        if !self.waiting.contains_key(&namespace) {
            self.round_robin.push_back(namespace.clone());
        }
        let line = self.waiting.entry(namespace).or_default().entry(node).or_default();
        let place = line.partition_point(|(number, _)| *number < arrival);
        if line.get(place).is_none_or(|(number, _)| *number != arrival) {
            line.insert(place, (arrival, item));
        }
        self.drop_removed();
    }

    /// Removes an item. True: it was queued.
    pub(super) fn remove(&mut self, item: &WorkItem) -> bool {
        let was_queued = self.take(item);
        // Its place in the line is dropped when it comes up, or when there are many such places.
        self.removed += usize::from(was_queued);
        self.drop_removed();
        was_queued
    }

    fn drop_removed(&mut self) {
        if self.removed > self.queued.len() + MOST_REMOVED {
            let queued = &self.queued;
            for (node, line) in self.waiting.values_mut().flatten() {
                line.retain(|place| has_place(queued, place, node.as_ref()));
            }
            self.removed = 0;
        }
    }

    fn take(&mut self, item: &WorkItem) -> bool {
        let was_queued = self.queued.remove(item).is_some();
        self.attempts -= usize::from(was_queued && item.is_attempt());
        was_queued
    }

    /// Takes the next item that can start, by its namespace and its node (`None`: not known). `taken` is how many slots a namespace
    /// has.
    pub(super) fn pop(
        &mut self,
        taken: impl Fn(&str) -> usize,
        can_start: impl Fn(&str, Option<&str>) -> bool,
    ) -> Option<(WorkItem, Option<String>)> {
        let mut positions: Vec<usize> = (0..self.round_robin.len()).collect();
        positions.sort_by_cached_key(|&position| taken(&self.round_robin[position]));
        for position in positions {
            let namespace = self.round_robin[position].clone();
            let Some(nodes) = self.waiting.get_mut(&namespace) else { continue };
            for (node, line) in nodes.iter_mut() {
                while line.front().is_some_and(|place| !has_place(&self.queued, place, node.as_ref())) {
                    line.pop_front();
                }
            }
            nodes.retain(|_, line| !line.is_empty());
            let free = nodes.iter().filter(|(node, _)| can_start(&namespace, node.as_deref()));
            let first = free.filter_map(|(node, line)| Some((line.front()?.0, node))).min();
            let Some(node) = first.map(|(_, node)| node.clone()) else { continue };
            let (_, item) = nodes.get_mut(&node).and_then(VecDeque::pop_front)?;
            nodes.retain(|_, line| !line.is_empty());
            let is_done = nodes.is_empty();
            self.round_robin.remove(position);
            if is_done {
                self.waiting.remove(&namespace);
            } else {
                self.round_robin.push_back(namespace);
            }
            self.take(&item);
            return Some((item, node));
        }
        self.drop_empty_namespaces();
        None
    }

    fn drop_empty_namespaces(&mut self) {
        self.waiting.retain(|_, nodes| !nodes.is_empty());
        self.round_robin.retain(|namespace| self.waiting.contains_key(namespace));
    }
}

/// Whether the item at that place of the line of `node` is queued there.
fn has_place(
    queued: &HashMap<WorkItem, (u64, Option<String>)>,
    (arrival, item): &(u64, WorkItem),
    node: Option<&String>,
) -> bool {
    queued.get(item).is_some_and(|(number, of)| number == arrival && of.as_ref() == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(namespace: &str, name: &str) -> WorkItem {
        WorkItem::Attempt(RecordKey::new(namespace, name))
    }

    fn push(queue: &mut WorkQueue, namespace: &str, name: &str, node: Option<&str>) {
        queue.push(item(namespace, name), node.map(Into::into));
    }

    fn order(queue: &mut WorkQueue, can_start: impl Fn(Option<&str>) -> bool + Copy) -> Vec<String> {
        let text = |item| if let WorkItem::Attempt(key) = item { key.to_string() } else { String::new() };
        std::iter::from_fn(|| queue.pop(|_| 0, |_, node| can_start(node))).map(|(item, _)| text(item)).collect()
    }

    #[test]
    fn namespaces_are_served_round_robin_and_each_keeps_its_order() {
        let mut queue = WorkQueue::default();
        for name in ["1", "2", "3"] {
            push(&mut queue, "large", name, Some("n1"));
        }
        push(&mut queue, "small", "1", Some("n1"));
        assert_eq!(order(&mut queue, |_| true), ["large/1", "small/1", "large/2", "large/3"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_node_delays_only_its_own_items() {
        let mut queue = WorkQueue::default();
        push(&mut queue, "a", "1", Some("full"));
        push(&mut queue, "a", "2", Some("free"));
        push(&mut queue, "b", "1", Some("full"));
        push(&mut queue, "b", "2", None);
        assert_eq!(order(&mut queue, |node| node != Some("full")), ["a/2", "b/2"]);
        assert_eq!(queue.attempts(), 2);
        assert_eq!(order(&mut queue, |_| true), ["a/1", "b/1"]);
    }

    #[test]
    fn an_item_is_queued_once() {
        let mut queue = WorkQueue::default();
        push(&mut queue, "a", "1", None);
        push(&mut queue, "a", "1", None);
        assert_eq!(order(&mut queue, |_| true), ["a/1"]);
        push(&mut queue, "a", "1", None);
        assert_eq!(queue.attempts(), 1, "and again after it was taken");
    }

    #[test]
    fn an_item_that_needs_another_node_moves_and_keeps_its_age() {
        let mut queue = WorkQueue::default();
        for name in ["1", "2"] {
            push(&mut queue, "a", name, Some("full"));
        }
        push(&mut queue, "a", "3", Some("free"));
        push(&mut queue, "a", "2", Some("free"));
        assert_eq!(queue.attempts(), 3);
        assert_eq!(order(&mut queue, |node| node != Some("full")), ["a/2", "a/3"]);
        push(&mut queue, "a", "1", Some("free"));
        push(&mut queue, "a", "1", Some("full"));
        assert_eq!(order(&mut queue, |_| true), ["a/1"], "it is there once");
        assert!(queue.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn a_removed_item_is_not_taken_until_it_is_queued_again() {
        let mut queue = WorkQueue::default();
        push(&mut queue, "a", "1", None);
        push(&mut queue, "a", "2", None);
        assert!(queue.remove(&item("a", "1")) && !queue.remove(&item("a", "1")));
        assert_eq!(order(&mut queue, |_| true), ["a/2"]);
        assert!(queue.waiting.is_empty() && queue.round_robin.is_empty());
    }

    #[test]
    fn removed_items_do_not_pile_up() {
        let mut queue = WorkQueue::default();
        for number in 0..10 * MOST_REMOVED {
            push(&mut queue, "a", &number.to_string(), None);
            assert!(queue.remove(&item("a", &number.to_string())));
        }
        let places: usize = queue.waiting.values().flat_map(BTreeMap::values).map(VecDeque::len).sum();
        assert!(places <= MOST_REMOVED + 1, "{places}");
    }

    #[test]
    fn small_namespaces_are_among_the_first_served() {
        let mut queue = WorkQueue::default();
        for number in 0..180 {
            push(&mut queue, "large", &format!("{number:03}"), Some("n1"));
        }
        for number in 0..10 {
            push(&mut queue, "small", &number.to_string(), Some("n1"));
            push(&mut queue, "tiny", &number.to_string(), Some("n2"));
        }
        let first: Vec<_> = order(&mut queue, |_| true).into_iter().take(60).collect();
        assert_eq!(first.iter().filter(|key| !key.starts_with("large")).count(), 20);
    }

    #[test]
    fn the_namespace_with_the_fewest_slots_comes_first() {
        let mut queue = WorkQueue::default();
        for name in ["1", "2"] {
            push(&mut queue, "slow", name, Some("n1"));
            push(&mut queue, "quick", name, Some("n1"));
        }
        let taken = |namespace: &str| usize::from(namespace == "slow");
        let next = queue.pop(taken, |namespace, _| namespace != "full").map(|(item, _)| item);
        assert_eq!(next, Some(item("quick", "1")));
        assert_eq!(
            queue.pop(taken, |namespace, _| namespace != "quick").map(|(item, _)| item),
            Some(item("slow", "1"))
        );
        assert_eq!(queue.pop(taken, |_, _| true).map(|(item, _)| item), Some(item("quick", "2")));
    }
}
