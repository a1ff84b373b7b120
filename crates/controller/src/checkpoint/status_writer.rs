//! Writes the status of Checkpoints by compare-and-swap on resourceVersion.
//!
//! A write whose response was lost may have had its effect. So after an error the object is read again until it is known
//! which status it has.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::backoff::Backoff;
use snapwatcher_kubernetes::cluster::{CallError, call};

use super::fields;
use super::transitions;

/// The waits between two tries of the same write or read.
pub(super) const RETRY: Backoff = Backoff::new(Duration::from_millis(300), Duration::from_millis(7500));

/// Writes to Checkpoints of any namespace.
pub(super) struct StatusWriter<'a>(pub &'a Client);

impl StatusWriter<'_> {
    /// Writes the start of an attempt. `None`: another process has changed the Checkpoint first, or it was deleted.
    pub(super) async fn start(
        &self,
        checkpoint: &Checkpoint,
        status: &CheckpointStatus,
    ) -> Result<Option<Checkpoint>, CallError> {
        let mut writes = RETRY.retries();
        loop {
            match self.put(checkpoint, status.clone()).await {
                Ok(written) => return Ok(Some(written)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if error.is_conflict() || error.is_ambiguous() => {}
                Err(error) => return Err(error),
            }
            // The write may have had its effect. Stopping before that is known would leave the Checkpoint InProgress
            // without a process that works on it.
            let mut reads = RETRY.retries();
            let found = loop {
                match self.read(checkpoint).await {
                    Ok(found) => break found,
                    Err(_) => sleep(reads.next_wait()).await,
                }
            };
            match found {
                Some(found) if transitions::is_same_attempt(status, found.status.as_ref()) => return Ok(Some(found)),
                // Not written so far. The same write is repeated, so that a delayed first one still counts as ours.
                Some(found) if found.resource_version() == checkpoint.resource_version() => {
                    sleep(writes.next_wait()).await;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Writes the status after an attempt of this process, until it is written or the attempt belongs to another process.
    pub(super) async fn write_until_confirmed(
        &self,
        written: Checkpoint,
        change: impl Fn(&Checkpoint) -> CheckpointStatus,
    ) {
        let attempt = written.status.clone().unwrap_or_default();
        let mut checkpoint = written;
        let mut retries = RETRY.retries();
        loop {
            match self.put(&checkpoint, change(&checkpoint)).await {
                Ok(_) => return,
                Err(error) if error.is_conflict() => {}
                Err(error) if error.is_not_found() => {
                    let (namespace, name) = fields::namespace_and_name(&checkpoint);
                    tracing::info!(
                        checkpoint = name,
                        namespace,
                        "Checkpoint `{namespace}/{name}` was deleted before its outcome was written"
                    );
                    return;
                }
                Err(error) => {
                    let (namespace, name) = fields::namespace_and_name(&checkpoint);
                    tracing::warn!(
                        checkpoint = name,
                        namespace,
                        "Could not write the outcome of Checkpoint `{namespace}/{name}`, retrying: {}",
                        error_chain(&error)
                    );
                    sleep(retries.next_wait()).await;
                }
            }
            match self.read(&checkpoint).await {
                Ok(Some(found)) if transitions::accepts_outcome(&attempt, &found) => checkpoint = found,
                // The write whose response was lost has succeeded, another process has written, or it was deleted.
                Ok(_) => return,
                Err(_) => sleep(retries.next_wait()).await,
            }
        }
    }

    /// Replaces the status if the Checkpoint still has the same resourceVersion.
    pub(super) async fn put(&self, checkpoint: &Checkpoint, status: CheckpointStatus) -> Result<Checkpoint, CallError> {
        let changed = Checkpoint { status: Some(status), ..checkpoint.clone() };
        let (namespace, name) = fields::namespace_and_name(checkpoint);
        let what = format!("write the status of Checkpoint `{namespace}/{name}`");
        call(what, self.api(checkpoint).replace_status(&name, &PostParams::default(), &changed)).await
    }

    /// Reads the Checkpoint of the same UID.
    async fn read(&self, checkpoint: &Checkpoint) -> Result<Option<Checkpoint>, CallError> {
        let (namespace, name) = fields::namespace_and_name(checkpoint);
        let what = format!("read Checkpoint `{namespace}/{name}`");
        let found = call(what, self.api(checkpoint).get_opt(&name)).await?;
        Ok(found.filter(|found| found.uid() == checkpoint.uid()))
    }

    fn api(&self, checkpoint: &Checkpoint) -> Api<Checkpoint> {
        Api::namespaced(self.0.clone(), &checkpoint.namespace().unwrap_or_default())
    }
}
