//! The page of benchmarks: a run writes the parts that it measures, the rest of the page stays.

use std::fmt::Write as _;
use std::time::Duration;

use crate::budgets::Budget;
use crate::results::{Measurements, Results, median};

const INTRODUCTION: &str = "\
# Benchmarks

Written by `make bench`. It measures `/mutate` of three servers in one run, with the same client, certificates and review (3.7 kB,
a pod as a ReplicaSet creates it):

- SnapWatcher;
- a fixed reply: an axum server that reads the whole body and always sends the same response, on the same TLS stack (rustls with
  ring, HTTP/1.1, keep-alive) and with the same allocator;
- the same job in Go by controller-runtime ([bench/peers/webhook](../bench/peers/webhook/main.go)), also over HTTP/1.1.

CPU time is that of the server alone. Absolute numbers mean little on a small or busy machine, so compare the ratios. The
ratios of requests per CPU second are medians of 60 rounds; in each round, every server is measured for 200 ms.

";

/// The heading of the controller's part.
const CONTROLLER: &str = "## Controller\n";

/// The page with new results of admission, which are its first part.
pub(crate) fn with_admission(before: &str, results: &Results) -> String {
    let (_, others) = split(before);
    let first = format!("{INTRODUCTION}{}\n{}", table(results), budget_list(&results.budgets()));
    join(&first, &others)
}

/// The page with new results of the controller. A page without that part gets it before all others.
pub(crate) fn with_controller(before: &str, part: &str) -> String {
    let (first, mut others) = split(before);
    let part = format!("{CONTROLLER}\n{part}");
    match others.iter_mut().find(|other| other.starts_with(CONTROLLER)) {
        Some(found) => *found = part,
        None => others.insert(0, part),
    }
    join(first, &others)
}

/// What is before the first heading of the second level, and the parts that begin with one.
fn split(page: &str) -> (&str, Vec<String>) {
    let mut parts = page.split("\n## ");
    let first = parts.next().unwrap_or_default();
    (first, parts.map(|part| format!("## {part}")).collect())
}

/// Parts are separated by an empty line.
fn join(first: &str, others: &[String]) -> String {
    let parts = std::iter::once(first).chain(others.iter().map(String::as_str));
    let parts: Vec<&str> = parts.map(str::trim_end).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

pub(crate) fn budget_list(budgets: &[Budget]) -> String {
    let mut list = String::from("Budgets:\n\n");
    for budget in budgets {
        // Writing to a String does not fail.
        let _ = writeln!(list, "- {} ({})", budget.text, budget.verdict.word());
    }
    list
}

pub(crate) fn table(results: &Results) -> String {
    let mut table = String::from(
        "| | SnapWatcher | fixed reply | controller-runtime | ratio to the fixed reply | ratio to controller-runtime |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut row = |label: String, values: [String; 3], ratios: [String; 2]| {
        // Writing to a String does not fail.
        let _ = writeln!(table, "| {label} | {} | {} |", values.join(" | "), ratios.join(" | "));
    };
    let servers = results.servers.as_array();
    let ratios = results.ratios_to_fixed_reply().into_iter().zip(results.ratios_to_controller_runtime());
    for ((index, connections), (to_fixed_reply, to_controller_runtime)) in
        results.connections.iter().enumerate().zip(ratios)
    {
        row(
            format!("requests per CPU second, connections: {connections}"),
            servers.map(|server| format!("{:.0}", median(server.per_cpu_second[index].iter().copied()))),
            [format!("{to_fixed_reply:.2}"), format!("{to_controller_runtime:.1}")],
        );
    }
    for (index, part) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let milliseconds = servers.map(|server| milliseconds(server.latency[index]));
        row(
            format!("{part} at {}/s, ms", results.rate),
            milliseconds.map(|value| format!("{value:.2}")),
            ratios_of(milliseconds),
        );
    }
    for (index, when) in ["idle", "after the load"].into_iter().enumerate() {
        let memory = servers.map(|server: &Measurements| server.memory[index]);
        row(
            format!("memory without the program file {when}, MiB"),
            memory.map(|value| format!("{value:.1}")),
            ratios_of(memory),
        );
    }
    table
}

fn ratios_of([ours, fixed_reply, controller_runtime]: [f64; 3]) -> [String; 2] {
    [format!("{:.1}", ours / fixed_reply), format!("{:.2}", ours / controller_runtime)]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::PerServer;

    fn results() -> Results {
        let measurements = |per_cpu_second: f64, latency: u64, memory: f64| Measurements {
            per_cpu_second: vec![vec![per_cpu_second]],
            latency: [latency; 3].map(Duration::from_millis),
            memory: [memory; 2],
        };
        let servers = PerServer {
            snapwatcher: measurements(800.0, 2, 2.0),
            fixed_reply: measurements(1000.0, 1, 1.0),
            controller_runtime: measurements(20.0, 4, 4.0),
        };
        Results { connections: vec![25], rate: 500, servers }
    }

    #[test]
    fn the_table_has_the_values_of_each_server_and_both_ratios() {
        let table = table(&results());
        for line in [
            "| requests per CPU second, connections: 25 | 800 | 1000 | 20 | 0.80 | 40.0 |",
            "| p99 at 500/s, ms | 2.00 | 1.00 | 4.00 | 2.0 | 0.50 |",
            "| memory without the program file idle, MiB | 2.0 | 1.0 | 4.0 | 2.0 | 0.50 |",
        ] {
            assert!(table.lines().any(|shown| shown == line), "{line}\n{table}");
        }
    }

    #[test]
    fn the_page_keeps_what_another_run_measures() {
        let before = "# Benchmarks\n\nold\n\n## Controller\n\nof before\n\n## On a real node\n\nkept\n";
        let page = with_admission(before, &results());
        let rest = "(met)\n\n## Controller\n\nof before\n\n## On a real node\n\nkept\n";
        assert!(page.starts_with(INTRODUCTION) && page.ends_with(rest), "{page}");
        assert!(!page.contains("old"), "{page}");
        assert!(
            page.contains("at least 20 times controller-runtime's, from 25 connections on: 40.0 (met)\n"),
            "{page}"
        );
    }

    #[test]
    fn only_the_part_of_the_controller_is_replaced() {
        let expected = "# Benchmarks\n\nfirst\n\n## Controller\n\nnew\n\n## On a real node\n\nkept\n";
        for before in [
            "# Benchmarks\n\nfirst\n\n## On a real node\n\nkept\n",
            "# Benchmarks\n\nfirst\n\n## Controller\n\nold\n\n## On a real node\n\nkept\n",
        ] {
            assert_eq!(with_controller(before, "new\n"), expected);
        }
        assert_eq!(with_controller("", "new\n"), "## Controller\n\nnew\n");
    }
}
