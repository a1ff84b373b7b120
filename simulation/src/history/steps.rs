//! One step of a history: one thing happens, drawn by chance.

use super::coverage::Fault;
use super::time::{millis, seconds};
use super::world::World;

/// What can happen without any fault.
#[derive(Clone, Copy)]
enum Move {
    Inbox(usize),
    Watch(usize, usize),
    Call(usize),
    Late(usize),
    Wait,
}

impl World {
    /// One thing happens. `seed` decides which.
    pub(super) fn step(&mut self, seed: u64) {
        self.random = fastrand::Rng::with_seed(seed);
        self.coverage.steps += 1;
        let short = self.random.u64(1..20);
        self.advance(millis(short));
        self.end_stopped();
        let drawn = self.random.u32(..100);
        if drawn < self.setup.faults {
            self.fault();
        } else if drawn < self.setup.faults + self.setup.changes {
            self.change();
        } else if self.now >= self.paused_until && self.chance(15) && self.recover() {
            // A process runs again.
        } else {
            self.go_on();
        }
    }

    /// One thing that is due goes its ordinary way.
    pub(super) fn go_on(&mut self) {
        let mut moves = Vec::new();
        for process in self.running() {
            if !self.processes[process].inbox.is_empty() {
                moves.extend([Move::Inbox(process); 3]);
            }
            let watches = 0..self.processes[process].watches.len();
            moves.extend(
                watches.filter(|watch| self.has_news(process, *watch)).map(|watch| Move::Watch(process, watch)),
            );
        }
        moves.extend((0..self.calls.len()).flat_map(|call| [Move::Call(call); 2]));
        moves.extend((0..self.late.len()).map(Move::Late));
        moves.push(Move::Wait);
        match self.pick(&moves) {
            Some(Move::Inbox(process)) => self.take_inbox(process),
            Some(Move::Watch(process, watch)) => {
                let most = self.random.usize(1..=4);
                self.deliver(process, watch, most);
            }
            Some(Move::Call(call)) => {
                let call = self.calls.swap_remove(call);
                self.complete(&call);
            }
            Some(Move::Late(late)) => self.take_effect_late(late),
            Some(Move::Wait) | None => self.wait(),
        }
    }

    fn wait(&mut self) {
        if !self.calls.is_empty() && self.random.u8(..8) > 0 {
            let by = self.random.u64(1..400);
            return self.advance(millis(by));
        }
        match self.random.u8(..10) {
            0..6 => drop(self.advance_to_next(seconds(60))),
            6 => {
                let by = self.random.u64(100..3000);
                self.advance(millis(by));
            }
            7 => {
                let by = self.random.u64(3..20);
                self.advance(seconds(by));
            }
            8 => {
                let by = self.random.u64(20..90);
                self.advance(seconds(by));
            }
            _ => {}
        }
    }

    /// A call whose client has given up takes effect, or never does.
    pub(super) fn take_effect_late(&mut self, late: usize) {
        let (generation, request) = self.late.swap_remove(late);
        if self.random.bool() || self.is_outage() {
            return;
        }
        self.note("server", || format!("carries out late: {}", super::trace::call(&request)));
        self.coverage.event("late effects");
        drop(self.carry_out(generation, &request));
    }

    /// A call of a process that is gone may still take effect.
    pub(super) fn abandon_calls(&mut self, process: usize) {
        let generation = self.processes[process].generation;
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.calls).into_iter().partition(|call| call.generation == generation);
        self.calls = kept;
        let writes = gone.into_iter().filter(|call| call.request.kind().is_some_and(super::calls::CallKind::is_write));
        self.late.extend(writes.map(|call| (call.generation, call.request)));
    }

    /// Counts a fault that meets all calls of a process under way.
    pub(super) fn fault_meets_calls_of(&mut self, process: usize, fault: Fault) {
        let generation = self.processes[process].generation;
        let kinds: Vec<_> = self.calls.iter().filter(|call| call.generation == generation).collect();
        let kinds: Vec<_> = kinds.into_iter().filter_map(|call| call.request.kind()).collect();
        let is_response = |due: &super::world::Due| matches!(due, super::world::Due::Response(_));
        let requests = self.timers.iter().filter(|timer| timer.generation == generation && is_response(&timer.due));
        let requests = requests.count();
        for kind in kinds {
            self.coverage.fault(fault, kind);
        }
        for _ in 0..requests {
            self.coverage.fault(fault, super::calls::CallKind::Backend);
        }
    }
}
