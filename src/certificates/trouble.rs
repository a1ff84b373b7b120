//! A failure that may last: told when it begins, when it changes, and when it is over.

use tracing::{info, warn};

use crate::cluster::CallError;
use crate::telemetry::chain;

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

/// The API server's own sentence where it gave one: kube's text of it repeats it with all its fields.
pub(super) fn words(error: &CallError) -> String {
    match error.status() {
        Some(status) => format!("{error}: {}", status.message),
        None => chain(error),
    }
}
