//! What the controller may cost.

use std::time::Duration;

use super::pod_clock::percentiles;
use super::results::{Bursts, ControllerResults, MemoryRow, MemoryState, SteadyRow};
use crate::budgets::{Budget, Verdict};

/// Of the CPU time of the same program in Go.
const MAX_CPU_RATIO: f64 = 2.0;
/// CPU time of the API server for each pod, in ms.
const MAX_API_CPU_MS: f64 = 5.8;
/// Of the time that the pods need to be Ready without any watcher.
const MAX_SPAN_RATIO: f64 = 1.65;
/// A burst needs all of the machine, and a p99 of 500 pods is that of five. Runs of the same build differ by up to this much, see
/// docs/decisions/0025.
const TOLERANCE_OF_BURSTS: f64 = 2.0;
/// The size of the bursts from which the span counts.
const SPAN_PODS: usize = 2000;
/// From SnapHook's answer to the request that writes the outcome.
const MAX_OUTCOME_DELAY: Duration = Duration::from_secs(1);

/// Pods of a burst, and the limits of p50 and p99 in ms.
const BURST_LATENCY_MS: [(usize, [Option<f64>; 2]); 2] =
    [(500, [Some(50.0), Some(250.0)]), (2000, [None, Some(500.0)])];
/// Pods a second, and the limit of p99 in ms.
const STEADY_P99_MS: [(u32, f64); 2] = [(20, 25.0), (50, 150.0)];
/// MiB without the program file: at rest or at work, and the peak.
const MEMORY_MIB: [(MemoryState, f64, Option<f64>); 6] = [
    (MemoryState::Idle, 2.0, None),
    (MemoryState::ReadyAtWork(2000), 13.0, Some(18.0)),
    (MemoryState::ReadyAfterWork(10_000), 27.0, Some(39.0)),
    (MemoryState::ReadyAfterRestart(10_000), 27.0, Some(39.0)),
    (MemoryState::WatchedAfterListing(100_000), 92.0, Some(122.0)),
    (MemoryState::WatchedAfterRelists(100_000), 92.0, Some(122.0)),
];

impl ControllerResults {
    /// The budgets of what was measured.
    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let mut budgets: Vec<Budget> = self.bursts.iter().flat_map(of_bursts).collect();
        budgets.extend(self.steady.iter().filter_map(of_steady));
        budgets.extend(self.calls.as_ref().map(|(_, times)| {
            let [_, p99] = percentiles(&times.answer_to_outcome);
            at_most("outcome written after SnapHook's answer, p99", ms(p99), ms(MAX_OUTCOME_DELAY), "ms")
        }));
        budgets.extend(self.memory.iter().flat_map(of_memory));
        budgets
    }
}

fn of_bursts(bursts: &Bursts) -> Vec<Budget> {
    let pods = bursts.pods;
    let mut budgets = Vec::new();
    let latency = BURST_LATENCY_MS.iter().find(|(size, _)| *size == pods);
    for (index, part) in ["p50", "p99"].into_iter().enumerate() {
        if let Some(limit) = latency.and_then(|(_, limits)| limits[index]) {
            let measured = bursts.medians(|round| ms(round.run.latency[index])).snapwatcher;
            budgets.push(about(&format!("burst of {pods}, Ready to request, {part}"), measured, limit, "ms"));
        }
    }
    if pods >= SPAN_PODS {
        let ratio = bursts.span_ratios().snapwatcher;
        let text = format!("burst of {pods}, first to last Ready pod, relative to no watcher");
        budgets.push(about(&text, ratio, MAX_SPAN_RATIO, "times"));
    }
    let text = format!("burst of {pods}, CPU time, relative to controller-runtime");
    budgets.push(about(&text, bursts.cpu_ratio(), MAX_CPU_RATIO, "times"));
    let api = bursts.added_per_pod(|round| round.api_cpu_seconds * 1000.0).snapwatcher;
    budgets.push(about(
        &format!("burst of {pods}, CPU time of the API server for each pod"),
        api,
        MAX_API_CPU_MS,
        "ms",
    ));
    budgets
}

/// None: a slow SnapHook determines the latency.
fn of_steady(row: &SteadyRow) -> Option<Budget> {
    let (_, limit) = STEADY_P99_MS.into_iter().find(|(rate, _)| *rate == row.rate && row.snaphook_time.is_zero())?;
    let text = format!("{} pods a second, Ready to request, p99", row.rate);
    Some(at_most(&text, ms(row.latency.snapwatcher[1]), limit, "ms"))
}

fn of_memory(row: &MemoryRow) -> Vec<Budget> {
    let Some(memory) = row.snapwatcher else { return Vec::new() };
    let Some((_, now, peak)) = MEMORY_MIB.into_iter().find(|(state, ..)| *state == row.state) else {
        return Vec::new();
    };
    let text = format!("memory, {}", row.state);
    let peak = peak.map(|limit| at_most(&format!("{text}, peak"), memory.peak, limit, "MiB"));
    std::iter::once(at_most(&text, memory.now, now, "MiB")).chain(peak).collect()
}

