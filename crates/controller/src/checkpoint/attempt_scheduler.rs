//! Schedules attempts: owns the queue, the slots, the circuit breakers and the task of each attempt.
//!
//! The tasks belong to this service and not to the controller, so that an attempt is finished when leadership or the
//! watch is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::time::DelayQueue;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::cluster::CallError;

use super::api_outage::{ApiOutage, LONGEST_PAUSE, is_about_checkpoint};
use super::attempt_queue::{AttemptQueue, QueuedAttempt};
use super::attempt_runner::{AttemptResult, AttemptRunner};
use super::circuit_breaker::EndpointSignal;
use super::endpoint_breakers::Permit;
use super::fields;
use super::metrics::CheckpointMetrics;

/// The shortest wait of a Checkpoint whose attempt met such an outage.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The scheduler wakes up at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the controller sends to the scheduler.
#[derive(Debug, Clone)]
pub enum SchedulerCommand {
    /// Queue an attempt of this Checkpoint.
    Attempt(Arc<Checkpoint>),
    /// Write that the attempt in this Checkpoint was interrupted.
    MarkInterrupted(Arc<Checkpoint>),
    /// A Checkpoint has changed, so a slot may be free.
    Recheck,
}

/// The service.
pub struct AttemptScheduler {
    pub runner: Arc<AttemptRunner>,
    pub commands: mpsc::UnboundedReceiver<SchedulerCommand>,
    /// While false, no attempt is started.
    pub leads: watch::Receiver<bool>,
    /// With `--suspend`: no attempt is started.
    pub is_suspended: bool,
    pub metrics: CheckpointMetrics,
    /// Dropped when the last attempt has finished.
    pub work_done: DropGuard,
}

#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error("an attempt panicked: {0}")]
    Panicked(String),
}

/// The result of one task.
struct FinishedAttempt {
    uid: String,
    checkpoint: Arc<Checkpoint>,
    permit: Permit,
    result: Result<AttemptResult, CallError>,
}

/// The state of the service while it runs.
struct ActiveScheduler {
    scheduler: AttemptScheduler,
    queue: AttemptQueue,
    tasks: JoinSet<FinishedAttempt>,
    /// UIDs of the Checkpoints that have a task, each with the last command that arrived meanwhile.
    under_way: HashMap<String, Option<SchedulerCommand>>,
    retries: DelayQueue<SchedulerCommand>,
    /// Checkpoints that found no free slot on their node. They are queued again when a slot may be free.
    blocked: Vec<(Arc<Checkpoint>, String)>,
    outage: Option<ApiOutage>,
    /// Whether a circuit breaker was open at the last look.
    had_open_breaker: bool,
    stop: CancellationToken,
}

impl AttemptScheduler {
    /// Runs until the stop. Attempts that were started are finished, and their outcomes written.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SchedulerError> {
        let mut active = ActiveScheduler {
            scheduler: self,
            queue: AttemptQueue::default(),
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            retries: DelayQueue::new(),
            blocked: Vec::new(),
            outage: None,
            had_open_breaker: false,
            stop: stop.clone(),
        };
        while !stop.is_cancelled() {
            active.step().await?;
        }
        while let Some(joined) = active.tasks.join_next().await {
            joined.map_err(panicked)?;
        }
        Ok(())
    }
}

