//! The service that makes attempts: it holds the queue, the slots and the breakers, and owns each attempt's task, so that
//! none is cancelled when leadership or the watch goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::time::DelayQueue;

use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::{error_chain, join_error_message};
use snapwatcher_kubernetes::cluster::CallError;

use super::attempt_queue::{Next, Queue};
use super::attempt_runner::{Attempt, Made};
use super::circuit_breaker::Shown;
use super::claim::NODE;
use super::endpoint_breakers::Turn;
use super::metrics::CheckpointMetrics;
use snapwatcher_api::checkpoint::{Checkpoint, Phase};

/// The waits, doubling, while the API server can't be spoken to: of all records, since it is away for all.
const FIRST_TROUBLE: Duration = Duration::from_secs(1);
const LONGEST_TROUBLE: Duration = Duration::from_secs(15);
/// For how long a record that met trouble is put off at the least.
const AGAIN: Duration = Duration::from_secs(1);
/// Waiting longer than this is looked at anew, whatever the timers say.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What the controller wants done.
#[derive(Debug, Clone)]
pub enum Wanted {
    Attempt(Arc<Checkpoint>),
    /// The attempt in this record was interrupted.
    GiveUp(Arc<Checkpoint>),
    /// A record has changed, and with it perhaps a slot.
    Look,
}

/// The parts of the service.
pub struct AttemptScheduler {
    pub attempt: Arc<Attempt>,
    pub wanted: mpsc::UnboundedReceiver<Wanted>,
    /// While false nothing new is begun.
    pub leads: watch::Receiver<bool>,
    /// Nothing is asked at all: the emergency brake.
    pub is_suspended: bool,
    pub metrics: CheckpointMetrics,
    /// Dropped when the last attempt has ended.
    pub at_work: DropGuard,
}

#[derive(Debug, thiserror::Error)]
pub enum AttemptsError {
    #[error("an attempt panicked: {0}")]
    Panicked(String),
}

/// One task that came to its end.
struct Ended {
    uid: String,
    record: Arc<Checkpoint>,
    turn: Turn,
    result: Result<Made, CallError>,
}

struct Running {
    parts: AttemptScheduler,
    queue: Queue,
    tasks: JoinSet<Ended>,
    /// Records with a task, by UID, each with what was wanted of it meanwhile.
    under_way: HashMap<String, Option<Wanted>>,
    again: DelayQueue<Wanted>,
    /// Records that found no room once their pod was read; looked at again when a slot may have fallen free.
    parked: Vec<(Arc<Checkpoint>, String)>,
    /// Since when nothing is begun because the API server is in trouble, and how often in a row it was.
    trouble: Option<Trouble>,
    /// Whether something that is asked was away when last looked.
    is_away: bool,
    stop: CancellationToken,
}

/// The API server can't be spoken to.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    times: u32,
    until: Timestamp,
}

impl AttemptScheduler {
    /// Runs until the stop; attempts that were begun are then finished and their outcomes written.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AttemptsError> {
        let mut running = Running {
            parts: self,
            queue: Queue::default(),
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            again: DelayQueue::new(),
            parked: Vec::new(),
            trouble: None,
            is_away: false,
            stop: stop.clone(),
        };
        while !stop.is_cancelled() {
            running.turn().await?;
        }
        while let Some(joined) = running.tasks.join_next().await {
            joined.map_err(panicked)?;
        }
        Ok(())
    }
}

