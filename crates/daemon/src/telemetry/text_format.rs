//! The text format of the log: one line for each event.
//!
//! Foreign text, such as the response of a server, may contain line breaks and escape sequences. It could forge log lines
//! or change what a terminal shows, so this module escapes it. See CWE-117,
//! <https://cwe.mitre.org/data/definitions/117.html>.

use std::borrow::Cow;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::registry::LookupSpan;

use crate::clock;

/// Writes `2026-11-23T03:15:06.123456Z  INFO message key=value`. For events of dependencies, the target precedes the
/// message.
///
/// The fields of spans are left out: each event has the fields that it needs.
pub(super) struct TextFormat;

/// The target of events that the text format writes as a block: the message, then one line for each field.
pub const BLOCK_TARGET: &str = "snapwatcher::block";
/// The width of a label in a block, with its colon: that of `Deployment:` and one space.
const LABEL_WIDTH: usize = 12;

/// Writes the time of an event in UTC, with microseconds.
pub(super) struct EventTime;

impl FormatTime for EventTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.6}", clock::now())
    }
}

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'fields> FormatFields<'fields> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut text = EventText { is_block: metadata.target() == BLOCK_TARGET, ..EventText::default() };
        event.record(&mut text);
        EventTime.format_time(&mut writer)?;
        write!(writer, " {:>5} ", metadata.level())?;
        if !super::target::is_ours(metadata.target()) {
            write!(writer, "{}: ", metadata.target())?;
        }
        writeln!(writer, "{}{}", text.message, text.fields)
    }
}

/// Collects the message and the fields of an event.
#[derive(Default)]
struct EventText {
    is_block: bool,
    message: String,
    fields: String,
}

impl EventText {
    fn add(&mut self, name: &str, value: &str) {
        // Writing to a String does not fail.
        let _ = match name {
            "message" => self.message.write_str(&one_line(value)),
            _ if self.is_block => write_block_field(&mut self.fields, name, &one_line(value)),
            _ if is_plain(value) => write!(self.fields, " {name}={value}"),
            _ => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

/// Adds the line of one field to a block. The value has no line breaks.
fn write_block_field(block: &mut String, name: &str, value: &str) -> fmt::Result {
    let mut label = String::with_capacity(LABEL_WIDTH);
    let mut letters = name.chars();
    label.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    label.extend(letters);
    label.push(':');
    write!(block, "\n  {label:<LABEL_WIDTH$}{value}")
}

/// The text with all characters escaped that would break the line or change how a terminal shows it.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unsafe(character) {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    Cow::Owned(line)
}

/// Control characters, line and paragraph separators, and the marks that reorder text (Unicode UAX #9).
fn is_unsafe(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a value needs no quotes, because no part of it looks like another field.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=' || is_unsafe(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::capture::capture;
    use crate::telemetry::{LogFormat, LogLevel};

    fn text(log: impl FnOnce()) -> String {
        capture(LogLevel::Debug, LogFormat::Text, log)
    }

    #[test]
    fn a_line_is_time_level_message_and_fields() {
        let line = text(|| tracing::info!(pod = "default/web", attempt = 2, "asked"));
        let (time, rest) = line.split_at(27);
        let time: jiff::Timestamp = time.parse().unwrap();
        assert!(clock::now().duration_since(time).as_secs() < 60);
        assert_eq!(rest, "  INFO asked pod=default/web attempt=2\n");
    }

    #[test]
    fn an_ambiguous_value_is_quoted() {
        for (value, expected) in
            [("", r#""""#), ("no route", r#""no route""#), ("a=b", r#""a=b""#), ("\"", r#""\"""#), ("a,b:c", "a,b:c")]
        {
            let line = text(|| tracing::warn!(error = value, "broken"));
            assert!(line.ends_with(&format!("  WARN broken error={expected}\n")), "{line}");
        }
    }

    #[test]
    fn a_line_of_a_dependency_names_its_target() {
        let line = text(|| tracing::warn!(target: "hyper_util::client", "retrying"));
        assert!(line.ends_with("  WARN hyper_util::client: retrying\n"), "{line}");
    }

    #[test]
    fn foreign_text_neither_forges_a_line_nor_changes_the_terminal() {
        for evil in ["\n", "\r\n", "\u{1b}[2J", "\u{9b}2J", "\u{7f}", "\u{2028}", "\u{202e}", "\0"] {
            let foreign = format!("before{evil}2026-11-23T03:15:06.123456Z  INFO forged");
            for line in [
                text(|| tracing::error!("{foreign}")),
                text(|| tracing::error!(error = foreign, "failed")),
                text(|| tracing::error!(error = %foreign, "failed")),
                text(|| tracing::error!(error = ?foreign, "failed")),
            ] {
                let inner = line.strip_suffix('\n').unwrap();
                assert!(!inner.contains(is_unsafe), "{evil:?} in {line:?}");
            }
        }
    }
}
