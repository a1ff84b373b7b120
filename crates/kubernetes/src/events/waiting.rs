//! The Events that wait to be published, by namespace. A namespace whose Events take long, because an admission webhook of it does
//! not answer, delays no other namespace.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queued::QueuedEvent;

/// After an Event of a namespace got no answer in time, its Events are lost for so long.
const LOST_AFTER_TIMEOUT: Duration = Duration::from_secs(60);

/// An Event that took longer makes its namespace slow: an admission webhook of it takes long.
const SLOW: Duration = Duration::from_secs(1);
/// For so long after such an Event.
const SLOW_FOR: Duration = Duration::from_secs(60);

/// One queue for each namespace. The queue of Events bounds how many wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// No queue is empty.
    queues: HashMap<Arc<str>, VecDeque<QueuedEvent>>,
    /// The namespaces with a queue; the first is served next.
    order: VecDeque<Arc<str>>,
    /// The namespaces of which an Event is being published.
    running: HashSet<Arc<str>>,
    /// The slow namespaces, each until then. One of them is served at a time, so that the others always have a place.
    slow: HashMap<Arc<str>, Instant>,
    /// The namespaces whose Events are lost, each until then.
    unanswered: HashMap<Arc<str>, Instant>,
}

impl Waiting {
    /// Whether Events of that namespace are lost now.
    pub(super) fn is_lost(&mut self, namespace: &str, now: Instant) -> bool {
        self.unanswered.retain(|_, until| now < *until);
        self.unanswered.contains_key(namespace)
    }

    pub(super) fn put(&mut self, event: QueuedEvent) {
        let namespace = &event.object.namespace;
        if !self.queues.contains_key(namespace) {
            self.order.push_back(Arc::clone(namespace));
        }
        self.queues.entry(Arc::clone(namespace)).or_default().push_back(event);
    }

    /// The next Event of the first namespace of which none is being published. It then is.
    pub(super) fn start_next(&mut self) -> Option<QueuedEvent> {
        let is_slow = |namespace: &Arc<str>| self.slow.contains_key(namespace);
        let is_slow_running = self.running.iter().any(is_slow);
        let has_place =
            |namespace: &Arc<str>| !(self.running.contains(namespace) || is_slow_running && is_slow(namespace));
        let at = self.order.iter().position(has_place)?;
        let namespace = self.order.remove(at)?;
        let queue = self.queues.get_mut(&namespace)?;
        let event = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&namespace);
        } else {
            self.order.push_back(Arc::clone(&namespace));
        }
        self.running.insert(namespace);
        event
    }

    /// The Event of a namespace that was being published has taken so long.
    pub(super) fn finished(&mut self, namespace: &Arc<str>, took: Duration, now: Instant) {
        self.running.remove(namespace);
        self.slow.retain(|_, until| now < *until);
        if took > SLOW {
            self.slow.insert(Arc::clone(namespace), now + SLOW_FOR);
        }
    }

    /// Loses the Events of a namespace of which one got no answer in time. Returns those that waited.
    pub(super) fn lose(&mut self, namespace: &Arc<str>, now: Instant) -> VecDeque<QueuedEvent> {
        self.unanswered.insert(Arc::clone(namespace), now + LOST_AFTER_TIMEOUT);
        self.order.retain(|waiting| waiting != namespace);
        self.queues.remove(namespace).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::pod::PodName;

    use super::super::queued::ObjectKind;

    use super::*;

    fn event(namespace: &str, pod: &str) -> QueuedEvent {
        QueuedEvent {
            kind: ObjectKind::Pod,
            object: PodName { namespace: namespace.into(), name: pod.into() },
            uid: None,
            checkpoint: None,
            is_warning: true,
            action: "Checkpoint",
            reason: "Busy",
            note: String::new(),
        }
    }

    fn next(waiting: &mut Waiting) -> Option<String> {
        waiting.start_next().map(|event| event.object.name.to_string())
    }

    #[test]
    fn one_event_of_a_namespace_is_published_at_a_time_and_the_namespaces_alternate() {
        let mut waiting = Waiting::default();
        for (namespace, pod) in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")] {
            waiting.put(event(namespace, pod));
        }
        assert_eq!([next(&mut waiting), next(&mut waiting)].map(Option::unwrap), ["a1", "b1"]);
        assert_eq!(next(&mut waiting), None, "one of each is being published");
        let finish = |waiting: &mut Waiting, namespace: &str| {
            waiting.finished(&namespace.into(), Duration::ZERO, Instant::now());
        };
        finish(&mut waiting, "b");
        assert_eq!(next(&mut waiting).as_deref(), Some("b2"));
        finish(&mut waiting, "a");
        assert_eq!((next(&mut waiting).as_deref(), waiting.len()), (Some("a2"), 1));
    }

    #[test]
    fn slow_namespaces_share_one_place_and_leave_the_other_to_all_others() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        for namespace in ["s1", "s2", "s1", "s2", "shop", "shop"] {
            waiting.put(event(namespace, namespace));
        }
        assert_eq!([next(&mut waiting), next(&mut waiting)].map(Option::unwrap), ["s1", "s2"], "not known yet");
        for namespace in ["s1", "s2"] {
            waiting.finished(&namespace.into(), Duration::from_secs(9), start);
        }
        assert_eq!(next(&mut waiting).as_deref(), Some("shop"));
        assert_eq!(next(&mut waiting).as_deref(), Some("s1"));
        assert_eq!(next(&mut waiting), None, "the other slow one waits");
        waiting.finished(&"shop".into(), Duration::ZERO, start);
        assert_eq!(next(&mut waiting).as_deref(), Some("shop"));
        waiting.finished(&"s1".into(), Duration::from_millis(10), start + SLOW_FOR);
        assert_eq!(next(&mut waiting).as_deref(), Some("s2"));
        assert!(waiting.slow.is_empty());
    }

    #[test]
    fn the_events_of_a_namespace_without_an_answer_are_lost_for_a_minute() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        for (namespace, pod) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
            waiting.put(event(namespace, pod));
        }
        assert_eq!(next(&mut waiting).as_deref(), Some("a1"));
        waiting.finished(&"a".into(), Duration::from_secs(10), start);
        assert_eq!(waiting.lose(&"a".into(), start).len(), 1);
        let end = start + LOST_AFTER_TIMEOUT;
        assert!(waiting.is_lost("a", start) && !waiting.is_lost("b", start) && !waiting.is_lost("a", end));
        assert_eq!((next(&mut waiting).as_deref(), next(&mut waiting)), (Some("b1"), None));
        assert!(waiting.queues.is_empty() && waiting.unanswered.is_empty());
    }
}
