//! The passes over Checkpoints that are looked at because a pod has changed.

use std::collections::HashMap;
use std::time::Duration;

use super::record_key::RecordKey;
use super::record_subject::RecordSubject;

/// From the beginning of one pass over the Checkpoints about a subject to that of the next.
pub(super) const AFTER_CHANGE: Duration = Duration::from_secs(5);
/// The same if a pod is Ready: a Checkpoint can have waited for that.
pub(super) const AFTER_READY: Duration = Duration::from_secs(1);

/// The passes that are under way or were a short time ago, by subject.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) passes: HashMap<RecordSubject, Pass>,
}

/// One pass over the Checkpoints about a subject. Times are those of the clock since boot.
pub(super) struct Pass {
    pub(super) began: Duration,
    /// The last Checkpoint that was looked at.
    pub(super) last: Option<RecordKey>,
    pub(super) is_under_way: bool,
    /// When the next pass may begin; `None`: nothing has changed since this one began.
    pub(super) next: Option<Duration>,
}

impl Pass {
    pub(super) fn new(began: Duration) -> Self {
        Self { began, last: None, is_under_way: true, next: None }
    }
}

impl Looks {
    pub(super) fn len(&self) -> usize {
        self.passes.len()
    }

    /// A pod has changed. Returns when the timer of the subject is due; `None`: as before.
    pub(super) fn mark(&mut self, subject: &RecordSubject, is_ready: bool, now: Duration) -> Option<Duration> {
        let Some(pass) = self.passes.get_mut(subject) else {
            self.passes.insert(subject.clone(), Pass::new(now));
            return Some(now);
        };
        let next = pass.began + if is_ready { AFTER_READY } else { AFTER_CHANGE };
        pass.next = Some(pass.next.map_or(next, |before| before.min(next)));
        pass.next.filter(|_| !pass.is_under_way).map(|next| next.max(now))
    }
}
