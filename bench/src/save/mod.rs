//! Measures an agent that saves archives, beside `zstd -3 | openssl dgst -sha256` of the same file.
//!
//! The agent is a process of its own with a real API server; the registry is the stand-in of the lab, which keeps what it gets in memory.
//! The file is in the page cache for both.

mod archive;
mod pipe;
mod report;
mod testbed;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use lab::terminal::print_progress;

use crate::budgets::{Budget, Verdict};
use crate::results::median;

pub(crate) use report::{part, table};

const MIB: u64 = 1 << 20;
/// What is compared.
const COMPARED: u64 = 1024 * MIB;
const ROUNDS: usize = 3;
/// At these sizes memory is read.
const SIZES: [u64; 2] = [100 * MIB, 4096 * MIB];

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

pub(crate) async fn measure(snapwatcher: &Path) -> Result<SaveResults, Box<dyn Error>> {
    let testbed = testbed::Testbed::start(snapwatcher).await?;
    let mut results = SaveResults::default();
    for round in 1..=ROUNDS {
        print_progress(&format!("round {round} of {ROUNDS}"));
        let path = testbed.write_archive(COMPARED)?;
        let piped = pipe::measure(&path)?;
        results.rounds.push((testbed.save(&path).await?, piped));
    }
    for bytes in SIZES {
        print_progress(&format!("{} MiB", bytes / MIB));
        let path = testbed.write_archive(bytes)?;
        results.sizes.push(testbed.save(&path).await?);
    }
    Ok(results)
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
