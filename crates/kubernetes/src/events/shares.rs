//! How many Events of each namespace are queued, so that those of one namespace do not fill the queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The Events of one namespace may fill one of this many equal parts of the queue.
const PARTS: usize = 4;

/// The number of queued Events by namespace; no entry is 0. A clone shares it.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    queued: Arc<Mutex<HashMap<String, usize>>>,
    /// The most Events of one namespace.
    most: usize,
    /// The most Events of all namespaces.
    length: usize,
}

impl Shares {
    /// `length`: of the queue.
    pub(super) fn of_queue(length: usize) -> Self {
        Self { queued: Arc::default(), most: length / PARTS, length }
    }

    /// Counts one more Event. False: the namespace has its share already, or there are as many of all as the queue is long.
    pub(super) fn take(&self, namespace: &str) -> bool {
        let mut queued = self.queued();
        if queued.values().sum::<usize>() >= self.length {
            return false;
        }
        let count = queued.entry(namespace.to_owned()).or_default();
        if *count >= self.most {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one Event less.
    pub(super) fn release(&self, namespace: &str) {
        let mut queued = self.queued();
        let Some(count) = queued.get_mut(namespace) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            queued.remove(namespace);
        }
    }

    #[cfg(test)]
    pub(super) fn queued_of(&self, namespace: &str) -> usize {
        self.queued().get(namespace).copied().unwrap_or_default()
    }

    fn queued(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_its_share_and_nothing_is_kept_of_it_afterwards() {
        let shares = Shares::of_queue(2 * PARTS);
        assert!(shares.take("a") && shares.take("a") && !shares.take("a") && shares.take("b"));
        shares.release("a");
        assert!(shares.take("a"));
        for namespace in ["a", "a", "b", "b"] {
            shares.release(namespace);
        }
        assert!(shares.queued().is_empty());
    }

    #[test]
    fn all_namespaces_together_have_no_more_than_the_length() {
        let shares = Shares::of_queue(4);
        assert!(["a", "b", "c", "d"].into_iter().all(|namespace| shares.take(namespace)) && !shares.take("e"));
        shares.release("a");
        assert!(shares.take("e"));
    }
}
