//! The numbers of one run, and their ratios.

use std::time::Duration;

/// The measurements of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measurements {
    /// Requests per second of the server's CPU time: one list for each number of connections, one value for each round.
    pub(crate) per_cpu_second: Vec<Vec<f64>>,
    /// p50, p99 and p99.9 at the fixed rate.
    pub(crate) latency: [Duration; 3],
    /// In MiB, without the program file: idle after the start, and after the load.
    pub(crate) memory: [f64; 2],
}

/// One value for each server of the comparison.
#[derive(Debug, Clone, Default)]
pub(crate) struct PerServer<T> {
    pub(crate) snapwatcher: T,
    pub(crate) fixed_reply: T,
    pub(crate) controller_runtime: T,
}

#[derive(Debug)]
pub(crate) struct Results {
    /// The numbers of connections, in the order of [`Measurements::per_cpu_second`].
    pub(crate) connections: Vec<usize>,
    /// Requests a second in the measurement of latency.
    pub(crate) rate: u32,
    pub(crate) servers: PerServer<Measurements>,
}

impl<T> PerServer<T> {
    /// In the order of a round.
    pub(crate) fn as_array(&self) -> [&T; 3] {
        [&self.snapwatcher, &self.fixed_reply, &self.controller_runtime]
    }

    pub(crate) fn as_mut_array(&mut self) -> [&mut T; 3] {
        [&mut self.snapwatcher, &mut self.fixed_reply, &mut self.controller_runtime]
    }
}

impl Results {
    /// SnapWatcher's requests per CPU second divided by the fixed reply's, for each number of connections.
    pub(crate) fn ratios_to_fixed_reply(&self) -> Vec<f64> {
        ratios(&self.servers.snapwatcher, &self.servers.fixed_reply)
    }

    /// SnapWatcher's requests per CPU second divided by controller-runtime's, for each number of connections.
    pub(crate) fn ratios_to_controller_runtime(&self) -> Vec<f64> {
        ratios(&self.servers.snapwatcher, &self.servers.controller_runtime)
    }
}

/// For each number of connections the median of the ratios of all rounds. Both values of a ratio are of the same round, so
/// that other load on the machine affects both.
fn ratios(ours: &Measurements, theirs: &Measurements) -> Vec<f64> {
    let rounds = ours.per_cpu_second.iter().zip(&theirs.per_cpu_second);
    rounds.map(|(ours, theirs)| median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))).collect()
}

/// The upper median; 0 of no values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn measurements(per_cpu_second: &[&[f64]], memory: f64) -> Measurements {
        let per_cpu_second = per_cpu_second.iter().map(|rounds| rounds.to_vec()).collect();
        Measurements { per_cpu_second, memory: [memory, memory], ..Measurements::default() }
    }

    pub(crate) fn results(snapwatcher: &[&[f64]], memory: f64) -> Results {
        let fixed_reply = measurements(&[&[100.0, 50.0, 100.0], &[100.0, 100.0, 100.0]], 1.0);
        let controller_runtime = measurements(&[&[3.0, 3.0, 3.0], &[3.0, 3.0, 3.0]], 1.0);
        let snapwatcher = measurements(snapwatcher, memory);
        let servers = PerServer { snapwatcher, fixed_reply, controller_runtime };
        Results { connections: vec![1, 25], rate: 500, servers }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_ratios_of_each_round() {
        let results = results(&[&[80.0, 40.0, 10.0], &[70.0, 72.0, 71.0]], 10.0);
        assert_eq!(results.ratios_to_fixed_reply(), [0.8, 0.71]);
        assert_eq!(results.ratios_to_controller_runtime(), [40.0 / 3.0, 71.0 / 3.0]);
    }
}
