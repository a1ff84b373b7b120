//! What operators read: log lines, metrics, and the words of errors.

pub mod block;
mod causes;
mod line;
pub mod log;
pub mod metrics;

pub use causes::{chain, join_words, panic_words};
pub use line::one_line;
pub use log::{LogFormat, LogLevel};
