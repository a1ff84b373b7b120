//! One notation of durations for flags, environment variables and pod annotations.
//!
//! `30s`, `2m`, `1h30m`, `500ms` as in Go and kubectl. A bare number is seconds, because chart values are integers. jiff also
//! accepts `30sec` and `1 hour, 5 minutes`; only the documented units are accepted here, so that manifests stay uniform.

use std::time::Duration;

use jiff::SignedDuration;

/// The longest accepted duration. A longer one is a typing error.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const UNITS: [&str; 4] = ["h", "m", "s", "ms"];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("`{0}` is not a duration such as `30s`, `2m` or `1h30m`; units are h, m, s and ms")]
    Notation(String),
    #[error("`{text}` is not a duration, because days are not a unit: write `{hours}h`")]
    Days { text: String, hours: u64 },
    #[error("`{0}` is longer than the allowed 365 days")]
    TooLong(String),
}

/// Parses a duration that is neither negative nor longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let notation = || DurationError::Notation(text.to_owned());
    let trimmed = text.trim();
    let duration = if trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(trimmed.parse().map_err(|_| notation())?)
    } else if let Some(days) = trimmed.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        return Err(DurationError::Days { text: text.to_owned(), hours: u64::from(days) * 24 });
    } else if is_of_units(trimmed) {
        let signed: SignedDuration = trimmed.parse().map_err(|_| notation())?;
        Duration::try_from(signed).map_err(|_| notation())?
    } else {
        return Err(notation());
    };
    if duration > LONGEST { Err(DurationError::TooLong(text.to_owned())) } else { Ok(duration) }
}

/// Whether the text is nothing but numbers, each followed by one of [`UNITS`].
fn is_of_units(text: &str) -> bool {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(is_number);
        let next = unit.trim_start_matches(|letter| !is_number(letter));
        if unit.len() == rest.len() || !UNITS.contains(&&unit[..unit.len() - next.len()]) {
            return false;
        }
        rest = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_kubernetes_notation() {
        for (text, expected) in [
            ("30s", Duration::from_secs(30)),
            ("2m", Duration::from_secs(120)),
            ("1m30s", Duration::from_secs(90)),
            ("1h30m", Duration::from_secs(5400)),
            ("1h2m3s4ms", Duration::from_millis(3_723_004)),
            ("500ms", Duration::from_millis(500)),
            ("1.5h", Duration::from_secs(5400)),
            ("1h", Duration::from_secs(3600)),
            ("0s", Duration::ZERO),
            ("5", Duration::from_secs(5)),
            (" 5s ", Duration::from_secs(5)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "",
            "soon",
            "-5s",
            "-5",
            "5 bananas",
            "1e9",
            "99999999999999999999",
            "366d",
            "9000h",
            "30sec",
            "2min",
            "1 h",
            "1h, 5m",
            "PT30S",
            "5us",
            "5ns",
            "1w",
            "1y",
            "30S",
            "s",
            "5s5",
            ".",
            "1..5s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_days_is_answered_with_hours() {
        let words = parse("7d").unwrap_err().to_string();
        assert!(words.contains("`7d`") && words.contains("`168h`"), "{words}");
    }
}
