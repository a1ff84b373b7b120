//! The numbers of the controller: of each round, of each program, and their medians and ratios.

use std::time::Duration;

use super::call_times::CallTimes;
use super::watchers::Contestant;
use crate::process_usage::Memory;
use crate::results::median;

/// One run of one program with pods that become Ready.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProgramRun {
    /// From Ready to the request: p50 and p99.
    pub(crate) latency: [Duration; 2],
    /// From the first to the last Ready pod.
    pub(crate) ready_span: Duration,
    /// CPU time of the program.
    pub(crate) cpu_seconds: f64,
}

/// One burst of one program.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BurstRound {
    pub(crate) run: ProgramRun,
    pub(crate) api_cpu_seconds: f64,
    pub(crate) api_calls: f64,
}

/// One value for each program.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerContestant<T> {
    pub(crate) snapwatcher: T,
    pub(crate) controller_runtime: T,
    pub(crate) without: T,
}

/// All rounds of bursts of one size.
#[derive(Debug, Default)]
pub(crate) struct Bursts {
    pub(crate) pods: usize,
    pub(crate) rounds: Vec<PerContestant<BurstRound>>,
}

/// A steady rate, with a SnapHook that takes some time for each request.
#[derive(Debug, Default)]
pub(crate) struct SteadyRow {
    pub(crate) rate: u32,
    pub(crate) snaphook_time: Duration,
    pub(crate) latency: PerContestant<[Duration; 2]>,
}

/// The memory of both programs in one state. None: not measured, because it does not apply.
#[derive(Debug)]
pub(crate) struct MemoryRow {
    pub(crate) state: MemoryState,
    pub(crate) snapwatcher: Option<Memory>,
    pub(crate) controller_runtime: Option<Memory>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryState {
    Idle,
    ReadyAtWork(usize),
    ReadyAfterWork(usize),
    ReadyAfterRestart(usize),
    WatchedAfterListing(usize),
    WatchedAfterRelists(usize),
    FinishedCheckpoints(usize),
}

/// What was measured. A part that was left out is empty.
#[derive(Debug, Default)]
pub(crate) struct ControllerResults {
    pub(crate) bursts: Vec<Bursts>,
    pub(crate) steady: Vec<SteadyRow>,
    /// The number of pods, and the times of their calls.
    pub(crate) calls: Option<(usize, CallTimes)>,
    pub(crate) memory: Vec<MemoryRow>,
}

impl<T> PerContestant<T> {
    pub(crate) fn set(&mut self, contestant: Contestant, value: T) {
        *match contestant {
            Contestant::Snapwatcher => &mut self.snapwatcher,
            Contestant::ControllerRuntime => &mut self.controller_runtime,
            Contestant::Without => &mut self.without,
        } = value;
    }
}

impl MemoryRow {
    pub(crate) fn new(state: MemoryState) -> Self {
        Self { state, snapwatcher: None, controller_runtime: None }
    }

    pub(crate) fn set(&mut self, contestant: Contestant, memory: Memory) {
        match contestant {
            Contestant::Snapwatcher => self.snapwatcher = Some(memory),
            Contestant::ControllerRuntime => self.controller_runtime = Some(memory),
            Contestant::Without => {}
        }
    }
}

impl Bursts {
    /// The median of all rounds, for each program.
    pub(crate) fn medians(&self, value: impl Fn(&BurstRound) -> f64) -> PerContestant<f64> {
        PerContestant {
            snapwatcher: self.median(|round| value(&round.snapwatcher)),
            controller_runtime: self.median(|round| value(&round.controller_runtime)),
            without: self.median(|round| value(&round.without)),
        }
    }

    /// What a program costs for each pod, beyond the same round without any watcher.
    pub(crate) fn added_per_pod(&self, value: impl Fn(&BurstRound) -> f64) -> PerContestant<f64> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let pods = self.pods as f64;
        let added = |theirs: f64, without: f64| (theirs - without) / pods;
        PerContestant {
            snapwatcher: self.median(|round| added(value(&round.snapwatcher), value(&round.without))),
            controller_runtime: self.median(|round| added(value(&round.controller_runtime), value(&round.without))),
            without: self.median(|round| value(&round.without) / pods),
        }
    }

    /// The span from the first to the last Ready pod, divided by that of the same round without any watcher.
    pub(crate) fn span_ratios(&self) -> PerContestant<f64> {
        let span = |round: &BurstRound| round.run.ready_span.as_secs_f64();
        PerContestant {
            snapwatcher: self.median(|round| span(&round.snapwatcher) / span(&round.without)),
            controller_runtime: self.median(|round| span(&round.controller_runtime) / span(&round.without)),
            without: 1.0,
        }
    }

    /// SnapWatcher's CPU time divided by that of the other program in the same round.
    pub(crate) fn cpu_ratio(&self) -> f64 {
        self.median(|round| round.snapwatcher.run.cpu_seconds / round.controller_runtime.run.cpu_seconds)
    }

    fn median(&self, value: impl Fn(&PerContestant<BurstRound>) -> f64) -> f64 {
        median(self.rounds.iter().map(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(span: u64, cpu_seconds: f64, api_cpu_seconds: f64) -> BurstRound {
        let run = ProgramRun { ready_span: Duration::from_secs(span), cpu_seconds, ..ProgramRun::default() };
        BurstRound { run, api_cpu_seconds, api_calls: 0.0 }
    }

    fn shown(values: &PerContestant<f64>) -> String {
        format!("{:.3} {:.3} {:.3}", values.snapwatcher, values.controller_runtime, values.without)
    }

    fn bursts() -> Bursts {
        let quiet = PerContestant {
            snapwatcher: round(20, 3.0, 11.0),
            controller_runtime: round(12, 2.0, 2.0),
            without: round(10, 0.0, 1.0),
        };
        let busy = PerContestant {
            snapwatcher: round(60, 9.0, 19.0),
            controller_runtime: round(40, 2.0, 10.0),
            without: round(40, 0.0, 4.0),
        };
        Bursts { pods: 100, rounds: vec![quiet, busy, quiet] }
    }

    #[test]
    fn ratios_and_differences_are_of_one_round_and_then_the_median() {
        let bursts = bursts();
        assert_eq!(shown(&bursts.span_ratios()), "2.000 1.200 1.000");
        assert!((bursts.cpu_ratio() - 1.5).abs() < f64::EPSILON);
        assert_eq!(shown(&bursts.added_per_pod(|round| round.api_cpu_seconds)), "0.100 0.010 0.010");
    }

    #[test]
    fn medians_are_of_each_program() {
        let spans = bursts().medians(|round| round.run.ready_span.as_secs_f64());
        assert_eq!(shown(&spans), "20.000 12.000 10.000");
    }
}
