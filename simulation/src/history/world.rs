//! The world of one history: its time, the API server, the processes, the calls under way, and what was requested.

use std::collections::HashMap;
use std::time::Duration;

use snapwatcher_controller::operation::OperationId;

use super::calls::{AnswerSlot, Call, Request};
use super::coverage::Coverage;
use super::evidence::Evidence;
use super::process::Process;
use super::setup::{NAMESPACES, Setup};
use crate::ApiServer;

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The short name of the rule.
    pub rule: &'static str,
    pub text: String,
}

/// A line of the readable list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    pub at: Duration,
    pub who: String,
    pub what: String,
}

/// Something that happens at a certain time.
pub(super) struct Timer {
    pub(super) at: Duration,
    pub(super) process: usize,
    pub(super) generation: u64,
    pub(super) operation: OperationId,
    pub(super) answer: AnswerSlot,
    pub(super) due: Due,
}

/// What a timer brings.
pub(super) enum Due {
    Sleep,
    /// The response of the back-end to the request of that number.
    Response(usize),
}

/// A request that was decided and has not left.
pub(super) struct Unsent {
    pub(super) number: usize,
    pub(super) operation: OperationId,
    pub(super) answer: AnswerSlot,
}

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) now: Duration,
    /// Of the step under way.
    pub(super) random: fastrand::Rng,
    pub(super) server: ApiServer,
    pub(super) outage_until: Duration,
    /// Until then, a quota of each namespace rejects new Checkpoints.
    pub(super) quota_until: [Duration; NAMESPACES.len()],
    pub(super) processes: Vec<Process>,
    /// The last generation of a process.
    pub(super) generation: u64,
    pub(super) calls: Vec<Call>,
    /// Writes whose client has given up, with the generation of their process. They may still take effect.
    pub(super) late: Vec<(u64, Request)>,
    pub(super) timers: Vec<Timer>,
    /// Requests of paused processes that were decided and have not left.
    pub(super) unsent: Vec<Unsent>,
    pub(super) evidence: Evidence,
    /// Until then, paused processes stay paused.
    pub(super) paused_until: Duration,
    /// All faults have ended.
    pub(super) is_healed: bool,
    /// Numbers in the names of pods and Checkpoints.
    pub(super) created: HashMap<String, u32>,
    pub(super) coverage: Coverage,
    pub(super) violation: Option<Violation>,
    /// `None`: no list is kept.
    pub(super) trace: Option<Vec<TraceLine>>,
}

impl World {
    pub(super) fn new(setup: Setup, is_traced: bool) -> Self {
        let server = ApiServer::new(&NAMESPACES);
        Self {
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(setup.seed),
            server,
            outage_until: Duration::ZERO,
            quota_until: [Duration::ZERO; NAMESPACES.len()],
            processes: Vec::new(),
            generation: 0,
            calls: Vec::new(),
            late: Vec::new(),
            timers: Vec::new(),
            unsent: Vec::new(),
            evidence: Evidence::default(),
            paused_until: Duration::ZERO,
            is_healed: false,
            created: HashMap::new(),
            coverage: Coverage::default(),
            violation: None,
            trace: is_traced.then(Vec::new),
            setup,
        }
    }

    /// A rule is broken. Only the first violation counts.
    pub(super) fn violate(&mut self, rule: &'static str, text: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let text = text();
            self.note("rule", || format!("BROKEN {rule}: {text}"));
            self.violation = Some(Violation { rule, text });
        }
    }

    /// Adds a line to the readable list.
    pub(super) fn note(&mut self, who: &str, what: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(TraceLine { at, who: who.to_owned(), what: what() });
        }
    }

    /// Adds a line about a process.
    pub(super) fn note_of(&mut self, process: usize, what: impl FnOnce() -> String) {
        if self.trace.is_some() {
            let who = self.processes[process].name();
            self.note(&who, what);
        }
    }

    /// True with a probability of `percent`.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    pub(super) fn is_outage(&self) -> bool {
        self.now < self.outage_until
    }

    /// The processes that can act now.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|process| self.processes[*process].is_running()).collect()
    }

    pub(super) fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { items.get(self.random.usize(..items.len())).cloned() }
    }
}
