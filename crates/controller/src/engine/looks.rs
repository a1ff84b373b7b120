//! When Checkpoints are looked at because a pod has changed. People can create any number of Checkpoints that name a pod or a
//! revision, and change the pod all the time. So one change costs one mark, and the Checkpoints are then looked at one after
//! the other, a few in each step, not more often than the waits here allow.

use snapwatcher_api::pod::PodName;

use super::look_passes::{AFTER_CHANGE, Pass};
use super::message::Now;
use super::record_subject::RecordSubject;
use super::state::Engine;
use super::timers::Timer;

/// How many attempts in annotations are observed at one change of their pod. A pod with more containers is not checkpointed, and
/// each of them has one attempt in truth, so more are made up.
const MAX_ATTEMPTS_OF_POD: usize = 64;

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
        for _ in 0..MAX_ATTEMPTS_OF_POD {
            let Some(key) = self.records.next_about(&subject, last.as_ref()) else { return };
            if let Some(checkpoint) = self.records.unfinished(&key).map(|record| record.checkpoint.clone()) {
                self.observe_slot(&key, &checkpoint, now);
            }
            last = Some(key);
        }
    }
}
