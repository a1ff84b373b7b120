//! Why a request has no complete response, and what that means for its attempt.

use std::time::Duration;

use rustls::CertificateError;

use snapwatcher_api::outcome::Reason;
use snapwatcher_daemon::telemetry::innermost_cause;
use snapwatcher_kubernetes::tls::certificate_error;

use super::timeouts::RequestTimeouts;

/// An endpoint in messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointLabel<'a> {
    /// `SnapHook` or `the kubelet of node `n1``.
    pub(crate) name: &'a str,
    /// Its URL without user, password and query.
    pub(crate) url: &'a str,
    /// What to do if it can't be reached.
    pub(crate) remedy: &'a str,
}

#[derive(Debug)]
pub(super) enum FailureCause {
    Transport(reqwest::Error),
    TimedOut(Duration),
}

/// A request without a complete response.
#[derive(Debug)]
pub(crate) struct RequestFailure {
    cause: FailureCause,
    has_connected: bool,
}

impl RequestFailure {
    pub(super) fn new(cause: FailureCause, has_connected: bool, timeouts: RequestTimeouts) -> Self {
        let cause = match cause {
            // The client has the same limit for connecting and may notice first.
            FailureCause::Transport(error) if !has_connected && error.is_timeout() => {
                FailureCause::TimedOut(timeouts.connect)
            }
            other => other,
        };
        Self { cause, has_connected }
    }

    /// The reason and the message: `Unreachable` before the connection was established, `NoResponse` after it.
    pub(crate) fn classify(&self, endpoint: EndpointLabel<'_>) -> (Reason, String) {
        let EndpointLabel { name, url, remedy } = endpoint;
        match &self.cause {
            FailureCause::Transport(error) if error.is_builder() => (
                Reason::Rejected,
                format!("could not build the request to {name} at {url}: {}", innermost_cause(error)),
            ),
            FailureCause::Transport(error) if self.has_connected => {
                (Reason::NoResponse, format!("no complete response from {name} at {url}: {}", innermost_cause(error)))
            }
            FailureCause::Transport(error) if error.is_dns() => (
                Reason::Unreachable,
                format!("could not resolve the host of {name} at {url}: {}; {remedy}", innermost_cause(error)),
            ),
            FailureCause::Transport(error) => (
                Reason::Unreachable,
                format!("could not connect to {name} at {url}: {}; {remedy}", innermost_cause(error)),
            ),
            FailureCause::TimedOut(limit) if self.has_connected => (
                Reason::NoResponse,
                format!("no complete response from {name} at {url} within {limit:?} after connecting"),
            ),
            FailureCause::TimedOut(limit) => {
                (Reason::Unreachable, format!("could not connect to {name} at {url} within {limit:?}; {remedy}"))
            }
        }
    }

    /// Why the certificate of the server was not accepted, if that is the cause.
    pub(crate) fn certificate_error(&self) -> Option<&CertificateError> {
        let FailureCause::Transport(error) = &self.cause else { return None };
        certificate_error::in_chain(error)
    }
}
