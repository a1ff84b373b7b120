//! The shortest time between two automatic checkpoints of one container.
//!
//! People who may delete Checkpoints can have the same container checkpointed again and again: each time its Checkpoint is
//! created again. A manual Checkpoint is a request of its own, and waits for nothing here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The shortest time.
pub(super) const SHORTEST: Duration = Duration::from_secs(10 * 60);

/// When each container was checkpointed last.
#[derive(Debug, Default)]
pub(super) struct AutomaticInterval {
    last: Mutex<HashMap<Container, Last>>,
}

/// A container. The UID is that of its pod: the pod of a StatefulSet that is created again is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Container {
    pub(super) namespace: String,
    pub(super) pod_uid: String,
    pub(super) name: String,
}

#[derive(Debug)]
struct Last {
    /// The UID of its Checkpoint, which may repeat an attempt whose result is unknown.
    checkpoint: String,
    /// On the clock of the caller, which never goes back.
    at: Duration,
}

impl AutomaticInterval {
    /// How long that Checkpoint has to wait; `None`: not at all.
    pub(super) fn wait(&self, container: &Container, checkpoint: &str, now: Duration) -> Option<Duration> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.get(container).filter(|last| last.checkpoint != checkpoint)?;
        last.at.saturating_add(SHORTEST).checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// A container was checkpointed automatically, or may have been.
    pub(super) fn note(&self, container: Container, checkpoint: &str, at: Duration, now: Duration) {
        let is_over = |at: Duration| at.saturating_add(SHORTEST) <= now;
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, last| !is_over(last.at));
        if !is_over(at) && all.get(&container).is_none_or(|last| last.at < at) {
            all.insert(container, Last { checkpoint: checkpoint.to_owned(), at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(pod_uid: &str) -> Container {
        Container { namespace: "shop".to_owned(), pod_uid: pod_uid.to_owned(), name: "app".to_owned() }
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn another_checkpoint_of_the_same_container_waits_until_the_interval_is_over() {
        let interval = AutomaticInterval::default();
        interval.note(container("u"), "first", minutes(0), minutes(0));
        assert_eq!(interval.wait(&container("u"), "second", minutes(4)), Some(minutes(6)));
        assert_eq!(interval.wait(&container("u"), "second", minutes(10)), None);
        assert_eq!(interval.wait(&container("u"), "first", minutes(4)), None, "its own repetition");
        assert_eq!(interval.wait(&container("v"), "second", minutes(4)), None, "another pod");
        let sidecar = Container { name: "sidecar".to_owned(), ..container("u") };
        assert_eq!(interval.wait(&sidecar, "second", minutes(4)), None);
    }

    #[test]
    fn the_last_checkpoint_counts_in_whichever_order_they_are_shown() {
        let interval = AutomaticInterval::default();
        for (checkpoint, at) in [("second", 15), ("first", 12)] {
            interval.note(container("u"), checkpoint, minutes(at), minutes(16));
        }
        assert_eq!(interval.wait(&container("u"), "third", minutes(16)), Some(minutes(9)));
    }

    #[test]
    fn what_is_over_is_not_kept() {
        let interval = AutomaticInterval::default();
        interval.note(container("u"), "first", minutes(0), minutes(0));
        interval.note(container("v"), "old", minutes(2), minutes(12));
        assert!(interval.last.lock().unwrap().is_empty());
    }
}
