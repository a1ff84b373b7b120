//! For tests: captures what a piece of code logs.

use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;

use super::log::subscriber;
use super::log_options::{LogFormat, LogLevel};

/// Two subscribers that live as long as the process. With a single one, tracing asks only the thread that first reaches a
/// log call whether a subscriber wants it, and a thread without a subscriber answers no for all threads.
static ALWAYS_REGISTERED: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(subscriber(LogLevel::Trace, LogFormat::Text, io::sink))));

/// Returns what this thread logs while `log` runs.
pub fn capture(level: LogLevel, format: LogFormat, log: impl FnOnce()) -> String {
    LazyLock::force(&ALWAYS_REGISTERED);
    let written = Written::default();
    tracing::subscriber::with_default(subscriber(level, format, written.clone()), log);
    written.text()
}

/// A writer that keeps each write as one entry.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<String>>>);

impl Written {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    #[cfg(test)]
    pub(super) fn writes(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
