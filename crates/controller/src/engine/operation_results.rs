//! What running operations report, and what follows from their results.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::checkpoint_name;
use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::CallError;

use super::api_outage::ApiOutage;
use super::circuit_breaker::EndpointSignal;
use super::endpoint_breakers::Permit;
use super::message::{ClaimReport, Now, Report};
use super::record_key::RecordKey;
use super::record_table::attempt_start;
use super::state::{Engine, Running, Task};
use super::timers::Timer;
use super::work_queue::WorkItem;
use crate::operation::{AttemptResult, ClaimResult, OperationId, OperationResult, Progress};
use crate::record::fields;

/// The wait of a Checkpoint whose operation met an outage of the API server, or a state that the watch does not show yet.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn progress(&mut self, id: OperationId, progress: Progress, now: Now) {
        let Some(Running { task, record: Some(record), .. }) = self.operations.get_mut(&id) else { return };
        let record = record.clone();
        match progress {
            Progress::Claimed(_) => {
                let Task::Claim(task) = task else { return };
                task.is_claimed = true;
                let report = ClaimReport {
                    event: task.event,
                    pod: task.pod.clone(),
                    container: task.key.container.clone(),
                    workload: task.claim.workload.clone(),
                    checkpoint: Some(task.claim.name.clone()),
                };
                let key = task.key.clone();
                self.claimed(&key, report, now);
            }
            Progress::Requested(checkpoint) => {
                if let Some(start) = attempt_start(&checkpoint) {
                    self.sent.insert(record, start);
                }
                self.report(Report::Requested(checkpoint));
            }
            Progress::Responded { outcome, deadline } => self.responded(id, &record, outcome, deadline, now),
        }
    }

    /// The slot and the endpoint are free for the next attempt, although the outcome is not written yet.
    fn responded(
        &mut self,
        id: OperationId,
        record: &RecordKey,
        outcome: Outcome,
        deadline: Option<Timestamp>,
        now: Now,
    ) {
        let is_unanswered = matches!(outcome, Outcome::Failed { reason: Reason::NoResponse, .. });
        self.slots.responded(record, deadline.filter(|_| is_unanswered), now);
        let permit = self.operations.get_mut(&id).map(|running| std::mem::take(&mut running.permit));
        let permit = permit.unwrap_or_default();
        let longest = self.settings.operations.policy.longest_wait;
        let others_reachable = self.breakers.all_closed_except(&permit, longest, now.boot);
        let signal = self.breakers.judge(&permit, record.namespace(), EndpointSignal::from(&outcome), now.boot);
        self.record_signal(&permit, signal, now);
        self.report(Report::Responded { outcome, signal, others_reachable });
    }

    /// A permit that was not used.
    pub(super) fn end_permit(&mut self, permit: &Permit, now: Now) {
        self.record_signal(permit, EndpointSignal::NotSent, now);
    }

    fn record_signal(&mut self, permit: &Permit, signal: EndpointSignal, now: Now) {
        let longest = self.settings.operations.policy.longest_wait;
        let jitter = self.random.f64();
        self.breakers.record(permit, signal, longest, jitter, now.boot);
    }

    pub(super) fn finished(&mut self, id: OperationId, result: OperationResult, now: Now) {
        let Some(Running { task, record, permit }) = self.operations.remove(&id) else { return };
        self.end_permit(&permit, now);
        let was_busy = record.as_ref().is_some_and(|record| self.busy.get(record) == Some(&id));
        if let Some(record) = record.as_ref().filter(|_| was_busy) {
            self.busy.remove(record);
            self.slots.release(record);
        }
        let is_outdated = self.is_outdated(&task, &result);
        let mut failure = None;
        match (task, result) {
            (Task::FindWorkload(key), OperationResult::Workload(result)) => self.workload_found(key, result, now),
            (Task::Claim(task), OperationResult::Claim(result)) => {
                if let (Ok(ClaimResult::Attempted(attempt)), Some(record)) = (&result, &record) {
                    self.note_write(record, attempt, now);
                }
                match result {
                    Ok(ClaimResult::Attempted(attempt)) => self.attempt_ended(attempt, None, is_outdated),
                    result if !task.is_claimed => self.claim_ended(task.key, task.claim, result, now),
                    _ => {}
                }
            }
            (Task::Attempt(checkpoint) | Task::WriteUnmet(checkpoint), OperationResult::Attempt(result)) => {
                match result {
                    Ok(attempt) => {
                        self.outage_over();
                        if let Some(record) = &record {
                            self.note_write(record, &attempt, now);
                        }
                        self.attempt_ended(attempt, Some(checkpoint), is_outdated);
                    }
                    Err(error) => failure = Some((checkpoint, error)),
                }
            }
            (Task::MarkInterrupted(checkpoint) | Task::Cancel(checkpoint), OperationResult::Written(result)) => {
                match result {
                    Ok(written) => {
                        self.outage_over();
                        if let (Some(record), Some(written)) = (&record, written) {
                            self.wrote(record, &written, now);
                            if written.reason() == Some(Reason::Interrupted.as_str()) {
                                self.report(Report::Interrupted(written));
                            }
                        }
                    }
                    Err(error) => failure = Some((checkpoint, error)),
                }
            }
            _ => {}
        }
        if let Some(record) = record.as_ref().filter(|_| was_busy) {
            self.forget_gone(record);
        }
        self.drop_outcomes();
        if let Some(record) = record {
            self.observe_again(&record, now);
            let is_queued = self.queue.contains(&WorkItem::Attempt(record.clone()));
            if let Some((checkpoint, error)) = failure {
                self.attempt_failed(record, checkpoint, error, now);
            } else if is_outdated {
                self.timers.set(Timer::Record(record), now.boot + RETRY_AFTER);
            } else if !is_queued {
                self.look_at(&record, now);
            }
        }
    }

    /// Whether the operation has met another state than the watch shows. Usually the watch is about to deliver it.
    fn is_outdated(&self, task: &Task, result: &OperationResult) -> bool {
        let attempt = match result {
            OperationResult::Written(written) => return matches!(written, Ok(None)),
            OperationResult::Attempt(Ok(attempt)) | OperationResult::Claim(Ok(ClaimResult::Attempted(attempt))) => {
                attempt
            }
            _ => return false,
        };
        match (attempt, task) {
            (AttemptResult::NotSent { written }, _) => written.is_none(),
            (AttemptResult::Unmet(unmet), _) => unmet.written.is_none(),
            (AttemptResult::Sent(sent), _) => !sent.written.is_done(),
            (AttemptResult::OtherNode(node), Task::Attempt(checkpoint)) => {
                let shown = fields::pod_name(checkpoint).and_then(|pod| self.pods.get(&pod)?.pod.node.clone());
                shown.is_some_and(|shown| checkpoint_name::label_value(&shown) != *node)
            }
            _ => false,
        }
    }

    /// During an operation another process can have begun to work on the Checkpoint, as the watch has shown.
    fn observe_again(&mut self, record: &RecordKey, now: Now) {
        if self.busy.contains_key(record) {
            return;
        }
        let unfinished = || self.records.unfinished(record).map(|known| known.checkpoint.clone());
        if let Some(checkpoint) = self.ended.remove(record).or_else(unfinished) {
            self.observe_slot(record, &checkpoint, now);
        }
    }

    /// Of a Checkpoint that was deleted during its operation, nothing is kept.
    fn forget_gone(&mut self, record: &RecordKey) {
        if self.gone.remove(record) {
            self.sent.remove(record);
        }
    }

    /// Containers no longer wait for outcomes that the watch shows.
    pub(super) fn drop_outcomes(&mut self) {
        let (busy, written) = (&self.busy, &self.written);
        self.slots.drop_outcomes(|key| busy.contains_key(key) || written.contains_key(key));
    }

    fn note_write(&mut self, record: &RecordKey, attempt: &AttemptResult, now: Now) {
        match attempt {
            AttemptResult::Sent(sent) if sent.written.is_done() => self.wrote(record, &sent.checkpoint, now),
            // It is deleted, or belongs to another process. If not, or if the write was rejected, the attempt still counts as sent, and
            // is never sent again.
            AttemptResult::Sent(_) if !self.records.contains(record) => drop(self.sent.remove(record)),
            AttemptResult::Unmet(unmet) => {
                if let Some(written) = &unmet.written {
                    self.wrote(record, written, now);
                }
            }
            AttemptResult::NotSent { written: Some(written) } => self.wrote(record, written, now),
            _ => {}
        }
    }

    /// `checkpoint` is the one that was attempted; `None` after a claim.
    fn attempt_ended(&mut self, attempt: AttemptResult, checkpoint: Option<Arc<Checkpoint>>, is_outdated: bool) {
        match attempt {
            AttemptResult::Sent(sent) => self.report(Report::AttemptEnded(sent)),
            AttemptResult::Unmet(unmet) => {
                if let Some(checkpoint) = checkpoint.filter(|_| unmet.written.is_some()) {
                    self.report(Report::Unmet { checkpoint, unmet });
                }
            }
            AttemptResult::NotSent { .. } => {}
            AttemptResult::OtherWorkload { pod, uid, workload_uid } => {
                self.pods.set_workload(&pod, &uid, &workload_uid);
            }
            AttemptResult::OtherNode(node) => {
                if let Some(checkpoint) = checkpoint.filter(|_| self.leads && !is_outdated) {
                    self.queue.push(WorkItem::Attempt(RecordKey::of(&checkpoint)), Some(node));
                }
            }
        }
    }

    fn attempt_failed(&mut self, record: RecordKey, checkpoint: Arc<Checkpoint>, error: CallError, now: Now) {
        if error.is_about_object() {
            let retry_after = self.records.refused(&record, self.random.f64(), now.boot);
            self.timers.set(Timer::Record(record), now.boot + retry_after);
            self.report(Report::AttemptFailed { checkpoint, error, retry_after });
        } else {
            self.timers.set(Timer::Record(record), now.boot + RETRY_AFTER);
            self.start_outage(&error, now);
        }
    }

    /// The API server could not be reached.
    pub(super) fn start_outage(&mut self, error: &CallError, now: Now) {
        if let Some(outage) = ApiOutage::after(self.outage, self.random.f64(), now.boot) {
            self.outage = Some(outage);
            if outage.pauses == 1 {
                self.report(Report::OutageStarted(error_chain(error)));
            }
        }
    }

    pub(super) fn is_outage(&self, now: Now) -> bool {
        self.outage.is_some_and(|outage| outage.until > now.boot)
    }

    pub(super) fn outage_over(&mut self) {
        if self.outage.take().is_some() {
            self.report(Report::OutageEnded);
        }
    }
}
