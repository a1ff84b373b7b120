//! What saving cost, and its budgets.

use std::time::Duration;

use crate::budgets::{Budget, Verdict};
use crate::results::median;

/// The pipe neither reads the archive as one, nor unpacks, encrypts and sends it.
const LEAST_RATIO: f64 = 0.7;
const MOST_CPU: f64 = 1.7;
const MOST_MEMORY_MIB: f64 = 64.0;

/// What one archive cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Saved {
    pub(crate) bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    /// Without the program file, at its highest.
    pub(crate) peak_mib: f64,
}

/// What the other programs cost for the same file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Piped {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct SaveResults {
    pub(crate) rounds: Vec<(Saved, Piped)>,
    pub(crate) sizes: Vec<Saved>,
}

impl SaveResults {
    /// The speed of the agent divided by that of the pipe.
    pub(crate) fn speed(&self) -> f64 {
        let ratio = |(saved, piped): &(Saved, Piped)| piped.time.as_secs_f64() / saved.time.as_secs_f64();
        median(self.rounds.iter().map(ratio))
    }

    /// The CPU time of the agent divided by that of the pipe.
    pub(crate) fn cpu(&self) -> f64 {
        let ratio = |(saved, piped): &(Saved, Piped)| saved.cpu.as_secs_f64() / piped.cpu.as_secs_f64();
        median(self.rounds.iter().map(ratio))
    }

    /// The most memory of an agent, in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let all = self.rounds.iter().map(|(saved, _)| saved).chain(&self.sizes);
        all.map(|saved| saved.peak_mib).fold(0.0, f64::max)
    }

    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let (speed, cpu, memory) = (self.speed(), self.cpu(), self.memory());
        vec![
            Budget {
                text: format!("speed, at least {LEAST_RATIO} of that of the pipe: {speed:.2}"),
                verdict: Verdict::strict(speed >= LEAST_RATIO),
            },
            Budget {
                text: format!("CPU time, at most {MOST_CPU} of that of the pipe: {cpu:.2}"),
                verdict: Verdict::strict(cpu <= MOST_CPU),
            },
            Budget {
                text: format!(
                    "memory of an agent for an archive of any size, at most {MOST_MEMORY_MIB} MiB: {memory:.1}"
                ),
                verdict: Verdict::strict(memory <= MOST_MEMORY_MIB),
            },
        ]
    }
}
