//! The controller's part of the page of benchmarks.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::budgets::{ms, rounded};
use super::pod_clock::percentiles;
use super::results::{
    BurstRound, Bursts, ControllerResults, MemoryRow, MemoryState, PerContestant, ProgramRun, SteadyRow,
};
use crate::process_usage::Memory;
use crate::report::budget_list;

const INTRODUCTION: &str = "\
`make bench` also measures the controller, beside a watcher in Go by controller-runtime
([bench/peers/watcher](../bench/peers/watcher/main.go)) that sends the same requests and stores nothing in the cluster. Both run
against one control plane: etcd, API server, controllers and scheduler of Kubernetes, and 100 fake nodes by kwok. Each program
runs alone, with default budgets or as many workers, and the back-end `snaphook`. SnapHook is a stand-in that answers
at once. It is also the clock: a watch beside it notes when a pod is Ready.

- A burst is one Deployment. Its values are the medians of all rounds, its ratios those within one round.
- CPU time and calls of the API server are those beyond the same burst without any watcher. The column `no watcher` has those of
  the burst itself.
- Memory is resident memory without the pages of the program file.
- The rows `through a proxy` show which call the time from Ready to the request is spent on. A proxy in front of the API server
  notes when it receives each call, so these times are longer than those of the burst.
- Watched pods are Pending. A proxy makes the programs list them again.

";

/// The part without its heading.
pub(crate) fn part(results: &ControllerResults) -> String {
    format!("{INTRODUCTION}{}\n{}", table(results), budget_list(&results.budgets()))
}

pub(crate) fn table(results: &ControllerResults) -> String {
    let mut table =
        Table(String::from("| | SnapWatcher | controller-runtime | no watcher |\n| --- | --- | --- | --- |\n"));
    for bursts in &results.bursts {
        table.bursts(bursts);
    }
    for row in &results.steady {
        table.steady(row);
    }
    if let Some((pods, times)) = &results.calls {
        let parts = [
            ("Ready to the read of the pod", &times.ready_to_read),
            ("read of the pod to the creation of its Checkpoint", &times.read_to_creation),
            ("creation to SnapHook's request", &times.creation_to_request),
            ("SnapHook's answer to the written outcome", &times.answer_to_outcome),
        ];
        for (part, times) in parts {
            let label = format!("burst of {pods}, through a proxy: {part}, ms: p50 / p99");
            table.row(&label, &[pair(percentiles(times)), none(), none()]);
        }
    }
    for row in &results.memory {
        table.memory(row);
    }
    table.0
}

/// One run in a burst, for the progress of a run.
pub(crate) fn round_summary(round: &BurstRound) -> String {
    let ProgramRun { latency, ready_span, cpu_seconds } = round.run;
    format!(
        "Ready to request {} ms (p50 / p99), first to last Ready pod {} s, CPU time {} s; API server: CPU time {} s, {} calls",
        pair(latency),
        rounded(ready_span.as_secs_f64()),
        rounded(cpu_seconds),
        rounded(round.api_cpu_seconds),
        round.api_calls
    )
}

/// p50 and p99 in ms.
pub(crate) fn pair(latency: [Duration; 2]) -> String {
    let [p50, p99] = latency.map(|time| rounded(ms(time)));
    format!("{p50} / {p99}")
}

struct Table(String);

impl Table {
    fn row(&mut self, label: &str, values: &[String; 3]) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "| {label} | {} |", values.join(" | "));
    }

    fn numbers(&mut self, label: &str, values: PerContestant<f64>) {
        self.row(label, &[values.snapwatcher, values.controller_runtime, values.without].map(rounded));
    }

    fn bursts(&mut self, bursts: &Bursts) {
        let (pods, rounds) = (bursts.pods, bursts.rounds.len());
        let parts = [0, 1].map(|index| bursts.medians(|round| ms(round.run.latency[index])));
        let latency = |program: fn(&PerContestant<f64>) -> f64| {
            let [p50, p99] = parts.each_ref().map(program).map(rounded);
            format!("{p50} / {p99}")
        };
        let values = [latency(|part| part.snapwatcher), latency(|part| part.controller_runtime), none()];
        self.row(&format!("burst of {pods}: Ready to request, ms: p50 / p99 (rounds: {rounds})"), &values);
        let spans = bursts.medians(|round| round.run.ready_span.as_secs_f64());
        self.numbers(&format!("burst of {pods}: first to last Ready pod, s"), spans);
        self.numbers(&format!("burst of {pods}: the same, relative to no watcher"), bursts.span_ratios());
        let cpu = bursts.medians(|round| round.run.cpu_seconds);
        let values = [rounded(cpu.snapwatcher), rounded(cpu.controller_runtime), none()];
        self.row(&format!("burst of {pods}: CPU time, s"), &values);
        let calls = bursts.added_per_pod(|round| round.api_calls);
        self.numbers(&format!("burst of {pods}: calls of the API server for each pod"), calls);
        let api = bursts.added_per_pod(|round| round.api_cpu_seconds * 1000.0);
        self.numbers(&format!("burst of {pods}: CPU time of the API server for each pod, ms"), api);
    }

    fn steady(&mut self, row: &SteadyRow) {
        let snaphook = match row.snaphook_time {
            Duration::ZERO => String::new(),
            time => format!(", a SnapHook that takes {} s", time.as_secs_f64()),
        };
        let label = format!("{} pods a second{snaphook}: Ready to request, ms: p50 / p99", row.rate);
        self.row(&label, &[pair(row.latency.snapwatcher), pair(row.latency.controller_runtime), none()]);
    }

    fn memory(&mut self, row: &MemoryRow) {
        let shown = |memory: Option<Memory>| {
            memory.map_or_else(none, |memory| format!("{} / {}", rounded(memory.now), rounded(memory.peak)))
        };
        let label = format!("memory, MiB, {}: now / peak", row.state);
        self.row(&label, &[shown(row.snapwatcher), shown(row.controller_runtime), none()]);
    }
}

