//! Writing the status of records: by compare-and-swap on resourceVersion, and read again until it is known what stands,
//! since a write whose answer was lost may have had its effect.

use std::time::Duration;

use backon::ExponentialBackoff;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;

use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{self, CallError, call};

use super::transitions;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus};

/// The waits between two tries of the same write or read; each up to doubled by chance.
const FIRST_WAIT: Duration = Duration::from_millis(200);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// StatusWriter records of any namespace.
pub struct StatusWriter(pub Client);

impl StatusWriter {
    /// StatusWriter the attempt by compare-and-swap. `None`: somebody else was first, or the record is gone.
    pub async fn begun(&self, record: &Checkpoint, status: &CheckpointStatus) -> Result<Option<Checkpoint>, CallError> {
        let mut writes = waits();
        loop {
            match self.put(record, status.clone()).await {
                Ok(written) => return Ok(Some(written)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if error.is_conflict() || error.is_ambiguous() => {}
                Err(error) => return Err(error),
            }
            // It may have been written all the same. Until that is known nothing may be given up: the record would stay
            // InProgress with nobody at work on it.
            let mut reads = waits();
            let found = loop {
                match self.read(record).await {
                    Ok(found) => break found,
                    Err(_) => sleep(reads.next().unwrap_or(LONGEST_WAIT)).await,
                }
            };
            match found {
                Some(found) if transitions::is_same_attempt(status, found.status.as_ref()) => return Ok(Some(found)),
                // It has not arrived. The very same write once more, so that one that comes late is ours as well.
                Some(found) if found.resource_version() == record.resource_version() => {
                    sleep(writes.next().unwrap_or(LONGEST_WAIT)).await;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Puts a status over an attempt of ours until it stands, or the attempt is no longer ours to write.
    pub async fn until_it_stands(&self, written: Checkpoint, change: impl Fn(&Checkpoint) -> CheckpointStatus) {
        let attempt = written.status.clone().unwrap_or_default();
        let mut record = written;
        let mut waits = waits();
        loop {
            match self.put(&record, change(&record)).await {
                Ok(_) => return,
                Err(error) if error.is_conflict() => {}
                Err(error) if error.is_not_found() => {
                    return tracing::info!(
                        checkpoint = record.name_any(),
                        "The record was deleted before its outcome was written"
                    );
                }
                Err(error) => {
                    tracing::warn!(
                        checkpoint = record.name_any(),
                        "Outcome is not written yet: {}",
                        error_chain(&error)
                    );
                    sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
                }
            }
            match self.read(&record).await {
                Ok(Some(found)) if transitions::takes_outcome(&attempt, &found) => record = found,
                // Written by the put whose answer was lost, taken over, or deleted.
                Ok(_) => return,
                Err(_) => sleep(waits.next().unwrap_or(LONGEST_WAIT)).await,
            }
        }
    }

    /// Replaces the status; the record's resourceVersion makes it a compare-and-swap.
    pub async fn put(&self, record: &Checkpoint, status: CheckpointStatus) -> Result<Checkpoint, CallError> {
        let changed = Checkpoint { status: Some(status), ..record.clone() };
        let (api, name) = (self.api(record), record.name_any());
        let what = format!("write the status of Checkpoint `{name}`");
        call(what, api.replace_status(&name, &PostParams::default(), &changed)).await
    }

    /// The record of the same UID as it is now.
    async fn read(&self, record: &Checkpoint) -> Result<Option<Checkpoint>, CallError> {
        let (api, name) = (self.api(record), record.name_any());
        let found = call(format!("read Checkpoint `{name}`"), api.get_opt(&name)).await?;
        Ok(found.filter(|found| found.uid() == record.uid()))
    }

    fn api(&self, record: &Checkpoint) -> Api<Checkpoint> {
        Api::namespaced(self.0.clone(), &record.namespace().unwrap_or_default())
    }
}

/// The waits before each further try.
pub(super) fn waits() -> ExponentialBackoff {
    cluster::waits(FIRST_WAIT, LONGEST_WAIT)
}
