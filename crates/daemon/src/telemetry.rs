//! What operators read: log lines, metrics and error texts.

mod auth_error;
#[cfg(any(test, feature = "test-support"))]
pub mod capture;
mod error_text;
mod lines_per_minute;
pub mod log;
mod log_options;
pub mod metrics;
mod repeated_messages;
mod target;
mod text_format;

pub use error_text::{error_chain, innermost_cause, join_error_message, panic_message};
pub use lines_per_minute::{LeftOut, LinesPerMinute};
pub use log_options::{LogFormat, LogLevel};
pub use repeated_messages::RepeatedMessages;
pub use text_format::{BLOCK_TARGET, one_line};