fn at_most(what: &str, measured: f64, limit: f64, unit: &str) -> Budget {
    within(what, measured, [limit, limit], unit)
}

/// As [`at_most`], with the tolerance of bursts.
fn about(what: &str, measured: f64, limit: f64, unit: &str) -> Budget {
    within(what, measured, [limit, limit * TOLERANCE_OF_BURSTS], unit)
}

/// A number that is not finite meets no budget.
fn within(what: &str, measured: f64, [limit, tolerated]: [f64; 2], unit: &str) -> Budget {
    let text = format!("{what}, at most {limit} {unit}: {}", rounded(measured));
    let verdict = match measured {
        _ if measured.is_finite() && measured <= limit => Verdict::Met,
        _ if measured.is_finite() && measured <= tolerated => Verdict::Missed,
        _ => Verdict::Failed,
    };
    Budget { text, verdict }
}

/// Three digits, or all before the point.
pub(crate) fn rounded(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::results::{BurstRound, PerContestant, ProgramRun};
    use super::Verdict::{Failed, Met, Missed};
    use super::*;
    use crate::controller::call_times::CallTimes;
    use crate::process_usage::Memory;

    fn bursts(pods: usize, p50: u64, p99: u64, span: u64, api_cpu_seconds: f64) -> Bursts {
        let latency = [p50, p99].map(Duration::from_millis);
        let round = |span, api_cpu_seconds| BurstRound {
            run: ProgramRun { latency, ready_span: Duration::from_millis(span), cpu_seconds: 1.0 },
            api_cpu_seconds,
            api_calls: 0.0,
        };
        let round = PerContestant {
            snapwatcher: round(span, api_cpu_seconds),
            controller_runtime: round(1000, 0.0),
            without: round(1000, 0.0),
        };
        Bursts { pods, rounds: vec![round] }
    }

    fn verdicts(results: &ControllerResults) -> Vec<Verdict> {
        results.budgets().iter().map(|budget| budget.verdict).collect()
    }

    #[test]
    fn the_limits_of_a_burst_depend_on_its_size_and_have_a_tolerance() {
        for (bursts, expected) in [
            (bursts(500, 50, 250, 9000, 2.9), &[Met, Met, Met, Met][..]),
            (bursts(500, 51, 251, 9000, 3.0), &[Missed, Missed, Met, Missed]),
            (bursts(500, 101, 501, 9000, 5.9), &[Failed, Failed, Met, Failed]),
            (bursts(2000, 900, 500, 1650, 11.6), &[Met, Met, Met, Met]),
            (bursts(2000, 900, 501, 1651, 11.7), &[Missed, Missed, Met, Missed]),
            (bursts(2000, 900, 1001, 3301, 23.3), &[Failed, Failed, Met, Failed]),
            (bursts(50, 900, 900, 9000, 0.1), &[Met, Met]),
        ] {
            let results = ControllerResults { bursts: vec![bursts], ..ControllerResults::default() };
            assert_eq!(verdicts(&results), expected, "{:?}", results.budgets());
        }
    }

    #[test]
    fn a_slow_snaphook_has_no_limit() {
        let row = |snaphook_time| {
            let latency = PerContestant { snapwatcher: [Duration::from_millis(26); 2], ..PerContestant::default() };
            SteadyRow { rate: 20, snaphook_time, latency }
        };
        let steady = vec![row(Duration::ZERO), row(Duration::from_millis(500))];
        assert_eq!(verdicts(&ControllerResults { steady, ..ControllerResults::default() }), [Failed]);
    }

    #[test]
    fn memory_and_its_peak_have_limits_of_their_own() {
        let row = |state, now, peak| {
            let mut row = MemoryRow::new(state);
            row.snapwatcher = Some(Memory { now, peak });
            row
        };
        let memory = vec![
            row(MemoryState::Idle, 2.0, 9.0),
            row(MemoryState::ReadyAtWork(2000), 13.0, 18.1),
            row(MemoryState::ReadyAfterRestart(10_000), 27.1, 39.0),
            row(MemoryState::WatchedAfterListing(2000), 500.0, 500.0),
        ];
        assert_eq!(
            verdicts(&ControllerResults { memory, ..ControllerResults::default() }),
            [Met, Met, Failed, Failed, Met]
        );
    }

    #[test]
    fn the_outcome_has_a_second() {
        for (milliseconds, expected) in [(1000, Met), (1001, Failed)] {
            let answer_to_outcome = vec![Duration::from_millis(milliseconds)];
            let calls = Some((500, CallTimes { answer_to_outcome, ..CallTimes::default() }));
            assert_eq!(verdicts(&ControllerResults { calls, ..ControllerResults::default() }), [expected]);
        }
    }

    #[test]
    fn no_round_meets_no_ratio() {
        let results =
            ControllerResults { bursts: vec![bursts(500, 1, 1, 1000, f64::NAN)], ..ControllerResults::default() };
        assert_eq!(results.budgets().last().unwrap().verdict, Failed, "{:?}", results.budgets());
    }
}
