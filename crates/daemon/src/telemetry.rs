//! What operators read: log lines, metrics and error texts.

#[cfg(any(test, feature = "test-support"))]
pub mod capture;
mod error_text;
pub mod log;
mod log_budget;
mod log_options;
mod log_throttle;
pub mod metrics;
mod target;
mod text_format;

pub use error_text::{error_chain, join_error_message, panic_message};
pub use log_budget::{LeftOut, LogBudget};
pub use log_options::{LogFormat, LogLevel};
pub use log_throttle::LogThrottle;
pub use text_format::{BLOCK_TARGET, one_line};
