//! Runs histories on several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use simulation::{Coverage, History};

/// So many histories have to cover everything.
pub(crate) const COVERING: u64 = 20_000;

/// What many histories have shown.
pub(crate) struct Summary {
    pub(crate) coverage: Coverage,
    /// The least seed of those that were seen to fail.
    pub(crate) failed: Option<u64>,
    /// Each rule that broke, how often, and the seed of an example.
    pub(crate) broken: Vec<(&'static str, u64, u64)>,
    pub(crate) time: Duration,
}

/// What one thread has seen.
#[derive(Default)]
struct Part {
    coverage: Coverage,
    broken: BTreeMap<&'static str, (u64, u64)>,
}

/// Runs the histories of these seeds, up to the first that fails unless `goes_on`.
pub(crate) fn run(seed: u64, histories: u64, threads: usize, goes_on: bool) -> Summary {
    let (next, has_failed, begin) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    let parts = thread::scope(|scope| {
        let work = || {
            let mut part = Part::default();
            while !has_failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= histories {
                    break;
                }
                let seed = seed.wrapping_add(number);
                let ending = History::new(seed).run(false);
                part.coverage.add(&ending.coverage);
                if let Some(violation) = ending.violation {
                    let (count, least) = part.broken.entry(violation.rule).or_insert((0, seed));
                    *count += 1;
                    *least = seed.min(*least);
                    has_failed.store(!goes_on, Ordering::Relaxed);
                }
            }
            part
        };
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    let mut coverage = Coverage::default();
    let mut broken: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for part in parts {
        coverage.add(&part.coverage);
        for (rule, (count, seed)) in part.broken {
            let (all, least) = broken.entry(rule).or_insert((0, seed));
            *all += count;
            *least = seed.min(*least);
        }
    }
    let failed = broken.values().map(|(_, seed)| *seed).min();
    let broken = broken.into_iter().map(|(rule, (count, seed))| (rule, count, seed)).collect();
    Summary { coverage, failed, broken, time: begin.elapsed() }
}
