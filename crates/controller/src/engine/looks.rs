//! When Checkpoints are looked at because a pod has changed. People can create any number of Checkpoints that name a pod or a
//! revision, and change the pod all the time. So one change costs one mark, and the Checkpoints are then looked at one after
//! the other, a few in each step, not more often than the waits here allow.

use std::collections::HashMap;
use std::time::Duration;

use snapwatcher_api::pod::PodName;

use super::message::Now;
use super::record_key::RecordKey;
use super::record_subject::RecordSubject;
use super::state::Engine;
use super::timers::Timer;

/// From the beginning of one pass over the Checkpoints about a subject to that of the next.
const AFTER_CHANGE: Duration = Duration::from_secs(5);
/// The same if a pod is Ready: a Checkpoint can have waited for that.
const AFTER_READY: Duration = Duration::from_secs(1);

/// The passes that are under way or were a short time ago, by subject.
#[derive(Default)]
pub(super) struct Looks {
    passes: HashMap<RecordSubject, Pass>,
}

/// One pass over the Checkpoints about a subject. Times are those of the clock since boot.
struct Pass {
    began: Duration,
    /// The last Checkpoint that was looked at.
    last: Option<RecordKey>,
    is_under_way: bool,
    /// When the next pass may begin; `None`: nothing has changed since this one began.
    next: Option<Duration>,
}

impl Pass {
    fn new(began: Duration) -> Self {
        Self { began, last: None, is_under_way: true, next: None }
    }
}

impl Looks {
    pub(super) fn len(&self) -> usize {
        self.passes.len()
    }

    /// A pod has changed. Returns when the timer of the subject is due; `None`: as before.
    fn mark(&mut self, subject: &RecordSubject, is_ready: bool, now: Duration) -> Option<Duration> {
        let Some(pass) = self.passes.get_mut(subject) else {
            self.passes.insert(subject.clone(), Pass::new(now));
            return Some(now);
        };
        let next = pass.began + if is_ready { AFTER_READY } else { AFTER_CHANGE };
        pass.next = Some(pass.next.map_or(next, |before| before.min(next)));
        pass.next.filter(|_| !pass.is_under_way).map(|next| next.max(now))
    }
}

impl Engine {
    /// A pod has changed, or is gone: the Checkpoints about it or its revision are to be looked at.
    pub(super) fn pod_changed(&mut self, pod: &PodName, revision: &str, now: Now) {
        self.observe_attempts_on(pod, now);
        let is_ready = self.pods.get(pod).is_some_and(|entry| entry.pod.ready_since.is_some());
        for subject in [RecordSubject::pod(pod), RecordSubject::revision(&pod.namespace, revision)] {
            if self.records.next_about(&subject, None).is_some()
                && let Some(at) = self.looks.mark(&subject, is_ready, now.boot)
            {
                self.timers.set(Timer::Look(subject), at);
            }
        }
    }

    /// The timer of a subject is due: looks at its next Checkpoint.
    pub(super) fn look_at_next(&mut self, subject: RecordSubject, now: Now) {
        let Some(pass) = self.looks.passes.get_mut(&subject) else { return };
        if !pass.is_under_way {
            if pass.next.is_none() {
                self.looks.passes.remove(&subject);
                return;
            }
            *pass = Pass::new(now.boot);
        }
        let Some(key) = self.records.next_about(&subject, pass.last.as_ref()) else {
            pass.is_under_way = false;
            let at = pass.next.unwrap_or(pass.began + AFTER_CHANGE);
            return self.timers.set(Timer::Look(subject), at.max(now.boot));
        };
        pass.last = Some(key.clone());
        self.timers.set(Timer::Look(subject), now.boot);
        self.look_at(&key, now);
    }

    /// Attempts in annotations that a leader before may have sent count as soon as their pod runs, and no longer than it does.
    /// Later in this leadership there are none.
    fn observe_attempts_on(&mut self, pod: &PodName, now: Now) {
        if now.boot >= self.stale_slots_expire_at + self.settings.longest_slot_held() {
            return;
        }
        let subject = RecordSubject::attempt(pod);
        let mut last = None;
        while let Some(key) = self.records.next_about(&subject, last.as_ref()) {
            if let Some(checkpoint) = self.records.unfinished(&key).map(|record| record.checkpoint.clone()) {
                self.observe_slot(&key, &checkpoint, now);
            }
            last = Some(key);
        }
    }
}
