//! What operators read: log lines, metrics, and the words of errors.

#[cfg(any(test, feature = "test-support"))]
pub mod capture;
mod causes;
mod line;
pub mod log;
pub mod metrics;
mod target;

pub use causes::{error_chain, join_error_message, panic_message};
pub use line::{BLOCK_TARGET, one_line};
pub use log::{LogFormat, LogLevel};
