//! Back-end `snaphook`: requests a checkpoint from SnapHook, or from SnapApi, by one `POST` an attempt.

mod client;
mod contract;
mod probe;
mod repeated_404;
mod request;
mod response;
mod settings;
#[cfg(test)]
mod tests;

pub use self::client::{IDEMPOTENCY_KEY, SnapHook};
pub use self::contract::Contract;
pub use self::probe::SnapHookProbe;
pub use self::settings::{SnapHookError, SnapHookSettings};
