//! A process: an engine, its operations, its watches and its clocks.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::SignedDuration;
use snapwatcher_controller::operation::{self, Operation, OperationId, OperationResult, OperationSettings};
use snapwatcher_controller::{Engine, Holder, Input, Now};

use super::operation_io::{Shared, SimulatedIo, lock};
use super::seen::Seen;
use super::setup::{Flags, Setup};
use super::time::{seconds, wall};
use super::watch::{Watch, Watched};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// Stopped by SIGSTOP.
    Paused,
    /// It has ended.
    Ended,
}

type Running = Pin<Box<dyn Future<Output = OperationResult> + Send>>;

pub(super) struct Process {
    /// Its position among the processes.
    pub(super) position: usize,
    /// Unique in the history.
    pub(super) generation: u64,
    pub(super) holder: Holder,
    pub(super) flags: Flags,
    pub(super) state: State,
    pub(super) leads: bool,
    pub(super) is_stopping: bool,
    pub(super) engine: Engine,
    settings: OperationSettings,
    pub(super) decisions_per_step: usize,
    pub(super) shared: Arc<Mutex<Shared>>,
    operations: BTreeMap<OperationId, Running>,
    pub(super) inbox: VecDeque<Input>,
    pub(super) watches: Vec<Watch>,
    pub(super) wakes_at: Duration,
    /// By how much its wall clock is wrong.
    pub(super) skew: SignedDuration,
    /// What its clock since boot showed at the beginning.
    boot: Duration,
    pub(super) seen: Seen,
    /// Operations with an answer that a paused process has not found yet.
    pub(super) unpolled: Vec<OperationId>,
}

impl Process {
    pub(super) fn start(
        setup: &Setup,
        position: usize,
        generation: u64,
        (holder, flags): (Holder, Flags),
        seed: u64,
    ) -> Self {
        let settings = flags.settings(setup, holder.clone(), seed);
        let shared = Shared {
            wall: wall(Duration::ZERO, SignedDuration::ZERO),
            boot: Duration::ZERO,
            is_stopping: false,
            random: fastrand::Rng::with_seed(seed),
            calls: Vec::new(),
            progress: Vec::new(),
        };
        Self {
            position,
            generation,
            holder,
            flags,
            state: State::Running,
            leads: false,
            is_stopping: false,
            settings: settings.operations.clone(),
            decisions_per_step: settings.decisions_per_step,
            engine: Engine::new(settings),
            shared: Arc::new(Mutex::new(shared)),
            operations: BTreeMap::new(),
            inbox: VecDeque::new(),
            watches: Vec::new(),
            wakes_at: Duration::MAX,
            skew: SignedDuration::ZERO,
            boot: seconds(1000 * (position as u64 + 1)),
            seen: Seen::default(),
            unpolled: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.holder.to_string()
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    pub(super) fn clocks(&self, now: Duration) -> Now {
        Now { wall: wall(now, self.skew), boot: self.boot + now }
    }

    /// Begins the watches anew.
    pub(super) fn restart_watches(&mut self, scopes: usize) {
        self.watches.clear();
        if self.leads {
            let of_scope = |scope| [Watch::new(Watched::Pods, scope), Watch::new(Watched::Checkpoints, scope)];
            self.watches.extend((0..scopes).flat_map(of_scope));
        }
    }

    /// Creates the future of an operation, which [`Self::poll`] then runs.
    pub(super) fn spawn(&mut self, id: OperationId, operation: Operation) {
        let io = SimulatedIo { shared: Arc::clone(&self.shared), operation: id };
        let (shared, settings) = (Arc::clone(&self.shared), self.settings.clone());
        let future = async move {
            let report = move |progress| lock(&shared).progress.push((id, progress));
            Box::pin(operation::run(&io, &settings, operation, report)).await
        };
        self.operations.insert(id, Box::pin(future));
    }

    pub(super) fn set_clocks(&self, now: Duration) {
        let Now { wall, boot } = self.clocks(now);
        let mut shared = lock(&self.shared);
        (shared.wall, shared.boot, shared.is_stopping) = (wall, boot, self.is_stopping);
    }

    /// Runs an operation until it waits. What it reports, and its end, go into the inbox.
    pub(super) fn poll(&mut self, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let polled = operation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let progress = std::mem::take(&mut lock(&self.shared).progress);
        self.inbox.extend(progress.into_iter().map(|(id, progress)| Input::Progress { id, progress }));
        if let Poll::Ready(result) = polled {
            self.operations.remove(&id);
            self.inbox.push_back(Input::Finished { id, result });
        }
    }

    /// It ends at once. What it has sent is under way still.
    pub(super) fn kill(&mut self) {
        self.state = State::Ended;
        self.leads = false;
        self.operations.clear();
        self.inbox.clear();
        self.watches.clear();
        self.wakes_at = Duration::MAX;
    }
}
