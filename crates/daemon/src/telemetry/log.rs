//! The log: its levels, its two formats and its destination.
//!
//! The log goes to stderr, because some commands print their result to stdout. `kubectl logs` shows both. Each event is
//! one write, so that the lines and blocks of several threads do not mix.

use std::fmt;
use std::io;
use std::panic::PanicHookInfo;
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt as layers};

use super::error_text::panic_message;
use super::target::OURS;
use super::text_format::{EventTime, TextFormat};

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
    fn own_filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }

    /// The filter for kube's watchers. Our health checks report a broken watch already, once and in a sentence.
    fn watcher_filter(self) -> LevelFilter {
        if matches!(self, Self::Trace | Self::Debug) { LevelFilter::WARN } else { LevelFilter::ERROR }
    }

    /// The filter for dependencies. It never includes DEBUG, because HTTP clients log whole requests there.
    fn dependency_filter(self) -> LevelFilter {
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

/// Starts logging to stderr, including panics. `main` calls this once. A second call changes nothing.
pub fn init(level: LogLevel, format: LogFormat) {
    if tracing::subscriber::set_global_default(subscriber(level, format, io::stderr)).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

pub(super) fn subscriber<W>(level: LogLevel, format: LogFormat, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = layers::layer::<Registry>().with_ansi(false).with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.event_format(TextFormat).boxed(),
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_timer(EventTime);
            json.with_current_span(false).with_span_list(false).boxed()
        }
    };
    let filter = Targets::new().with_default(level.dependency_filter()).with_target(OURS, level.own_filter());
    let filter = filter.with_target("kube_runtime::watcher", level.watcher_filter());
    // At WARN kube logs whole bodies that it can't decode, and one of them may be our Secret.
    let filter = filter.with_target("kube_client", LevelFilter::ERROR);
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

/// Logs a panic as one event. The default hook writes two lines in neither format.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        "Panic at `{location}`, which is a bug of SnapWatcher: {}. Please report it with the log lines before",
        panic_message(panic.payload())
    );
}

#[cfg(test)]
mod tests;
