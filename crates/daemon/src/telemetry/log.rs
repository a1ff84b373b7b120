//! The log: its levels, its two formats, and where it goes.
//!
//! It goes to stderr, since stdout belongs to the commands that print something; `kubectl logs` shows both. Each event
//! is one write, so that lines and blocks of several threads do not mix.

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

use super::line::{Clock, TextFormat};
use super::panic_message;
use super::target::OURS;

/// The least serious events that are logged, under the names of Python's `logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warning,
    Error,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that names no level.
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

    /// What is logged of our own events.
    fn ours(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }

    /// What is logged of kube's watchers: what goes wrong with a watch is told by our checks, once and in a sentence.
    fn watchers(self) -> LevelFilter {
        if matches!(self, Self::Trace | Self::Debug) { LevelFilter::WARN } else { LevelFilter::ERROR }
    }

    /// What is logged of the dependencies' events: never below INFO, where HTTP clients log requests.
    fn dependencies(self) -> LevelFilter {
        match self {
            Self::Trace | Self::Debug => LevelFilter::INFO,
            Self::Info | Self::Warning => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    /// Takes Python's names, see <https://docs.python.org/3/library/logging.html#logging-levels>, in any case.
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

/// Starts logging to stderr, panics included. Called once, by `main`; a second call changes nothing.
pub fn init(level: LogLevel, format: LogFormat) {
    if tracing::subscriber::set_global_default(subscriber(level, format, io::stderr)).is_ok() {
        std::panic::set_hook(Box::new(tell_panic));
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
            let json = lines.json().flatten_event(true).with_timer(Clock);
            json.with_current_span(false).with_span_list(false).boxed()
        }
    };
    let wanted = Targets::new().with_default(level.dependencies()).with_target(OURS, level.ours());
    let wanted = wanted.with_target("kube_runtime::watcher", level.watchers());
    // It logs whole bodies that it can't decode, and one of them may be our Secret.
    let wanted = wanted.with_target("kube_client", LevelFilter::ERROR);
    tracing_subscriber::registry().with(lines.with_filter(wanted))
}

/// A panic as one line of the log, where the default is two lines that no format knows.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "panic: {}", panic_message(panic.payload()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::capture::{Written, capture};

    #[test]
    fn a_level_is_read_under_the_names_of_python_in_any_case() {
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
        let refusal = "loud".parse::<LogLevel>().unwrap_err().to_string();
        assert_eq!(refusal, "`loud` is not a log level; use DEBUG, INFO, WARNING or ERROR");
    }

    #[test]
    fn dependencies_are_heard_less_than_we_are() {
        for (level, expected) in [
            (LogLevel::Trace, "our error, our warn, our info, our debug, their error, their warn, their info"),
            (LogLevel::Debug, "our error, our warn, our info, our debug, their error, their warn, their info"),
            (LogLevel::Info, "our error, our warn, our info, their error, their warn"),
            (LogLevel::Warning, "our error, our warn, their error, their warn"),
            (LogLevel::Error, "our error, their error"),
        ] {
            let written = capture(level, LogFormat::Json, || {
                tracing::error!("our error");
                tracing::warn!("our warn");
                tracing::info!("our info");
                tracing::debug!("our debug");
                tracing::error!(target: "hyper", "their error");
                tracing::warn!(target: "hyper", "their warn");
                tracing::info!(target: "hyper", "their info");
                tracing::debug!(target: "hyper", "their debug");
            });
            let objects = written.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let heard: Vec<_> = objects.map(|object| object["message"].as_str().unwrap().to_owned()).collect();
            assert_eq!(heard.join(", "), expected, "{level}");
        }
    }

    #[test]
    fn what_kube_could_not_decode_is_not_repeated() {
        let written = capture(LogLevel::Debug, LogFormat::Text, || {
            tracing::warn!(target: "kube_client::client", "{{\"data\":{{\"current.key\":\"x\"}}}}, invalid type");
            tracing::warn!(target: "kube_runtime::watcher", "watch list error");
        });
        assert!(!written.contains("current.key") && written.contains("watch list error"), "{written}");
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let written = capture(LogLevel::Info, LogFormat::Json, || {
            tracing::info_span!("review", uid = "u1").in_scope(|| tracing::info!(attempt = 2, "a\nb"));
        });
        assert_eq!(written.lines().count(), 1);
        let object: serde_json::Value = serde_json::from_str(&written).unwrap();
        let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["attempt", "level", "message", "target", "timestamp"]);
        object["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }

    #[test]
    fn an_event_is_one_write() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let written = Written::default();
            tracing::subscriber::with_default(subscriber(LogLevel::Info, format, written.clone()), || {
                tracing::info!(target: crate::telemetry::BLOCK_TARGET, event = "ADDED", pod = "web", "Now");
            });
            assert_eq!(written.writes(), 1, "{format:?}");
        }
    }
}
