//! Long tests have two sizes: a short one that is part of `make test`, and a long one that `make storm` runs.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::terminal::print_result;

/// Set to 1 by `make storm`.
pub const STORM_VARIABLE: &str = "SNAPWATCHER_STORM";

/// The seed of a storm that is to be repeated.
pub const SEED_VARIABLE: &str = "STORM_SEED";

/// How much of a test is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Short,
    Long,
}

impl Size {
    /// The size that the environment asks for.
    pub fn chosen() -> Self {
        if env::var(STORM_VARIABLE).is_ok_and(|value| value == "1") { Self::Long } else { Self::Short }
    }

    /// What belongs to this size.
    pub fn of<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// The seed of what a test leaves to chance: the one given, else that of the moment. It is printed.
pub fn seed(test: &str) -> u64 {
    let given = env::var(SEED_VARIABLE).ok().and_then(|value| value.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = given.unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ now.as_secs());
    print_result(&format!("{test}: {SEED_VARIABLE}={seed}"));
    seed
}
