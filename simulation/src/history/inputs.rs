//! What reaches the engine of a process, and what the engine has done then.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::Event;
use snapwatcher_controller::operation::{OperationId, Progress};
use snapwatcher_controller::{Effect, Input};

use super::calls::{Answer, AnswerSlot, Call, Request};
use super::process::State;
use super::setup::CALL_TIMEOUT;
use super::world::{Due, Timer, World};

impl World {
    /// Gives an input to an engine, and starts what it wants.
    pub(super) fn input(&mut self, process: usize, input: Input) {
        let now = self.processes[process].clocks(self.now);
        self.before_input(process, &input);
        let is_of_pod = is_of_one_pod(&input);
        let engine = &mut self.processes[process].engine;
        let (looks, queued) = (engine.look_count(), engine.kept().queued);
        let effects = engine.on(input, now);
        if is_of_pod {
            self.check_looks(process, looks, queued);
        }
        for effect in effects {
            match effect {
                Effect::Start(id, operation) => {
                    self.note_of(process, || format!("starts #{} {}", id.0, super::trace::operation(&operation)));
                    self.check_start(process, id, &operation);
                    self.processes[process].spawn(id, operation);
                    self.poll(process, id);
                }
                Effect::Retain { known_pods } => self.retain(process, &known_pods),
                Effect::Report(_) => {}
            }
        }
        let of = &mut self.processes[process];
        let wait = of.engine.next_wakeup(now);
        // As a timer of the runtime, which has a resolution of a millisecond.
        let wakes_at = self.now + wait.max(Duration::from_millis(1));
        of.wakes_at = if of.is_stopping { Duration::MAX } else { wakes_at };
        self.check_memory(process);
    }

    /// What the world itself has to know of an input.
    fn before_input(&mut self, process: usize, input: &Input) {
        self.processes[process].seen.rejections.input(input);
        match input {
            Input::Progress { id, progress: Progress::Responded { outcome, .. } } => {
                self.response_seen(process, *id, outcome);
            }
            Input::Finished { id, .. } => {
                let seen = &mut self.processes[process].seen;
                seen.attempting.remove(id);
                seen.answered.remove(id);
                seen.started.remove(id);
                self.note_of(process, || format!("ends #{}", id.0));
            }
            _ => {}
        }
    }

    /// Takes the next input that the process has sent to itself.
    pub(super) fn take_inbox(&mut self, process: usize) {
        if let Some(input) = self.processes[process].inbox.pop_front() {
            self.input(process, input);
        }
    }

    /// Runs an operation until it waits, and notes its new calls.
    pub(super) fn poll(&mut self, process: usize, id: OperationId) {
        self.processes[process].set_clocks(self.now);
        self.processes[process].poll(id);
        let shared = Arc::clone(&self.processes[process].shared);
        let calls = std::mem::take(&mut super::operation_io::lock(&shared).calls);
        let generation = self.processes[process].generation;
        let of = &mut self.processes[process];
        for input in &of.inbox {
            if let Input::Progress { id, progress: Progress::Requested(checkpoint) } = input
                && let Some(started) = of.seen.started.get_mut(id)
            {
                started.requested = Some(Arc::clone(checkpoint));
            }
        }
        for (operation, request, answer) in calls {
            self.called(process, generation, (operation, request, answer));
        }
    }

    fn called(
        &mut self,
        process: usize,
        generation: u64,
        (operation, request, answer): (OperationId, Request, AnswerSlot),
    ) {
        match request {
            Request::Sleep(time) => {
                let at = self.now + time;
                self.timers.push(Timer { at, process, generation, operation, answer, due: Due::Sleep });
            }
            Request::Backend(request) => self.decided(process, operation, request, answer),
            request => {
                self.check_write_started(process, operation, &request);
                let times_out_at = self.now + CALL_TIMEOUT;
                self.calls.push(Call { process, generation, operation, request, answer, times_out_at });
            }
        }
    }

    /// Whether the process that made a call is there still.
    pub(super) fn is_alive(&self, process: usize, generation: u64) -> bool {
        let process = &self.processes[process];
        process.generation == generation && process.state != State::Ended
    }

    /// Hands an answer over. A paused process finds it later.
    pub(super) fn answer(
        &mut self,
        (process, generation): (usize, u64),
        id: OperationId,
        slot: &AnswerSlot,
        answer: Answer,
    ) {
        if !self.is_alive(process, generation) || !slot.is_awaited() {
            return;
        }
        slot.put(answer);
        if self.processes[process].is_running() {
            self.poll(process, id);
        } else {
            self.processes[process].unpolled.push(id);
        }
    }
}

/// Whether it says that one pod has changed or is gone. At the end of a listing, all Checkpoints are looked at.
fn is_of_one_pod(input: &Input) -> bool {
    matches!(input, Input::Pods { event, .. } if matches!(**event, Event::Apply(_) | Event::InitApply(_) | Event::Delete(_)))
}
