//! The nodes whose last answer was that they are not prepared for checkpoints, and for how many namespaces.
//!
//! Such an answer can be about one pod: its RuntimeClass may name a runtime that finds no CRIU, on a node where others find it. So
//! it opens the circuit breaker of the node only if pods of two namespaces in a row get it. Until then each Checkpoint waits alone,
//! and the node is only the last choice for the pods of a revision.

use std::collections::HashMap;
use std::time::Duration;

/// A node is dropped when no attempt got this answer for so long: a day, as a circuit breaker is.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The nodes, by the address of their endpoint.
#[derive(Debug, Default)]
pub(super) struct UnpreparedNodes(HashMap<String, Unprepared>);

#[derive(Debug)]
struct Unprepared {
    /// The namespace of the first pod with this answer.
    namespace: String,
    is_of_several: bool,
    last: Duration,
}

impl UnpreparedNodes {
    /// Notes this answer about a pod of the namespace, and returns whether it is about all pods of the node.
    pub(super) fn note(&mut self, endpoint: &str, namespace: &str, now: Duration) -> bool {
        self.0.retain(|_, node| now.saturating_sub(node.last) <= FORGET_AFTER);
        let first = || Unprepared { namespace: namespace.to_owned(), is_of_several: false, last: now };
        let node = self.0.entry(endpoint.to_owned()).or_insert_with(first);
        node.last = now;
        node.is_of_several |= node.namespace != namespace;
        node.is_of_several
    }

    /// Notes another answer.
    pub(super) fn forget(&mut self, endpoint: &str) {
        self.0.remove(endpoint);
    }

    /// When the node last gave this answer, if it has given no other since.
    pub(super) fn noted_at(&self, endpoint: &str, now: Duration) -> Option<Duration> {
        let last = self.0.get(endpoint)?.last;
        (now.saturating_sub(last) <= FORGET_AFTER).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_pods_of_one_namespace_say_nothing_about_the_node() {
        let mut nodes = UnpreparedNodes::default();
        assert_eq!([0, 1, 2, 3].map(|second| nodes.note("n1", "hostile", at(second))), [false; 4]);
        assert!(!nodes.note("n2", "other", at(4)), "another node");
        assert!(nodes.note("n1", "other", at(5)), "a pod of another namespace gets the same answer");
        assert!(nodes.note("n1", "hostile", at(6)));
        nodes.forget("n1");
        assert_eq!(nodes.noted_at("n1", at(6)), None);
        assert!(!nodes.note("n1", "other", at(7)), "the count starts again");
    }

    #[test]
    fn what_is_kept_of_a_node_that_is_gone_is_dropped_after_a_day() {
        let mut nodes = UnpreparedNodes::default();
        nodes.note("gone", "a", at(0));
        nodes.note("n2", "a", at(86_400));
        assert_eq!(nodes.noted_at("gone", at(86_400)), Some(at(0)));
        assert_eq!(nodes.noted_at("gone", at(86_401)), None, "also without another answer");
        nodes.note("n2", "a", at(86_401));
        assert_eq!(nodes.noted_at("gone", at(86_400)), None);
    }
}
