//! Time passes: what is due happens in its order.

use std::time::Duration;

use snapwatcher_controller::Input;

use super::calls::{Answer, error, failed};
use super::coverage::Fault;
use super::time::millis;
use super::world::{Due, World};

/// A process handles its own inputs within less than this.
const INBOX_LAG: Duration = millis(100);

/// What is due next.
#[derive(Clone, Copy)]
enum Next {
    Timer(usize),
    TimeOut(usize),
    Wakeup(usize),
}

impl World {
    /// Lets time pass.
    pub(super) fn advance(&mut self, by: Duration) {
        if by >= INBOX_LAG {
            self.drain_inboxes();
        }
        let until = self.now + by;
        while self.violation.is_none()
            && let Some((at, next)) = self.next_due()
            && at <= until
        {
            self.now = self.now.max(at);
            self.happen(next);
            self.drain_inboxes();
        }
        self.now = self.now.max(until);
    }

    /// Lets time pass until something is due. False: nothing ever is.
    pub(super) fn advance_to_next(&mut self, longest: Duration) -> bool {
        let Some((at, _)) = self.next_due() else { return false };
        self.advance(at.saturating_sub(self.now).min(longest));
        true
    }

    pub(super) fn drain_inboxes(&mut self) {
        for process in self.running() {
            while self.violation.is_none() && !self.processes[process].inbox.is_empty() {
                self.take_inbox(process);
            }
        }
    }

    fn next_due(&self) -> Option<(Duration, Next)> {
        let timers = self.timers.iter().enumerate().map(|(index, timer)| (timer.at, Next::Timer(index)));
        let is_running = |process: usize, generation: u64| {
            self.is_alive(process, generation) && self.processes[process].is_running()
        };
        let calls = self.calls.iter().enumerate().filter(|(_, call)| is_running(call.process, call.generation));
        let calls = calls.map(|(index, call)| (call.times_out_at, Next::TimeOut(index)));
        let processes = self.processes.iter().filter(|process| process.is_running());
        let wakeups = processes.map(|process| (process.wakes_at, Next::Wakeup(process.position)));
        timers.chain(calls).chain(wakeups).min_by_key(|(at, _)| *at).filter(|(at, _)| *at < Duration::MAX)
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Timer(index) => {
                let timer = self.timers.remove(index);
                match timer.due {
                    Due::Sleep => {
                        let of = (timer.process, timer.generation);
                        self.answer(of, timer.operation, &timer.answer, Answer::Slept);
                    }
                    Due::Response(number) => self.respond(&timer, number),
                }
            }
            Next::TimeOut(index) => self.time_out(index),
            Next::Wakeup(process) => {
                self.processes[process].wakes_at = Duration::MAX;
                self.check_wakeup(process);
                self.input(process, Input::Wakeup);
            }
        }
    }

    /// The client of a call gives up. The call may have its effect later.
    pub(super) fn time_out(&mut self, index: usize) {
        let call = self.calls.remove(index);
        self.note_of(call.process, || {
            format!("#{} {}: timed out", call.operation.0, super::trace::call(&call.request))
        });
        let answer = failed(&call.request, error(None));
        self.answer_call(&call, answer);
        if let Some(kind) = call.request.kind().filter(|kind| kind.is_write()) {
            self.coverage.fault(Fault::Late, kind);
            self.late.push((call.generation, call.request));
        }
    }
}
