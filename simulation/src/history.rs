//! Histories: engines and their operations on a simulated API server, with simulated time, and with everything going wrong
//! that can.
//!
//! A history is a list of seeds, one for each step, after a seed for what stays the same. So a step can be left out without
//! a change of the others, and a failing history can be made shorter. After the steps all faults end, and what is eligible
//! has to be done.

mod backend;
mod calls;
mod check_requests;
mod check_starts;
mod check_writes;
mod coverage;
mod evidence;
mod facts;
mod faults;
mod forger;
mod heal;
mod inputs;
mod lifecycle;
mod operation_io;
mod people;
mod process;
mod rejections;
mod retention;
mod seen;
mod server_calls;
mod setup;
mod steps;
mod time;
mod timeline;
mod trace;
mod watch;
mod watch_steps;
mod world;

pub use coverage::Coverage;
pub use world::{TraceLine, Violation};

use setup::{Flags, Setup};
use world::World;

/// The steps of one history.
const STEPS: usize = 220;

/// A history that can be run.
#[derive(Debug, Clone)]
pub struct History {
    pub seed: u64,
    steps: Vec<u64>,
}

/// How a history ended.
#[derive(Debug, Clone)]
pub struct Ending {
    pub coverage: Coverage,
    pub violation: Option<Violation>,
    /// Empty unless it was asked for.
    pub trace: Vec<TraceLine>,
}

impl History {
    /// The history of that seed.
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        Self { seed, steps: (0..STEPS).map(|_| random.u64(..)).collect() }
    }

    /// How many steps it has, apart from the end.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs it.
    pub fn run(&self, is_traced: bool) -> Ending {
        // The waits between retries differ by the generator of the thread.
        fastrand::seed(self.seed);
        let mut world = World::new(Setup::draw(self.seed), is_traced);
        world.begin();
        for step in &self.steps {
            if world.violation.is_some() {
                break;
            }
            world.step(*step);
        }
        if world.violation.is_none() {
            world.heal();
        }
        world.coverage.histories = 1;
        Ending { coverage: world.coverage, violation: world.violation, trace: world.trace.unwrap_or_default() }
    }

    /// The shortest history found that breaks the same rule.
    #[must_use]
    pub fn shrink(&self) -> Self {
        let Some(Violation { rule, .. }) = self.run(false).violation else { return self.clone() };
        let breaks = |history: &Self| history.run(false).violation.is_some_and(|violation| violation.rule == rule);
        let mut shortest = self.clone();
        let mut size = shortest.steps.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            let before = shortest.steps.len();
            while start < shortest.steps.len() {
                let mut shorter = shortest.clone();
                shorter.steps.drain(start..(start + size).min(shortest.steps.len()));
                if breaks(&shorter) { shortest = shorter } else { start += size }
            }
            if size == 1 && shortest.steps.len() == before {
                break;
            }
            size = if size == 1 { 1 } else { size / 2 };
        }
        shortest
    }
}

impl World {
    /// The first processes start, and one leads.
    fn begin(&mut self) {
        let flags = Flags::draw(&self.setup, &mut self.random);
        for process in 0..self.setup.processes {
            let flags = if self.random.u8(..4) == 0 { Flags::draw(&self.setup, &mut self.random) } else { flags };
            self.boot(process, None, flags);
        }
        self.lead(0, true);
    }
}
