//! The two sizes of long tests: `make test` runs the short one, `make storm` the long one.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::terminal::print_result;

/// Set to 1 by `make storm`.
pub const STORM_VARIABLE: &str = "SNAPWATCHER_STORM";

/// Repeats a storm with this seed.
pub const SEED_VARIABLE: &str = "STORM_SEED";

/// The size of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Short,
    Long,
}

impl Size {
    /// The size that the environment chooses.
    pub fn chosen() -> Self {
        if env::var(STORM_VARIABLE).is_ok_and(|value| value == "1") { Self::Long } else { Self::Short }
    }

    /// The value for this size.
    pub fn of<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// The seed of a test's random choices: the one in the environment, or one from the clock. Prints it.
pub fn seed(test: &str) -> u64 {
    let given = env::var(SEED_VARIABLE).ok().and_then(|value| value.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = given.unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ now.as_secs());
    print_result(&format!("{test}: {SEED_VARIABLE}={seed}"));
    seed
}
