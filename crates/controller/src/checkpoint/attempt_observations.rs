//! For how long this process has seen an attempt as it is: by its own monotonic clock, since the clock of whoever wrote
//! the attempt's times may be any.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};

/// The attempts that are in progress, by UID of their record.
#[derive(Default)]
pub struct AttemptObservations(Mutex<HashMap<String, Sighting>>);

struct Sighting {
    attempt: i64,
    holder: Option<String>,
    started: Option<Timestamp>,
    since: Instant,
}

impl AttemptObservations {
    /// Follows one record as the watch told it; `None`: it is gone. A relist of the same attempt changes nothing.
    pub fn note(&self, uid: &str, record: Option<&Checkpoint>) {
        let mut sightings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_progress = record.filter(|record| record.phase() == Phase::InProgress);
        let Some(status) = in_progress.and_then(|record| record.status.as_ref()) else {
            sightings.remove(uid);
            return;
        };
        let started = status.start_time.as_ref().map(|start| start.0);
        let known = sightings.get(uid).is_some_and(|known| {
            (known.attempt, &known.holder, known.started) == (status.attempt, &status.holder, started)
        });
        if !known {
            let (attempt, holder) = (status.attempt, status.holder.clone());
            sightings.insert(uid.to_owned(), Sighting { attempt, holder, started, since: Instant::now() });
        }
    }

    /// How long the attempt of that record has been seen as it is; zero where none is known.
    pub fn unchanged_for(&self, uid: &str) -> Duration {
        let sightings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sightings.get(uid).map(|sighting| sighting.since.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointStatus};

    fn record(phase: Phase, attempt: i64) -> Checkpoint {
        let mut record = Checkpoint::new("r", CheckpointSpec::default());
        record.status = Some(CheckpointStatus { phase: Some(phase), attempt, ..Default::default() });
        record
    }

    #[test]
    fn the_time_runs_from_the_first_sight_of_an_attempt_until_it_changes() {
        let sightings = AttemptObservations::default();
        sightings.note("u", Some(&record(Phase::InProgress, 1)));
        let first = sightings.0.lock().unwrap()["u"].since;
        sightings.note("u", Some(&record(Phase::InProgress, 1)));
        assert_eq!(sightings.0.lock().unwrap()["u"].since, first, "told again, unchanged");
        std::thread::sleep(Duration::from_millis(2)); // so that another instant is another
        sightings.note("u", Some(&record(Phase::InProgress, 2)));
        assert!(sightings.0.lock().unwrap()["u"].since > first, "another attempt");
        sightings.note("u", Some(&record(Phase::Succeeded, 2)));
        assert_eq!(sightings.unchanged_for("u"), Duration::ZERO, "nothing is in progress");
    }
}
