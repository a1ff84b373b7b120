//! Logs once that the CA in the Secret is not valid yet, and once that it is.

use jiff::Timestamp;
use tracing::{info, warn};

/// Whether it was logged that the CA is not valid yet.
#[derive(Debug, Default)]
pub(super) struct ValidityLog {
    is_reported: bool,
}

impl ValidityLog {
    pub(super) fn observe(&mut self, secret: &str, not_before: Timestamp, now: Timestamp) {
        let is_valid = not_before <= now;
        if !is_valid && !self.is_reported {
            warn!(
                "The CA in {secret} is not valid before {not_before}: the API server rejects it until then. It is not \
                 replaced. Set the clock that made it, or stop all replicas and delete the Secret"
            );
        } else if is_valid && self.is_reported {
            info!("The CA in {secret} is valid now");
        }
        self.is_reported = !is_valid;
    }
}
