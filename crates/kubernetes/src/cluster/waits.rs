//! How long to wait before the API server is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits without end that double from `first` to `longest`, each up to doubled by chance.
pub fn waits(first: Duration, longest: Duration) -> ExponentialBackoff {
    let waits = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
    waits.without_max_times().with_jitter().build()
}
