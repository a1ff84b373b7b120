//! The part of the page about saving.

use std::fmt::Write as _;

use super::results::{SaveResults, Saved};
use crate::report::budget_list;

const INTRODUCTION: &str = "\
An agent saves an archive: it reads it once, hashes, checks, unpacks, compresses (zstd 3), encrypts (age) and uploads it to a registry that keeps it in
memory, over HTTP. Beside it, `zstd -3 -c FILE | openssl dgst -sha256` of the same file, which is in the page cache. The archives are made of programs
and libraries of the machine, which are compressed about like the memory of processes. Medians of three rounds.
";

pub(crate) fn part(results: &SaveResults) -> String {
    format!("{INTRODUCTION}\n{}\n{}", table(results), budget_list(&results.budgets()))
}

pub(crate) fn table(results: &SaveResults) -> String {
    let mut table = String::from(
        "| | archive, MiB | in the registry, MiB | s | MiB/s | CPU s/GiB | memory, MiB |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut row = |name: &str, saved: &Saved| {
        let (seconds, gib) = (saved.time.as_secs_f64(), mib(saved.bytes) / 1024.0);
        // Writing to a String does not fail.
        let _ = writeln!(
            table,
            "| {name} | {:.0} | {:.0} | {seconds:.2} | {:.0} | {:.2} | {:.1} |",
            mib(saved.bytes),
            mib(saved.stored_bytes),
            mib(saved.bytes) / seconds,
            saved.cpu.as_secs_f64() / gib,
            saved.peak_mib,
        );
    };
    let mut rounds = results.rounds.clone();
    rounds.sort_by_key(|(saved, _)| saved.time);
    if let Some((saved, _)) = rounds.get(rounds.len() / 2) {
        row("agent", saved);
    }
    for saved in &results.sizes {
        row("agent", saved);
    }
    rounds.sort_by_key(|(_, piped)| piped.time);
    if let Some((saved, piped)) = rounds.get(rounds.len() / 2) {
        let (seconds, gib) = (piped.time.as_secs_f64(), mib(saved.bytes) / 1024.0);
        let _ = writeln!(
            table,
            "| zstd, openssl | {:.0} | | {seconds:.2} | {:.0} | {:.2} | |",
            mib(saved.bytes),
            mib(saved.bytes) / seconds,
            piped.cpu.as_secs_f64() / gib,
        );
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "archives have less than 2^52 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
