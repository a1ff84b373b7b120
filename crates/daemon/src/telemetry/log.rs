//! The log: its levels, its two formats and its destination.
//!
//! The log goes to stderr, because some commands print their result to stdout. `kubectl logs` shows both. Each event is
//! one write, so that the lines and blocks of several threads do not mix.

use std::io;
use std::panic::PanicHookInfo;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt as layers};

use super::error_text::panic_message;
use super::log_options::{LogFormat, LogLevel};
use super::target::OURS;
use super::text_format::{EventTime, TextFormat};

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
    // kube logs whole bodies that it can't decode, and one of them may be our Secret. It also logs each response that is an error,
    // without the object that it is about. The caller logs the error, and limits how often.
    let filter = filter.with_target("kube_client", LevelFilter::OFF);
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
