//! The log: level and format.

use clap::Args;

use snapwatcher_daemon::telemetry::{LogFormat, LogLevel};

#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Minimum level of the messages that are logged: DEBUG, INFO, WARNING or ERROR.
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "INFO")]
    pub log_level: LogLevel,
    /// Format of a log line.
    #[arg(long, env = "SNAPWATCHER_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}
