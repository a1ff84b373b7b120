//! Pods to assess again at a certain time, each once.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio_util::time::{DelayQueue, delay_queue::Key};

/// The longest wait: timers are limited to some years, and the clock of a node may be far ahead.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// UIDs of pods, in the order of their times.
#[derive(Default)]
pub(super) struct RecheckQueue {
    queue: DelayQueue<String>,
    keys: HashMap<String, Key>,
}

impl RecheckQueue {
    /// Sets the time of a pod, in place of an earlier one.
    pub(super) fn set(&mut self, uid: String, at: Timestamp, now: Timestamp) {
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(MAX_WAIT);
        match self.keys.get(&uid) {
            Some(key) => self.queue.reset(key, wait),
            None => drop(self.keys.insert(uid.clone(), self.queue.insert(uid, wait))),
        }
    }

    /// The next pod whose time has come. Waits forever while there is none.
    pub(super) async fn next(&mut self) -> String {
        match self.queue.next().await {
            Some(expired) => {
                let uid = expired.into_inner();
                self.keys.remove(&uid);
                uid
            }
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::at;

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_due_once_at_its_last_time() {
        let mut queue = RecheckQueue::default();
        queue.set("a".into(), at(1), at(0));
        queue.set("b".into(), at(2), at(0));
        queue.set("a".into(), at(3), at(0));
        assert_eq!([queue.next().await, queue.next().await], ["b", "a"]);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
        queue.set("a".into(), at(0), at(9));
        assert_eq!(queue.next().await, "a", "a time in the past is due now");
    }
}
