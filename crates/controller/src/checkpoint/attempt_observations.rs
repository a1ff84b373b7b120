//! How long this process has seen each attempt unchanged.
//!
//! Measured by the monotonic clock of this process: the times in the status come from the holder's clock, which may be
//! wrong.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};

/// The attempts in progress, by UID of their Checkpoint.
#[derive(Default)]
pub(crate) struct AttemptObservations(Mutex<HashMap<String, Observation>>);

struct Observation {
    attempt: i64,
    holder: Option<String>,
    started: Option<Timestamp>,
    since: Instant,
}

impl AttemptObservations {
    /// Takes over a Checkpoint from the watch. `None`: it was deleted. A relist of the same attempt changes nothing.
    pub(crate) fn observe(&self, uid: &str, checkpoint: Option<&Checkpoint>) {
        let mut observations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_progress = checkpoint.filter(|checkpoint| checkpoint.phase() == Phase::InProgress);
        let Some(status) = in_progress.and_then(|checkpoint| checkpoint.status.as_ref()) else {
            observations.remove(uid);
            return;
        };
        let started = status.start_time.as_ref().map(|start| start.0);
        let is_known = observations.get(uid).is_some_and(|known| {
            (known.attempt, &known.holder, known.started) == (status.attempt, &status.holder, started)
        });
        if !is_known {
            let (attempt, holder) = (status.attempt, status.holder.clone());
            observations.insert(uid.to_owned(), Observation { attempt, holder, started, since: Instant::now() });
        }
    }

    /// How long the attempt has been seen unchanged; zero if none is known.
    pub(crate) fn age(&self, uid: &str) -> Duration {
        let observations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        observations.get(uid).map(|observation| observation.since.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::fixtures::checkpoint;

    fn object(phase: Phase, attempt: i64) -> Checkpoint {
        checkpoint("web").phase(phase).status(|status| status.attempt = attempt).build()
    }

    #[test]
    fn the_age_of_an_attempt_runs_until_the_attempt_changes() {
        let observations = AttemptObservations::default();
        observations.observe("u", Some(&object(Phase::InProgress, 1)));
        let first = observations.0.lock().unwrap()["u"].since;
        observations.observe("u", Some(&object(Phase::InProgress, 1)));
        assert_eq!(observations.0.lock().unwrap()["u"].since, first, "seen again, unchanged");
        std::thread::sleep(Duration::from_millis(2)); // so that the instants differ
        observations.observe("u", Some(&object(Phase::InProgress, 2)));
        assert!(observations.0.lock().unwrap()["u"].since > first, "another attempt");
        observations.observe("u", Some(&object(Phase::Succeeded, 2)));
        assert_eq!(observations.age("u"), Duration::ZERO, "nothing is in progress");
    }
}
