//! Processes start, lead, pause, stop and end.

use std::time::Duration;

use snapwatcher_controller::{Holder, Input};

use super::coverage::Fault;
use super::process::{Process, State};
use super::setup::Flags;
use super::time::seconds;
use super::world::World;

impl World {
    pub(super) fn kill(&mut self, process: usize) {
        self.fault_meets_calls_of(process, Fault::Crash);
        self.coverage.event("crashes");
        self.note_of(process, || "is killed".to_owned());
        self.evidence.killed.insert(self.processes[process].generation);
        let generation = self.processes[process].generation;
        self.unsent.retain(|unsent| self.evidence.requests[unsent.number].generation != generation);
        self.processes[process].kill();
        self.abandon_calls(process);
    }

    pub(super) fn pause(&mut self, process: usize) {
        self.fault_meets_calls_of(process, Fault::Pause);
        self.coverage.event("pauses");
        self.note_of(process, || "is paused".to_owned());
        self.processes[process].state = State::Paused;
        for started in self.processes[process].seen.started.values_mut() {
            started.was_paused = true;
        }
    }

    /// Another process leads, and a minute or two pass.
    pub(super) fn take_over(&mut self) {
        let running = self.running();
        if let Some(other) = self.pick(&running).filter(|other| !self.processes[*other].leads) {
            self.lead(other, true);
        }
        self.paused_until = self.now + seconds(100);
    }

    /// It is asked to end, and finishes what it has begun.
    pub(super) fn stop(&mut self, process: usize) {
        self.coverage.event("stops");
        self.note_of(process, || "is asked to end".to_owned());
        self.processes[process].is_stopping = true;
        self.processes[process].watches.clear();
        self.processes[process].set_clocks(self.now);
        self.input(process, Input::Stop);
        self.processes[process].wakes_at = Duration::MAX;
    }

    /// Processes that have finished end.
    pub(super) fn end_stopped(&mut self) {
        for process in self.running() {
            let of = &self.processes[process];
            if of.is_stopping && of.engine.is_idle() && of.inbox.is_empty() {
                self.kill(process);
            }
        }
    }

    /// A process that is not running runs again. False: all run.
    pub(super) fn recover(&mut self) -> bool {
        let down: Vec<_> = (0..self.processes.len()).filter(|p| !self.processes[*p].is_running()).collect();
        let Some(process) = self.pick(&down) else { return false };
        if self.processes[process].state == State::Paused {
            self.resume(process);
        } else {
            self.restart(process);
        }
        true
    }

    pub(super) fn resume(&mut self, process: usize) {
        self.note_of(process, || "goes on".to_owned());
        self.processes[process].state = State::Running;
        let generation = self.processes[process].generation;
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsent)
            .into_iter()
            .partition(|unsent| self.evidence.requests[unsent.number].generation == generation);
        self.unsent = others;
        for unsent in mine {
            self.send(unsent.number, process, unsent.operation, unsent.answer);
        }
        for id in std::mem::take(&mut self.processes[process].unpolled) {
            self.poll(process, id);
        }
        // A lease that was not renewed meanwhile is another's.
        if self.processes[process].leads && !self.is_healed && self.chance(70) {
            self.lead(process, false);
        }
    }

    /// A new process in the place of one that has ended: the same instance, or a new one.
    pub(super) fn restart(&mut self, process: usize) {
        let instance = self.processes[process].holder.instance.clone();
        let is_same = self.random.u8(..3) > 0;
        let flags =
            if self.random.bool() { Flags::draw(&self.setup, &mut self.random) } else { self.processes[process].flags };
        self.boot(process, is_same.then_some(instance), flags);
        let others = self.processes.iter().any(|other| other.position != process && other.is_running() && other.leads);
        if !others || self.chance(10) {
            self.lead(process, true);
        }
    }

    /// Starts a process, in place of the one there.
    pub(super) fn boot(&mut self, process: usize, instance: Option<String>, flags: Flags) {
        self.generation += 1;
        let generation = self.generation;
        let instance = instance.unwrap_or_else(|| format!("snapwatcher-{generation}"));
        let holder = Holder { instance: instance.clone(), boot: format!("b{generation}") };
        self.evidence.holders.insert(holder.to_string(), (instance, generation));
        let seed = self.setup.seed ^ generation;
        let mut started = Process::start(&self.setup, process, generation, (holder, flags), seed);
        if let Some(before) = self.processes.get(process) {
            started.skew = before.skew;
        }
        started.set_clocks(self.now);
        if process < self.processes.len() {
            self.processes[process] = started;
        } else {
            self.processes.push(started);
        }
        self.coverage.event("starts");
        self.note_of(process, || format!("starts with {flags:?}"));
        self.input(process, Input::Leads(false));
    }

    pub(super) fn lead(&mut self, process: usize, leads: bool) {
        if !leads {
            self.fault_meets_calls_of(process, Fault::LeadershipLost);
        }
        self.note_of(process, || if leads { "leads".to_owned() } else { "leads no longer".to_owned() });
        let scopes = self.setup.scopes().len();
        let now = self.now;
        let of = &mut self.processes[process];
        of.leads = leads;
        of.seen.forget(now);
        self.input(process, Input::Leads(leads));
        self.processes[process].restart_watches(scopes);
    }
}
