//! What admission may cost.

use crate::results::Results;

/// See docs/decisions/0014.
const MIN_RATIO_TO_FIXED_REPLY: f64 = 0.70;
/// See docs/decisions/0014.
const MIN_RATIO_TO_CONTROLLER_RUNTIME: f64 = 20.0;
/// From this number of connections on. Over a single one, the fixed reply itself is not that much faster.
const CONNECTIONS_OF_CONTROLLER_RUNTIME: usize = 25;
/// Without the program file, as for the controller.
const MAX_IDLE_MEMORY_MIB: f64 = 2.0;

#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) text: String,
    pub(crate) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    /// Missed by less than what runs of the same build differ by.
    Missed,
    /// Missed by more: the measurement fails.
    Failed,
}

impl Verdict {
    /// Of a budget without a tolerance.
    pub(crate) fn strict(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::Failed }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }
}

impl Results {
    /// The budgets of what was measured.
    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let to_fixed_reply = least(&self.ratios_to_fixed_reply());
        let ratios = self.connections.iter().zip(self.ratios_to_controller_runtime());
        let with_many = ratios.filter(|(connections, _)| **connections >= CONNECTIONS_OF_CONTROLLER_RUNTIME);
        let to_controller_runtime = least(&with_many.map(|(_, ratio)| ratio).collect::<Vec<_>>());
        let memory = self.servers.snapwatcher.memory[0];
        let is_at_least = |ratio: f64, least: f64| Verdict::strict(ratio.is_finite() && ratio >= least);
        vec![
            Budget {
                text: format!(
                    "requests per CPU second, at least {MIN_RATIO_TO_FIXED_REPLY:.2} of the fixed reply's: \
                     {to_fixed_reply:.2}"
                ),
                verdict: is_at_least(to_fixed_reply, MIN_RATIO_TO_FIXED_REPLY),
            },
            Budget {
                text: format!(
                    "requests per CPU second, at least {MIN_RATIO_TO_CONTROLLER_RUNTIME:.0} times \
                     controller-runtime's, from {CONNECTIONS_OF_CONTROLLER_RUNTIME} connections on: \
                     {to_controller_runtime:.1}"
                ),
                verdict: is_at_least(to_controller_runtime, MIN_RATIO_TO_CONTROLLER_RUNTIME),
            },
            Budget {
                text: format!(
                    "idle memory without the program file, at most {MAX_IDLE_MEMORY_MIB:.0} MiB: {memory:.1} MiB"
                ),
                verdict: Verdict::strict(memory <= MAX_IDLE_MEMORY_MIB),
            },
        ]
    }
}

fn least(ratios: &[f64]) -> f64 {
    ratios.iter().copied().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::PerServer;
    use crate::results::tests::results;

    #[test]
    fn a_budget_holds_for_each_number_of_connections() {
        for (case, rounds, memory, expected) in [
            ("all met", [[90.0, 80.0, 70.0], [70.0, 70.0, 70.0]], 2.0, [true, true, true]),
            ("too slow at 25", [[90.0, 80.0, 70.0], [69.0, 69.0, 69.0]], 2.0, [false, true, true]),
            ("slower than 20 times at 25", [[90.0, 80.0, 70.0], [59.0, 59.0, 59.0]], 2.0, [false, false, true]),
            ("slower than 20 times at 1", [[59.0, 59.0, 59.0], [70.0, 70.0, 70.0]], 2.0, [false, true, true]),
            ("too much memory", [[90.0, 80.0, 70.0], [70.0, 70.0, 70.0]], 2.1, [true, true, false]),
        ] {
            let budgets = results(&[&rounds[0], &rounds[1]], memory).budgets();
            let verdicts: Vec<Verdict> = budgets.iter().map(|budget| budget.verdict).collect();
            assert_eq!(verdicts, expected.map(Verdict::strict), "{case}: {budgets:?}");
        }
    }

    #[test]
    fn no_measurement_meets_no_budget() {
        let results = Results { connections: vec![], rate: 500, servers: PerServer::default() };
        let budgets = results.budgets();
        assert!(budgets[..2].iter().all(|budget| budget.verdict == Verdict::Failed), "{budgets:?}");
    }
}
