//! What an operator chooses of the log: its level and its format.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;

/// The least severe events that are logged, with the names of Python's `logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warning,
    Error,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The text is not the name of a level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log level; use DEBUG, INFO, WARNING or ERROR")]
pub struct UnknownLevel(String);

impl LogLevel {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }

    /// The filter for our own events.
    pub(super) fn own_filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }

    /// The filter for kube's watchers. Our health checks report a broken watch already, once and in a sentence.
    pub(super) fn watcher_filter(self) -> LevelFilter {
        if matches!(self, Self::Trace | Self::Debug) { LevelFilter::WARN } else { LevelFilter::ERROR }
    }

    /// The filter for dependencies. It never includes DEBUG, because HTTP clients log whole requests there.
    pub(super) fn dependency_filter(self) -> LevelFilter {
        match self {
            Self::Trace | Self::Debug => LevelFilter::INFO,
            Self::Info | Self::Warning => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    /// Reads Python's names, see <https://docs.python.org/3/library/logging.html#logging-levels>, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_uppercase().as_str() {
            "TRACE" => Ok(Self::Trace),
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" | "CRITICAL" | "FATAL" => Ok(Self::Error),
            _ => Err(UnknownLevel(text.to_owned())),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_by_its_python_name_in_upper_or_lower_case() {
        for (text, expected) in [
            ("TRACE", LogLevel::Trace),
            ("DEBUG", LogLevel::Debug),
            ("debug", LogLevel::Debug),
            ("Info", LogLevel::Info),
            ("WARNING", LogLevel::Warning),
            ("warn", LogLevel::Warning),
            ("ERROR", LogLevel::Error),
            ("CRITICAL", LogLevel::Error),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let error = "loud".parse::<LogLevel>().unwrap_err().to_string();
        assert_eq!(error, "`loud` is not a log level; use DEBUG, INFO, WARNING or ERROR");
    }
}
