//! Things to look at again at a certain time, each once. Times are those of the clock since boot, which is never set.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use snapwatcher_api::pod::PodName;

use super::pod_action::ContainerKey;
use super::record_key::RecordKey;
use super::record_subject::RecordSubject;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The delay of a pod has passed, or the retry of a claim is due.
    Pod(PodName),
    /// A Checkpoint may need a step.
    Record(RecordKey),
    /// A pod that Checkpoints are about has changed: the next of them is to be looked at.
    Look(RecordSubject),
    /// The next claim of that namespace that was rejected is to be tried again.
    Rejected(Arc<str>),
    /// A container has waited for a slot for long enough: it is claimed without an attempt.
    Claim(ContainerKey),
    /// Old Checkpoints are to be deleted.
    Retention,
}

#[derive(Default)]
pub(super) struct Timers {
    due: BTreeSet<(Duration, Timer)>,
    times: HashMap<Timer, Duration>,
}

impl Timers {
    /// Sets a time, in place of an earlier one.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(&timer);
        self.times.insert(timer.clone(), at);
        self.due.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.times.remove(timer) {
            self.due.remove(&(at, timer.clone()));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one whose time has come.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.due.pop_first()?;
        self.times.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_once_at_its_last_time() {
        let at = Duration::from_secs;
        let timer = |name: &str| Timer::Record(RecordKey::new("default", name));
        let mut timers = Timers::default();
        timers.set(timer("a"), at(1));
        timers.set(timer("b"), at(2));
        timers.set(timer("c"), at(2));
        timers.set(timer("a"), at(3));
        timers.cancel(&timer("c"));
        assert_eq!((timers.next(), timers.pop(at(1))), (Some(at(2)), None));
        assert_eq!((timers.pop(at(9)), timers.pop(at(9))), (Some(timer("b")), Some(timer("a"))));
        assert_eq!((timers.pop(at(9)), timers.next()), (None, None));
    }
}
