//! What goes wrong: calls, processes, watches, the API server, leadership, clocks.

use jiff::SignedDuration;
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};

use super::calls::{CallKind, error, failed};
use super::coverage::Fault;
use super::process::State;
use super::setup::LONGEST_REQUEST;
use super::time::seconds;
use super::watch::Position;
use super::world::{Due, World};

impl World {
    /// One thing goes wrong.
    pub(super) fn fault(&mut self) {
        match self.random.u8(..20) {
            0..9 if !self.calls.is_empty() => self.call_fault(),
            0..10 => self.request_fault(),
            10 | 11 => self.end_one(),
            12 => self.pause_one(),
            13 | 14 => self.leadership_fault(),
            15..17 => self.watch_fault(),
            17 => {
                let long = self.random.u64(1..40);
                self.outage_until = self.now + seconds(long);
                self.coverage.event("outages");
                self.note("server", || format!("cannot be reached for {long} s"));
            }
            18 => self.clock_fault(),
            _ => drop(self.recover()),
        }
    }

    fn call_fault(&mut self) {
        let index = self.random.usize(..self.calls.len());
        let call = self.calls.swap_remove(index);
        let Some(kind) = call.request.kind() else { return };
        let fault = match self.random.u8(..8) {
            0 => Fault::Lost,
            1 | 2 => Fault::AnswerLost,
            3 => Fault::Late,
            4 => Fault::Answered429,
            5 => Fault::Answered500,
            6 => Fault::Answered503,
            _ => Fault::Answered504,
        };
        if !kind.is_write() && matches!(fault, Fault::AnswerLost | Fault::Late) {
            return self.complete(&call);
        }
        self.coverage.fault(fault, kind);
        self.note_of(call.process, || {
            format!("#{} {}: {fault:?}", call.operation.0, super::trace::call(&call.request))
        });
        let (has_effect, code) = match fault {
            Fault::AnswerLost => (true, None),
            Fault::Answered429 => (false, Some(429)),
            Fault::Answered500 => (self.random.bool(), Some(500)),
            Fault::Answered503 => (false, Some(503)),
            Fault::Answered504 => (self.random.bool(), Some(504)),
            _ => (false, None),
        };
        if has_effect && kind.is_write() {
            drop(self.carry_out(call.generation, &call.request));
        }
        let answer = failed(&call.request, error(code));
        self.answer_call(&call, answer);
        if fault == Fault::Late {
            self.late.push((call.generation, call.request));
        }
    }

    /// The answer to a request is lost: the process learns nothing until its time-out.
    fn request_fault(&mut self) {
        let responses: Vec<_> =
            (0..self.timers.len()).filter(|index| matches!(self.timers[*index].due, Due::Response(_))).collect();
        let Some(index) = self.pick(&responses) else { return };
        let Due::Response(number) = self.timers[index].due else { return };
        let reason = Reason::NoResponse;
        let lost = self.random.bool();
        self.coverage.fault(if lost { Fault::Lost } else { Fault::AnswerLost }, CallKind::Backend);
        self.note("back-end", || format!("the {} of a request is lost", if lost { "whole" } else { "response" }));
        let entry = &mut self.evidence.requests[number];
        entry.has_effect &= !lost;
        entry.result = Some(Outcome::Failed { reason, message: Redacted::own("simulated"), retry_after: None });
        self.timers[index].at = self.timers[index].at.max(self.now + LONGEST_REQUEST);
    }

    /// A process is killed, or asked to end.
    fn end_one(&mut self) {
        let running: Vec<_> = self.running().into_iter().filter(|p| !self.processes[*p].is_stopping).collect();
        match self.pick(&running) {
            Some(process) if self.random.u8(..4) == 0 => self.stop(process),
            _ => self.crash(),
        }
    }

    fn crash(&mut self) {
        let up: Vec<_> = (0..self.processes.len()).filter(|p| self.processes[*p].state != State::Ended).collect();
        if let Some(process) = self.pick(&up) {
            self.kill(process);
        }
    }

    fn pause_one(&mut self) {
        let running = self.running();
        if let Some(process) = self.pick(&running) {
            self.pause(process);
        }
    }

    fn leadership_fault(&mut self) {
        let running = self.running();
        let leaders: Vec<_> = running.iter().copied().filter(|process| self.processes[*process].leads).collect();
        let others: Vec<_> =
            running.iter().copied().filter(|p| !self.processes[*p].leads && !self.processes[*p].is_stopping).collect();
        let (leader, other) = (self.pick(&leaders), self.pick(&others));
        match (leader, other, self.random.u8(..3)) {
            // Two lead at once for a while.
            (Some(_), Some(other), 0) => {
                self.coverage.event("doubled leadership");
                self.lead(other, true);
            }
            (Some(leader), Some(other), 1) => {
                self.lead(leader, false);
                self.lead(other, true);
            }
            (Some(leader), _, _) => self.lead(leader, false),
            (None, Some(other), _) => self.lead(other, true),
            (None, None, _) => {}
        }
    }

    fn watch_fault(&mut self) {
        let all: Vec<_> = self
            .running()
            .into_iter()
            .flat_map(|process| (0..self.processes[process].watches.len()).map(move |watch| (process, watch)))
            .collect();
        match (self.random.u8(..4), self.pick(&all)) {
            (0, _) => {
                let back = self.random.u64(..6);
                self.coverage.event("compactions");
                self.note("server", || "forgets old changes".to_owned());
                self.server.compact(self.server.revision().saturating_sub(back));
            }
            (1, Some((process, watch))) => {
                self.coverage.event("relists");
                self.processes[process].watches[watch].position = Position::Start;
            }
            (_, Some((process, watch))) => {
                let long = self.random.u64(1..60);
                self.coverage.event("interrupted watches");
                self.note_of(process, || format!("watch {watch} is interrupted for {long} s"));
                self.processes[process].watches[watch].blocked_until = self.now + seconds(long);
            }
            (_, None) => {}
        }
    }

    fn clock_fault(&mut self) {
        if !self.setup.has_wrong_clocks {
            return self.watch_fault();
        }
        let seconds = match self.random.u8(..4) {
            0 => self.random.i64(-600..600),
            1 | 2 => self.random.i64(-60..60),
            _ => 0,
        };
        let process = self.random.usize(..self.processes.len());
        self.coverage.event("clock jumps");
        self.note_of(process, || format!("its wall clock is wrong by {seconds} s from now on"));
        self.set_skew(process, SignedDuration::from_secs(seconds));
    }

    pub(super) fn set_skew(&mut self, process: usize, skew: SignedDuration) {
        let of = &mut self.processes[process];
        if of.skew == skew {
            return;
        }
        of.skew = skew;
        of.seen.clock_jumped();
        of.set_clocks(self.now);
    }
}
