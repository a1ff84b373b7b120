//! Measures the controller beside a watcher of controller-runtime and beside no watcher, on one control plane, one after the other.

mod api_server;
mod budgets;
mod call_times;
mod memory;
mod namespace;
mod pod_clock;
mod records;
pub(crate) mod report;
mod results;
mod runs;
mod testbed;
mod watchers;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use lab::terminal::print_progress;

pub(crate) use results::ControllerResults;
use results::{Bursts, MemoryRow, PerContestant, SteadyRow};
use testbed::Testbed;
use watchers::{Contestant, Programs};

/// The steady rates, with the time that SnapHook takes for each request.
const STEADY: [(u32, Duration); 3] = [(20, Duration::ZERO), (50, Duration::ZERO), (20, Duration::from_millis(500))];
const CALLS_PODS: usize = 500;
const LONG: usize = 100_000;
const ALL: [Contestant; 3] = [Contestant::Without, Contestant::Snapwatcher, Contestant::ControllerRuntime];

#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    /// The build of bench/peers/watcher.
    #[arg(long, value_name = "PATH", default_value = "target/release/controller-runtime-watcher")]
    watcher: PathBuf,
    /// What to measure of the controller.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "bursts,steady,calls,memory")]
    measure: Vec<Measurement>,
    /// Rounds of each burst. In each round every program is measured once.
    #[arg(long, value_name = "NUMBER", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Pods of the bursts.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "500,2000")]
    bursts: Vec<usize>,
    /// Seconds at each steady rate.
    #[arg(long, value_name = "NUMBER", default_value = "60", value_parser = clap::value_parser!(u16).range(1..))]
    steady_seconds: u16,
    /// Numbers of pods that are Ready when a program starts, for its memory.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "2000,10000")]
    ready_pods: Vec<usize>,
    /// Numbers of pods that are only watched, for the memory of a program. They must grow.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "2000,10000")]
    watched_pods: Vec<usize>,
    /// Number of finished Checkpoints, for the memory of SnapWatcher.
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    finished_checkpoints: usize,
    /// Also measure 100,000 watched pods, and 100,000 finished Checkpoints instead of fewer (about half an hour more).
    #[arg(long)]
    long: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    Bursts,
    Steady,
    Calls,
    Memory,
}

/// Fills `results` row by row.
pub(crate) async fn measure(
    snapwatcher: &Path,
    args: &ControllerArgs,
    results: &mut ControllerResults,
) -> Result<(), Box<dyn Error>> {
    let programs = Programs { snapwatcher: snapwatcher.to_owned(), controller_runtime: args.watcher.clone() };
    let mut testbed = Testbed::start(programs).await?;
    let is_measured = |measurement| args.measure.contains(&measurement);
    if is_measured(Measurement::Bursts) {
        for pods in args.bursts.iter().copied() {
            results.bursts.push(bursts(&mut testbed, pods, args.rounds).await?);
        }
    }
    if is_measured(Measurement::Steady) {
        for (rate, snaphook_time) in STEADY {
            results.steady.push(steady(&mut testbed, rate, snaphook_time, args.steady_seconds).await?);
        }
    }
    if is_measured(Measurement::Calls) {
        let pods = args.bursts.iter().copied().min().unwrap_or(CALLS_PODS);
        print_progress(&format!("calls of a burst of {pods}"));
        results.calls = Some((pods, runs::call_times(&mut testbed, pods).await?));
    }
    if is_measured(Measurement::Memory) {
        memory_rows(&mut testbed, args, &mut results.memory).await?;
    }
    Ok(())
}

async fn bursts(testbed: &mut Testbed, pods: usize, rounds: u16) -> Result<Bursts, Box<dyn Error>> {
    let mut bursts = Bursts { pods, rounds: Vec::new() };
    for number in 1..=rounds {
        let mut round = PerContestant::default();
        for contestant in ALL {
            let measured = runs::burst(testbed, contestant, pods).await?;
            progress(&format!(
                "burst of {pods}, round {number}, {}: {}",
                contestant.name(),
                report::round_summary(&measured)
            ));
            round.set(contestant, measured);
        }
        bursts.rounds.push(round);
    }
    Ok(bursts)
}

async fn steady(
    testbed: &mut Testbed,
    rate: u32,
    snaphook_time: Duration,
    seconds: u16,
) -> Result<SteadyRow, Box<dyn Error>> {
    let mut row = SteadyRow { rate, snaphook_time, latency: PerContestant::default() };
    for contestant in [Contestant::Snapwatcher, Contestant::ControllerRuntime] {
        let time = Duration::from_secs(seconds.into());
        let latency = runs::steady(testbed, contestant, rate, time, snaphook_time).await?;
        let (name, latency_ms) = (contestant.name(), report::pair(latency));
        progress(&format!(
            "{rate} pods a second, SnapHook takes {snaphook_time:?}, {name}: {latency_ms} ms (p50 / p99)"
        ));
        row.latency.set(contestant, latency);
    }
    Ok(row)
}

async fn memory_rows(
    testbed: &mut Testbed,
    args: &ControllerArgs,
    rows: &mut Vec<MemoryRow>,
) -> Result<(), Box<dyn Error>> {
    let long = args.long.then_some(LONG);
    rows.push(memory::idle(testbed).await?);
    for pods in args.ready_pods.iter().copied() {
        progress(&format!("memory with {pods} Ready pods"));
        rows.extend(memory::ready(testbed, pods).await?);
    }
    let records = long.unwrap_or(args.finished_checkpoints);
    progress(&format!("memory with {records} finished Checkpoints"));
    rows.push(memory::finished_records(testbed, records).await?);
    testbed.clear().await?;
    // The pods stay until the control plane ends: deleting 100,000 takes minutes.
    let mut existing = 0;
    for pods in args.watched_pods.iter().copied().chain(long) {
        progress(&format!("memory with {pods} watched pods"));
        rows.extend(memory::watched(testbed, existing, pods).await?);
        existing = pods.max(existing);
    }
    Ok(())
}

/// Reports how far the run is, with the load of the machine: other work on it changes the numbers.
fn progress(text: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(1).collect();
    print_progress(&format!("{text} (load average {})", load.join(" ")));
}
