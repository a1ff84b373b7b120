//! Why an exchange has no answer, and what that means: nothing was asked, or nobody knows.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

use snapwatcher_api::outcome::Reason;

use super::Times;

/// Why no answer can be judged.
#[derive(Debug)]
pub(super) enum Fault {
    /// It failed on the way.
    Failed(reqwest::Error),
    OutOfTime(Duration),
}

/// An exchange without a complete answer.
#[derive(Debug)]
pub(crate) struct Broken {
    fault: Fault,
    has_connected: bool,
}

impl Broken {
    pub(super) fn new(fault: Fault, has_connected: bool, times: Times) -> Self {
        let fault = match fault {
            // The client's own limit for connecting is the same and may be the first to notice.
            Fault::Failed(error) if !has_connected && error.is_timeout() => Fault::OutOfTime(times.connect),
            other => other,
        };
        Self { fault, has_connected }
    }

    /// The reason, and the words for it; `whom` was asked (`SnapHook`), at `url`, which is for people.
    pub(crate) fn told(&self, whom: &str, url: &str) -> (Reason, String) {
        match &self.fault {
            Fault::Failed(error) if error.is_builder() => {
                (Reason::Rejected, format!("could not write the request for {whom} at {url}: {}", cause(error)))
            }
            Fault::Failed(error) if self.has_connected => {
                (Reason::NoResponse, format!("no complete answer from {whom} at {url}: {}", cause(error)))
            }
            Fault::Failed(error) if error.is_dns() => {
                (Reason::Unreachable, format!("could not find the host of {whom} at {url}: {}", cause(error)))
            }
            Fault::Failed(error) => {
                (Reason::Unreachable, format!("could not connect to {whom} at {url}: {}", cause(error)))
            }
            Fault::OutOfTime(limit) if self.has_connected => (
                Reason::NoResponse,
                format!("no complete answer from {whom} at {url} within {limit:?} after connecting"),
            ),
            Fault::OutOfTime(limit) => {
                (Reason::Unreachable, format!("could not connect to {whom} at {url} within {limit:?}"))
            }
        }
    }

    /// Why the server's certificate was not accepted, if that is what went wrong.
    pub(crate) fn certificate_error(&self) -> Option<&CertificateError> {
        let Fault::Failed(error) = &self.fault else { return None };
        let mut next: Option<&(dyn Error + 'static)> = error.source();
        while let Some(error) = next {
            if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref::<rustls::Error>() {
                return Some(why);
            }
            next = inner(error).or_else(|| error.source());
        }
        None
    }
}

/// What an I/O error was made of; its `source` leaves that out.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    error.downcast_ref::<io::Error>()?.get_ref().map(|inner| inner as &(dyn Error + 'static))
}

/// The innermost cause in words: reqwest's own only say that sending failed, and repeat the URL with its password.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    match cause {
        None => error.to_string(),
        Some(cause) => match cause.downcast_ref::<io::Error>() {
            Some(io) if io.raw_os_error().is_some() => io.kind().to_string(),
            _ => cause.to_string(),
        },
    }
}
