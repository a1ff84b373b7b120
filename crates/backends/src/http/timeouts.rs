//! The time limits of one request.

use std::time::Duration;

/// How long one request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestTimeouts {
    /// From the start of the attempt until the connection is established, TLS included.
    pub(crate) connect: Duration,
    /// From then to the end of the response.
    pub(crate) response: Duration,
}

impl RequestTimeouts {
    pub(crate) fn total(self) -> Duration {
        self.connect + self.response
    }
}
