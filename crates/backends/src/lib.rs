//! Who takes checkpoints, and how to speak to them.
//!
//! The trait they implement is [`Backend`](crate::request::Backend): back-ends depend on checkpoints, never the
//! other way round. Whatever text comes from one goes through [`redact`] before anyone else sees it.

mod ca_file;
mod exchange;
pub mod kubelet;
pub mod redact;
pub mod request;
pub mod snaphook;
#[cfg(test)]
mod test_server;

pub use self::ca_file::CaFileError;

use snapwatcher_api::outcome::{Outcome, Reason};

/// Why a request was not made.
#[derive(Debug)]
struct NotSent(Reason, String);

/// An attempt that came to nothing, with words that may hold what a back-end said.
fn stopped(reason: Reason, message: &str) -> Outcome {
    Outcome::Failed { reason, message: redact::redact(message), retry_after: None }
}
