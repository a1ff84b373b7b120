//! A failure that may last: told when it begins, when it changes, and when it is over; and how long to wait meanwhile.

use std::time::Duration;

use tracing::{info, warn};

use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::backoff::{Backoff, Retries};
use snapwatcher_kubernetes::cluster::CallError;

/// The waits after failures in a row, 18.75 s at the most: so an API server that is back is noticed within 30 s.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(750), Duration::from_secs(15));

#[derive(Debug, Default)]
pub(super) struct Trouble(Option<String>);

impl Trouble {
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
pub(super) fn waits() -> Retries {
    BACKOFF.retries()
}

/// The API server's own sentence where it gave one: kube's text of it repeats it with all its fields.
pub(super) fn words(error: &CallError) -> String {
    match error.status() {
        Some(status) => format!("{error}: {}", status.message),
        None => error_chain(error),
    }
}
