//! A failure that may last: told when it begins, when it changes, and when it is over; and how long to wait meanwhile.

use std::time::Duration;

use backon::ExponentialBackoff;
use tracing::{info, warn};

use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{self, CallError};

/// The first wait after a failure; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait after a failure is twice this, with jitter: so an API server that is back is noticed within 30 s.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct FailureLog(Option<String>);

impl FailureLog {
    pub(super) fn tell(&mut self, words: &str) {
        if self.0.as_deref() != Some(words) {
            warn!("{words}; trying again");
            self.0 = Some(words.to_owned());
        }
    }

    pub(super) fn is_over(&mut self) {
        if let Some(words) = self.0.take() {
            info!("No longer: {words}");
        }
    }
}

/// The waits after failures in a row.
pub(super) fn waits() -> ExponentialBackoff {
    cluster::waits(FIRST_WAIT, LONGEST_WAIT)
}

/// The API server's own sentence where it gave one: kube's text of it repeats it with all its fields.
pub(super) fn words(error: &CallError) -> String {
    match error.status() {
        Some(status) => format!("{error}: {}", status.message),
        None => error_chain(error),
    }
}