impl Running {
    /// Waits for something to happen, then begins what may be begun.
    async fn turn(&mut self) -> Result<(), AttemptsError> {
        let pause = self.pause(clock::now());
        // All branches take whole items from queues: dropping one at an await loses nothing.
        tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            Some(wanted) = self.parts.wanted.recv() => {
                self.want(wanted);
                // A burst is taken in at once: the queue decides better the more it knows.
                while let Ok(wanted) = self.parts.wanted.try_recv() {
                    self.want(wanted);
                }
            }
            Some(joined) = self.tasks.join_next() => self.ended(joined.map_err(panicked)?, clock::now()),
            Some(due) = self.again.next() => self.want(due.into_inner()),
            Ok(()) = self.parts.leads.changed() => self.leadership_changed(),
            () = sleep(pause) => self.unpark(),
        }
        self.tell_away(clock::now());
        self.begin(clock::now());
        Ok(())
    }

    /// Until a slot falls free or a breaker lets the next one through, or what was away is no concern any more, if nothing
    /// happens before.
    fn pause(&self, now: Timestamp) -> Duration {
        let Attempt { budget, breakers, policy, .. } = self.parts.attempt.as_ref();
        let left_out = breakers.next_left_out(policy.longest_wait, now);
        let nobody_waits = self.queue.is_empty() && self.parked.is_empty();
        let of_those_that_wait =
            || [budget.next_free(now), breakers.next_open(now), self.trouble.map(|trouble| trouble.until)];
        let next = if nobody_waits { [None; 3] } else { of_those_that_wait() };
        let next = next.into_iter().chain([left_out]).flatten().filter(|at| *at > now);
        let pause = next.min().and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        pause.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    fn want(&mut self, wanted: Wanted) {
        let record = match &wanted {
            Wanted::Attempt(record) | Wanted::GiveUp(record) => record.clone(),
            Wanted::Look => return self.unpark(),
        };
        let uid = record.uid().unwrap_or_default();
        if let Some(meanwhile) = self.under_way.get_mut(&uid) {
            *meanwhile = Some(wanted);
            return;
        }
        match wanted {
            // Who leads next wants it, or our controller does when we lead again.
            Wanted::Attempt(_) if !self.leads() => {}
            Wanted::Attempt(record) => {
                let node = node(&record);
                self.queue.put(record, node);
            }
            Wanted::GiveUp(record) => self.give_up(uid, record),
            Wanted::Look => {}
        }
    }

    fn leads(&self) -> bool {
        *self.parts.leads.borrow()
    }

    fn unpark(&mut self) {
        for (record, node) in self.parked.drain(..) {
            self.queue.put_back(record, Some(node));
        }
    }

    fn leadership_changed(&mut self) {
        if !*self.parts.leads.borrow_and_update() {
            // The next leader's controller wants them, or ours does when we lead again.
            self.queue = Queue::default();
            self.again.clear();
            self.parked.clear();
        }
    }

    fn begin(&mut self, now: Timestamp) {
        let in_trouble = self.trouble.is_some_and(|trouble| trouble.until > now);
        if self.leads() && !self.parts.is_suspended && !in_trouble {
            while self.begin_next(now) {}
        }
        self.parts.metrics.waiting(self.queue.len());
    }

    /// Begins the next attempt that may be made; false: there is none.
    fn begin_next(&mut self, now: Timestamp) -> bool {
        let attempt = self.parts.attempt.clone();
        let Attempt { budget, breakers, backend, .. } = attempt.as_ref();
        let may_ask = |node: Option<&str>| breakers.allows(backend.address(node), now) && budget.has_room(node, now);
        let Some(Next { uid, record, node }) = self.queue.next(may_ask) else { return false };
        if !budget.take(&uid, node.as_deref(), now) {
            self.queue.put_back(record, node);
            return false;
        }
        let mut turn = breakers.begin(backend.address(node.as_deref()));
        self.under_way.insert(uid.clone(), None);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Boxed: there may be many, and most of one is the request.
            let result = Box::pin(attempt.make(&record, &mut turn, &stop)).await;
            attempt.budget.give_back(&uid);
            Ended { uid, record, turn, result }
        });
        true
    }

    fn give_up(&mut self, uid: String, record: Arc<Checkpoint>) {
        self.under_way.insert(uid.clone(), None);
        let attempt = self.parts.attempt.clone();
        self.tasks.spawn(async move {
            let result = attempt.give_up(&record).await.map(|()| Made::NotSent);
            Ended { uid, record, turn: Turn::default(), result }
        });
    }

    fn ended(&mut self, ended: Ended, now: Timestamp) {
        let Ended { uid, record, turn, result } = ended;
        let shown = if let Ok(Made::Asked(shown)) = &result { *shown } else { Shown::Nothing };
        let Attempt { breakers, policy, .. } = self.parts.attempt.as_ref();
        breakers.end(&turn, shown, policy.longest_wait, fastrand::f64(), now);
        let meanwhile = self.under_way.remove(&uid).flatten();
        match &result {
            Err(error) if is_of_record(error) => {
                let name = record.name_any();
                tracing::warn!(checkpoint = name, "Attempt is put off: {}", error_chain(error));
            }
            Err(error) => self.note_trouble(error, now),
            Ok(_) => {
                if self.trouble.take().is_some() {
                    tracing::info!("AttemptScheduler go on");
                }
            }
        }
        match (result, meanwhile) {
            (Ok(Made::NoRoom { node }), None) if self.leads() => return self.parked.push((record, node)),
            (Err(error), None) => {
                let is_in_progress = record.phase() == Phase::InProgress;
                let wait = if is_of_record(&error) { LONGEST_TROUBLE } else { AGAIN };
                let wanted = if is_in_progress { Wanted::GiveUp(record) } else { Wanted::Attempt(record) };
                self.again.insert(wanted, wait);
            }
            (_, Some(wanted)) => self.want(wanted),
            (Ok(_), None) => {}
        }
        self.unpark();
    }

    /// Tells how much is away. Where it is nothing any more since nobody asks it, the check passes; an attempt that is under
    /// way may have failed it for a reason of its own.
    fn tell_away(&mut self, now: Timestamp) {
        let Attempt { breakers, policy, backend_check, .. } = self.parts.attempt.as_ref();
        let away = breakers.away(policy.longest_wait, now);
        self.parts.metrics.away(away);
        if away > 0 {
            self.is_away = true;
        } else if self.is_away && self.tasks.is_empty() {
            self.is_away = false;
            backend_check.pass();
        }
    }

    /// Told when it begins; those that were under way then tell nothing new.
    fn note_trouble(&mut self, error: &CallError, now: Timestamp) {
        let times = match self.trouble {
            Some(trouble) if trouble.until > now => return,
            Some(trouble) => trouble.times + 1,
            None => 1,
        };
        if times == 1 {
            tracing::warn!("AttemptScheduler are put off: {}", error_chain(error));
        }
        let wait = FIRST_TROUBLE.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_TROUBLE);
        let wait = SignedDuration::try_from(wait.mul_f64(0.75 + fastrand::f64() / 2.0)).unwrap_or_default();
        self.trouble = Some(Trouble { times, until: now + wait });
    }
}

/// Whether the API server turned down this record rather than being away for all: what it holds is not taken, or we may
/// not write it.
fn is_of_record(error: &CallError) -> bool {
    error.status().is_some_and(|status| matches!(status.code, 400 | 403 | 404 | 409 | 413 | 422))
}

/// The node of a record's pod as its claim or its last attempt tells, named as in labels.
fn node(record: &Checkpoint) -> Option<String> {
    record.labels().get(NODE).cloned()
}

fn panicked(error: tokio::task::JoinError) -> AttemptsError {
    AttemptsError::Panicked(join_error_message(error))
}