impl ActiveScheduler {
    /// Waits for one event, then starts the attempts that can start.
    async fn step(&mut self) -> Result<(), SchedulerError> {
        let wait = self.until_next_wakeup(clock::now());
        // Each branch takes whole items from a queue: if it is dropped at its await, nothing is lost.
        tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            Some(command) = self.scheduler.commands.recv() => {
                self.handle(command);
                // All commands of a burst go into the queue first: its order depends on all that are queued.
                while let Ok(command) = self.scheduler.commands.try_recv() {
                    self.handle(command);
                }
            }
            Some(joined) = self.tasks.join_next() => self.finished(joined.map_err(panicked)?, clock::now()),
            Some(due) = self.retries.next() => self.handle(due.into_inner()),
            Ok(()) = self.scheduler.leads.changed() => self.leadership_changed(),
            () = sleep(wait) => self.requeue_blocked(),
        }
        self.report_breakers(clock::now());
        self.start(clock::now());
        Ok(())
    }

    /// The time until a slot expires, an endpoint may be probed, the outage is over, or a breaker becomes stale.
    fn until_next_wakeup(&self, now: Timestamp) -> Duration {
        let AttemptRunner { limiter, breakers, policy, .. } = self.scheduler.runner.as_ref();
        let breaker_expiry = breakers.next_expiry(policy.longest_wait, now);
        let none_waits = self.queue.is_empty() && self.blocked.is_empty();
        let for_waiting =
            || [limiter.next_expiry(now), breakers.next_probe(now), self.outage.map(|outage| outage.until)];
        let times = if none_waits { [None; 3] } else { for_waiting() };
        let next = times.into_iter().chain([breaker_expiry]).flatten().filter(|at| *at > now).min();
        let wait = next.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    fn handle(&mut self, command: SchedulerCommand) {
        let checkpoint = match &command {
            SchedulerCommand::Attempt(checkpoint) | SchedulerCommand::MarkInterrupted(checkpoint) => checkpoint.clone(),
            SchedulerCommand::Recheck => return self.requeue_blocked(),
        };
        let uid = checkpoint.uid().unwrap_or_default();
        if let Some(pending) = self.under_way.get_mut(&uid) {
            *pending = Some(command);
            return;
        }
        match command {
            // The controller of the next leader sends the command again.
            SchedulerCommand::Attempt(_) if !self.leads() => {}
            SchedulerCommand::Attempt(checkpoint) => {
                let node = fields::node(&checkpoint);
                self.queue.push(checkpoint, node);
            }
            SchedulerCommand::MarkInterrupted(checkpoint) => self.mark_interrupted(uid, checkpoint),
            SchedulerCommand::Recheck => {}
        }
    }

    fn leads(&self) -> bool {
        *self.scheduler.leads.borrow()
    }

    fn requeue_blocked(&mut self) {
        for (checkpoint, node) in self.blocked.drain(..) {
            self.queue.requeue(checkpoint, Some(node));
        }
    }

    fn leadership_changed(&mut self) {
        if !*self.scheduler.leads.borrow_and_update() {
            // The controller of the next leader queues them again.
            self.queue = AttemptQueue::default();
            self.retries.clear();
            self.blocked.clear();
        }
    }

    fn start(&mut self, now: Timestamp) {
        let has_outage = self.outage.is_some_and(|outage| outage.until > now);
        if self.leads() && !self.scheduler.is_suspended && !has_outage {
            while self.start_next(now) {}
        }
        self.scheduler.metrics.queued(self.queue.len());
    }

    /// Starts the next attempt that can start. False: there is none.
    fn start_next(&mut self, now: Timestamp) -> bool {
        let runner = self.scheduler.runner.clone();
        let AttemptRunner { limiter, breakers, backend, .. } = runner.as_ref();
        let can_start =
            |node: Option<&str>| breakers.allows(backend.endpoint(node), now) && limiter.has_free_slot(node, now);
        let Some(QueuedAttempt { uid, checkpoint, node }) = self.queue.pop(can_start) else { return false };
        if !limiter.acquire(&uid, node.as_deref(), now) {
            self.queue.requeue(checkpoint, node);
            return false;
        }
        let mut permit = breakers.issue(backend.endpoint(node.as_deref()));
        self.under_way.insert(uid.clone(), None);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Boxed: the future is large, and many tasks run at once.
            let result = Box::pin(runner.run(&checkpoint, &mut permit, &stop)).await;
            runner.limiter.release(&uid);
            FinishedAttempt { uid, checkpoint, permit, result }
        });
        true
    }

    fn mark_interrupted(&mut self, uid: String, checkpoint: Arc<Checkpoint>) {
        self.under_way.insert(uid.clone(), None);
        let runner = self.scheduler.runner.clone();
        self.tasks.spawn(async move {
            let result = runner.mark_interrupted(&checkpoint).await.map(|()| AttemptResult::NotSent);
            FinishedAttempt { uid, checkpoint, permit: Permit::default(), result }
        });
    }

    fn finished(&mut self, finished: FinishedAttempt, now: Timestamp) {
        let FinishedAttempt { uid, checkpoint, permit, result } = finished;
        let signal = if let Ok(AttemptResult::Sent(signal)) = &result { *signal } else { EndpointSignal::NotSent };
        let AttemptRunner { breakers, policy, .. } = self.scheduler.runner.as_ref();
        breakers.record(&permit, signal, policy.longest_wait, fastrand::f64(), now);
        let pending = self.under_way.remove(&uid).flatten();
        match &result {
            Err(error) if is_about_checkpoint(error) => {
                let (namespace, name) = fields::namespace_and_name(&checkpoint);
                tracing::warn!(
                    checkpoint = name,
                    namespace,
                    "Could not attempt Checkpoint `{namespace}/{name}`, retrying in {} s: {}",
                    LONGEST_PAUSE.as_secs(),
                    error_chain(error)
                );
            }
            Err(error) => self.record_outage(error, now),
            Ok(_) => {
                if self.outage.take().is_some() {
                    tracing::info!("API server reachable again, resuming checkpoints");
                }
            }
        }
        match (result, pending) {
            (Ok(AttemptResult::NoFreeSlot { node }), None) if self.leads() => {
                return self.blocked.push((checkpoint, node));
            }
            (Err(error), None) => {
                let is_in_progress = checkpoint.phase() == Phase::InProgress;
                let wait = if is_about_checkpoint(&error) { LONGEST_PAUSE } else { RETRY_AFTER };
                let command = if is_in_progress {
                    SchedulerCommand::MarkInterrupted(checkpoint)
                } else {
                    SchedulerCommand::Attempt(checkpoint)
                };
                self.retries.insert(command, wait);
            }
            (_, Some(command)) => self.handle(command),
            (Ok(_), None) => {}
        }
        self.requeue_blocked();
    }

    /// Updates the metric of open circuit breakers. When the last one became stale or closed, the health check passes,
    /// unless an attempt is under way that may have failed the check for another reason.
    fn report_breakers(&mut self, now: Timestamp) {
        let AttemptRunner { breakers, policy, context, .. } = self.scheduler.runner.as_ref();
        let open = breakers.open_count(policy.longest_wait, now);
        self.scheduler.metrics.open_breakers(open);
        if open > 0 {
            self.had_open_breaker = true;
        } else if self.had_open_breaker && self.tasks.is_empty() {
            self.had_open_breaker = false;
            context.checks.backend.pass();
        }
    }

    /// Pauses all attempts.
    fn record_outage(&mut self, error: &CallError, now: Timestamp) {
        let Some(outage) = ApiOutage::after(self.outage, fastrand::f64(), now) else { return };
        if outage.pauses == 1 {
            tracing::warn!("Checkpoints paused: API server error, retrying until it responds: {}", error_chain(error));
        }
        self.outage = Some(outage);
    }
}

fn panicked(error: JoinError) -> SchedulerError {
    SchedulerError::Panicked(join_error_message(error))
}
