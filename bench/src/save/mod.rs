//! Measures an agent that saves archives, beside `zstd -3 | openssl dgst -sha256` of the same file.
//!
//! The agent is a process of its own with a real API server; the registry is the stand-in of the lab, which keeps what it gets in memory.
//! The file is in the page cache for both.

mod archive;
mod pipe;
mod report;
mod results;
mod testbed;

use std::error::Error;
use std::path::Path;

use lab::terminal::print_progress;

pub(crate) use report::{part, table};
use results::SaveResults;

const MIB: u64 = 1 << 20;
/// What is compared.
const COMPARED: u64 = 1024 * MIB;
const ROUNDS: usize = 3;
/// At these sizes memory is read.
const SIZES: [u64; 2] = [100 * MIB, 4096 * MIB];

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
