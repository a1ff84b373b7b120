//! The page of benchmarks: this run's part of it, written by the run that measured. What other runs measure stays.

use std::fmt::Write as _;
use std::time::Duration;

use crate::measured::{RATE, Results, Shown, middle};

const ABOUT: &str = "\
# Benchmarks

Written by `make bench`. Our `/mutate` beside an axum server that reads the whole body and answers the same every time, on
the same TLS stack (rustls with ring, HTTP/1.1, keep-alive) and allocator: two processes, in turns within one run, asked
for the patch of a pod as a ReplicaSet makes it (a review of 3.7 kB). The processor time is that of the server alone.

Absolute numbers say little on a small or busy machine: compare the ratios. For requests per CPU second they are the median
of 60 ratios, each of two neighbouring turns of 200 ms; the numbers beside them are the medians of each server's turns.

";

/// Where the part begins that `make e2e` measures.
const REAL_NODE: &str = "\n## On a real node\n";

/// The whole page in place of `before`.
pub(crate) fn write(results: &Results, before: &str) -> String {
    let mut page = format!("{ABOUT}{}", table(results));
    page.push_str("\nBudgets:\n\n");
    for budget in results.budgets() {
        // Writing to a String does not fail.
        let _ = writeln!(page, "- {} ({})", budget.told, if budget.is_met { "met" } else { "missed" });
    }
    page.push_str(before.find(REAL_NODE).map_or("", |begin| &before[begin..]));
    page
}

/// The table alone.
pub(crate) fn table(results: &Results) -> String {
    let Results { connections, ours, fixed } = results;
    let mut table = String::from("| | SnapWatcher | fixed reply | ratio |\n| --- | --- | --- | --- |\n");
    let mut row = |what: String, ours: String, fixed: String, ratio: String| {
        // Writing to a String does not fail.
        let _ = writeln!(table, "| {what} | {ours} | {fixed} | {ratio} |");
    };
    for ((index, connections), ratio) in connections.iter().enumerate().zip(results.ratios()) {
        let [ours, fixed] = [ours, fixed].map(|shown| middle(shown.per_cpu_second[index].iter().copied()));
        row(
            format!("requests per CPU second, connections: {connections}"),
            format!("{ours:.0}"),
            format!("{fixed:.0}"),
            format!("{ratio:.2}"),
        );
    }
    for (index, part) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let [ours, fixed] = [ours, fixed].map(|shown| shown.latency[index]);
        row(format!("{part} at {RATE}/s, ms"), milliseconds(ours), milliseconds(fixed), ratio(ours, fixed));
    }
    for (index, when) in ["idle", "after the load"].into_iter().enumerate() {
        let memory = |shown: &Shown| shown.memory[index];
        row(
            format!("memory {when}, MiB"),
            format!("{:.1}", memory(ours)),
            format!("{:.1}", memory(fixed)),
            format!("{:.1}", memory(ours) / memory(fixed)),
        );
    }
    table
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

fn ratio(one: Duration, other: Duration) -> String {
    format!("{:.1}", one.as_secs_f64() / other.as_secs_f64())
}