impl fmt::Display for MemoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::ReadyAtWork(pods) => write!(f, "a start with {pods} Ready pods, at work"),
            Self::ReadyAfterWork(pods) => write!(f, "a start with {pods} Ready pods, after the work"),
            Self::ReadyAfterRestart(pods) => write!(f, "{pods} Ready pods, after a restart with nothing to do"),
            Self::WatchedAfterListing(pods) => write!(f, "{pods} watched pods, after the first listing"),
            Self::WatchedAfterRelists(pods) => write!(f, "{pods} watched pods, after ten more listings"),
            Self::FinishedCheckpoints(records) => write!(f, "a start with {records} finished Checkpoints"),
        }
    }
}

/// The value of a cell that does not apply.
fn none() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::call_times::CallTimes;

    #[test]
    fn the_table_has_a_row_for_each_number() {
        let round = |milliseconds: u64, span: u64, cpu_seconds: f64, calls: f64| BurstRound {
            run: ProgramRun {
                latency: [1, 10].map(|part| Duration::from_millis(part * milliseconds)),
                ready_span: Duration::from_secs(span),
                cpu_seconds,
            },
            api_cpu_seconds: calls / 500.0,
            api_calls: calls,
        };
        let round = PerContestant {
            snapwatcher: round(47, 6, 0.9, 8000.0),
            controller_runtime: round(1, 4, 0.3, 5000.0),
            without: round(0, 3, 0.0, 5000.0),
        };
        let mut memory = MemoryRow::new(MemoryState::Idle);
        memory.snapwatcher = Some(Memory { now: 2.5, peak: 12.25 });
        let latency = [1, 2].map(Duration::from_millis);
        let latency = PerContestant { snapwatcher: latency, controller_runtime: latency, without: latency };
        let results = ControllerResults {
            bursts: vec![Bursts { pods: 500, rounds: vec![round] }],
            steady: vec![SteadyRow { rate: 20, snaphook_time: Duration::from_millis(500), latency }],
            calls: Some((
                500,
                CallTimes { answer_to_outcome: [3, 4].map(Duration::from_millis).to_vec(), ..CallTimes::default() },
            )),
            memory: vec![memory],
        };
        let table = table(&results);
        for line in [
            "| burst of 500: Ready to request, ms: p50 / p99 (rounds: 1) | 47.0 / 470 | 1.00 / 10.0 | - |",
            "| burst of 500: the same, relative to no watcher | 2.00 | 1.33 | 1.00 |",
            "| burst of 500: CPU time, s | 0.90 | 0.30 | - |",
            "| burst of 500: calls of the API server for each pod | 6.00 | 0.00 | 10.0 |",
            "| burst of 500: CPU time of the API server for each pod, ms | 12.0 | 0.00 | 20.0 |",
            "| 20 pods a second, a SnapHook that takes 0.5 s: Ready to request, ms: p50 / p99 | 1.00 / 2.00 | 1.00 / 2.00 | - |",
            "| burst of 500, through a proxy: SnapHook's answer to the written outcome, ms: p50 / p99 | 4.00 / 4.00 | - | - |",
            "| memory, MiB, idle: now / peak | 2.50 / 12.2 | - | - |",
        ] {
            assert!(table.lines().any(|shown| shown == line), "{line}\n{table}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_row() {
        assert_eq!(table(&ControllerResults::default()).lines().count(), 2);
    }
}
