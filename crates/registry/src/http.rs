//! One request: client, time limits, redirects, and bodies of bounded length.

mod client;
mod exchange;
mod hop;
mod limited;
mod pace;
mod paced_body;
mod progress;
mod tls;

pub(crate) use self::client::client;
pub(crate) use self::exchange::{Failure, Outgoing, next_piece, send};
pub use self::hop::HopError;
pub(crate) use self::hop::{HopRule, is_same_origin, shown_host};
pub(crate) use self::limited::{Oversized, read_at_most};
pub(crate) use self::pace::Pace;
pub use self::tls::TlsError;
