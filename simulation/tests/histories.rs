//! Some thousand histories, as `make simulate` runs a million of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::History;

/// Other histories than the first ones of `make simulate`.
const FIRST_SEED: u64 = 1 << 32;
const HISTORIES: u64 = 3000;

#[test]
fn no_rule_breaks_in_some_thousand_histories() {
    let next = AtomicU64::new(0);
    let run = || {
        let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < HISTORIES));
        for seed in seeds.map(|seed| FIRST_SEED + seed) {
            let violation = History::new(seed).run(false).violation;
            assert_eq!(violation, None, "repeat it by `make simulate HISTORIES=1 SEED={seed}`");
        }
    };
    thread::scope(|scope| {
        scope.spawn(run);
        run();
    });
}

#[test]
fn a_seed_gives_the_same_history_again() {
    for seed in FIRST_SEED..FIRST_SEED + 20 {
        let history = History::new(seed);
        assert_eq!(history.run(true).trace, history.run(true).trace, "seed {seed}");
    }
}
