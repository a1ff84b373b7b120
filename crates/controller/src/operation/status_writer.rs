//! Writes the status of Checkpoints by compare-and-swap on resourceVersion.
//!
//! A write whose response was lost may have had its effect. So after an error the object is read again until it is known
//! which status it has.

use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt as _;
use tracing::Level;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointStatus, Phase};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::backoff::{Backoff, Retries};
use snapwatcher_kubernetes::cluster::CallError;

use super::io::OperationIo;
use crate::record::{first_attempt, transitions};

/// The waits between two tries of the same write or read.
pub(super) const RETRY: Backoff = Backoff::new(Duration::from_millis(300), Duration::from_millis(7500));

/// The waits after a write that the API server rejects: people can cause many of them.
const REJECTED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// After so many rejections, in about five minutes, the outcome is not written. A webhook that fails often works again by then.
const MAX_REJECTIONS: u32 = 12;
/// During a wait, a stop is noticed after this time. While the process stops, it is the wait.
const STOP_NOTICED_AFTER: Duration = Duration::from_secs(1);
/// How many rejections there may be while the process stops: a webhook that is drained with it is replaced within seconds.
const MAX_REJECTIONS_IN_STOP: u32 = 15;

/// Writes to Checkpoints of any namespace. `longest` is how long an attempt takes at most.
pub(super) struct StatusWriter<'a, I> {
    pub(super) io: &'a I,
    pub(super) longest: SignedDuration,
}

impl<I: OperationIo> StatusWriter<'_, I> {
    /// Writes the start of an attempt. `None`: another process has changed the Checkpoint first, or it was deleted. The write is
    /// not repeated here: one that never succeeds would hold a slot for as long.
    pub(super) async fn start(
        &self,
        checkpoint: &Checkpoint,
        status: &CheckpointStatus,
    ) -> Result<Option<Checkpoint>, CallError> {
        let error = match self.put(checkpoint, status.clone()).await {
            Ok(written) => return Ok(Some(written)),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.is_conflict() || error.is_ambiguous() => error,
            Err(error) => return Err(error),
        };
        // The write may have had its effect. Stopping before that is known would leave the Checkpoint InProgress
        // without a process that works on it.
        match self.read_until_answered(checkpoint).await {
            // Another process may have marked it Interrupted, but not have written more.
            Some(found) if transitions::accepts_outcome(status, &found) => Ok(Some(found)),
            Some(found) if found.resource_version() == checkpoint.resource_version() => Err(error.without_effect()),
            _ => Ok(None),
        }
    }

    /// Says that the outcome could not be written, ever more rarely: a write can fail for hours.
    fn log_retry(&self, checkpoint: &Checkpoint, failures: u32, error: &CallError) {
        let (namespace, name) = namespace_and_name(checkpoint);
        if failures.is_power_of_two() && self.io.may_log(&namespace, Level::WARN) {
            tracing::warn!(
                namespace,
                checkpoint = name,
                "Could not write the outcome of Checkpoint `{namespace}/{name}`, retrying: {}",
                error_chain(error)
            );
        }
    }

    /// Writes the status after an attempt of this process, until it is written. `None`: the Checkpoint was deleted, or the
    /// attempt belongs to another process. An outage does not end the tries, but after some rejections, fewer of them while the
    /// process stops, there is an error: the object may have no room, or a policy may never permit this status.
    pub(super) async fn write_until_confirmed(
        &self,
        written: &Checkpoint,
        change: impl Fn(&Checkpoint) -> CheckpointStatus + Send + Sync,
    ) -> Result<Option<Checkpoint>, CallError> {
        let attempt = written.status.clone().unwrap_or_default();
        let mut checkpoint = written.clone();
        let (mut retries, mut failures) = (RETRY.retries(), 0_u32);
        let mut rejections = Rejections::default();
        loop {
            let mut status = change(&checkpoint);
            if rejections.leave_message_out() {
                transitions::leave_message_out(&mut status);
            }
            match self.put(&checkpoint, status.clone()).await {
                Ok(written) => return Ok(Some(written)),
                Err(error) if error.is_conflict() => {}
                Err(error) if error.is_not_found() => {
                    let (namespace, name) = namespace_and_name(&checkpoint);
                    if self.io.may_log(&namespace, Level::INFO) {
                        tracing::info!(
                            namespace,
                            checkpoint = name,
                            "Checkpoint `{namespace}/{name}` was deleted before its outcome was written"
                        );
                    }
                    return Ok(None);
                }
                Err(error) if error.is_about_object() => {
                    let Some(wait) = rejections.next_wait(&error, self.io.is_stopping()) else { return Err(error) };
                    self.log_retry(&checkpoint, rejections.all, &error);
                    self.wait_or_stop(wait).await;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.log_retry(&checkpoint, failures, &error);
                    self.io.sleep(retries.next_wait()).await;
                }
            }
            let is_success = status.phase == Some(Phase::Succeeded);
            let accepts = if is_success { transitions::accepts_success } else { transitions::accepts_outcome };
            match self.read(&checkpoint).await {
                Ok(Some(found)) if is_written(&status, &found) => return Ok(Some(found)),
                Ok(Some(found)) if accepts(&attempt, &found) => checkpoint = found,
                // Another process has written, or it was deleted.
                Ok(_) => return Ok(None),
                Err(_) => self.io.sleep(retries.next_wait()).await,
            }
        }
    }

    /// Waits, but ends soon after the process begins to stop.
    async fn wait_or_stop(&self, wait: Duration) {
        let mut left = wait;
        while !left.is_zero() {
            let part = left.min(STOP_NOTICED_AFTER);
            self.io.sleep(part).await;
            left = if self.io.is_stopping() { Duration::ZERO } else { left.saturating_sub(part) };
        }
    }

    /// Replaces the status if the Checkpoint still has the same resourceVersion.
    pub(super) async fn put(&self, checkpoint: &Checkpoint, status: CheckpointStatus) -> Result<Checkpoint, CallError> {
        let changed = Checkpoint { status: Some(status), ..checkpoint.clone() };
        self.io.replace_status(&changed).await
    }

    /// Reads the Checkpoint of the same UID.
    async fn read(&self, checkpoint: &Checkpoint) -> Result<Option<Checkpoint>, CallError> {
        let (namespace, name) = namespace_and_name(checkpoint);
        let found = self.io.read(&namespace, &name).await?.filter(|found| found.uid() == checkpoint.uid());
        Ok(found.map(|mut found| {
            first_attempt::read(&mut found, self.longest);
            found
        }))
    }

    /// Reads until the API server responds. `None`: the Checkpoint was deleted, or cannot be read.
    async fn read_until_answered(&self, checkpoint: &Checkpoint) -> Option<Checkpoint> {
        let mut retries = RETRY.retries();
        loop {
            match self.read(checkpoint).await {
                Ok(found) => return found,
                Err(error) if error.is_about_object() => return None,
                Err(_) => self.io.sleep(retries.next_wait()).await,
            }
        }
    }
}

