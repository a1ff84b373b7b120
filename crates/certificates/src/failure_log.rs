//! Logs a failure that may last: once when it starts or changes, and once when it is over.

use std::time::Duration;

use tracing::{info, warn};

use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::backoff::Backoff;
use snapwatcher_kubernetes::cluster::CallError;

/// Between failed calls to the API server; short enough to notice within 30 s that it is reachable again.
pub(super) const API_BACKOFF: Backoff = Backoff::new(Duration::from_millis(750), Duration::from_secs(15));

/// The failure that was logged last and is not over.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Option<String>);

impl FailureLog {
    /// Logs the failure unless it is the one that was logged last.
    pub(super) fn report(&mut self, failure: &str) {
        if self.is_new(failure) {
            warn!("{failure}; retrying");
            self.0 = Some(failure.to_owned());
        }
    }

    /// Whether the failure is another one than was logged last.
    pub(super) fn is_new(&self, failure: &str) -> bool {
        self.0.as_deref() != Some(failure)
    }

    pub(super) fn recovered(&mut self) {
        if let Some(failure) = self.0.take() {
            info!("Recovered from: {failure}");
        }
    }

    #[cfg(test)]
    pub(super) fn is_failing(&self) -> bool {
        self.0.is_some()
    }
}

/// The error with the API server's own message, if there is one: kube's text repeats it with all fields of the status.
pub(super) fn call_error_message(error: &CallError) -> String {
    match error.status() {
        Some(status) => format!("{error}: {}", status.message),
        None => error_chain(error),
    }
}