/// The rejections of one outcome.
struct Rejections {
    waits: Retries,
    all: u32,
    in_stop: u32,
    /// The object may have room for a shorter status.
    is_too_large: bool,
}

impl Default for Rejections {
    fn default() -> Self {
        Self { waits: REJECTED.retries(), all: 0, in_stop: 0, is_too_large: false }
    }
}

impl Rejections {
    /// Counts one more. `None`: there were too many.
    fn next_wait(&mut self, error: &CallError, is_stopping: bool) -> Option<Duration> {
        self.all += 1;
        self.in_stop += u32::from(is_stopping);
        if self.all >= MAX_REJECTIONS && !is_stopping || self.in_stop >= MAX_REJECTIONS_IN_STOP {
            return None;
        }
        if error.is_too_large() && !self.is_too_large {
            self.is_too_large = true;
            return Some(Duration::ZERO);
        }
        Some(if is_stopping { STOP_NOTICED_AFTER } else { self.waits.next_wait() })
    }

    /// Whether the next try is shorter: the object has no room, or it is the last try, and a policy may not permit the message.
    fn leave_message_out(&self) -> bool {
        self.is_too_large || self.all + 1 == MAX_REJECTIONS || self.in_stop + 1 == MAX_REJECTIONS_IN_STOP
    }
}

/// Whether the write of `status` had its effect although its response was lost.
fn is_written(status: &CheckpointStatus, found: &Checkpoint) -> bool {
    let intended = Checkpoint { status: Some(status.clone()), ..found.clone() };
    transitions::is_same_attempt(status, found.status.as_ref())
        && (intended.phase(), intended.reason()) == (found.phase(), found.reason())
}

pub(super) fn namespace_and_name(checkpoint: &Checkpoint) -> (String, String) {
    (checkpoint.namespace().unwrap_or_default(), checkpoint.name_any())
}

#[cfg(test)]
mod tests;
