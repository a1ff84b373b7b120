//! One notation of durations for flags, environment variables and pod annotations.
//!
//! `30s`, `2m`, `1m30s`, `500ms` as in Go and kubectl; a bare number is seconds, because chart values are integers.

use std::time::Duration;

use jiff::SignedDuration;

/// The longest duration that is taken: beyond it a timer is a mistake, not a wish.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("`{0}` is not a duration such as `30s`, `2m` or `1m30s`")]
    Notation(String),
    #[error("`{0}` is longer than the allowed 365 days")]
    TooLong(String),
}

/// Parses a duration that is neither negative nor longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let notation = || DurationError::Notation(text.to_owned());
    let trimmed = text.trim();
    let duration = if trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(trimmed.parse().map_err(|_| notation())?)
    } else {
        let signed: SignedDuration = trimmed.parse().map_err(|_| notation())?;
        Duration::try_from(signed).map_err(|_| notation())?
    };
    if duration > LONGEST { Err(DurationError::TooLong(text.to_owned())) } else { Ok(duration) }
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
            ("500ms", Duration::from_millis(500)),
            ("1h", Duration::from_secs(3600)),
            ("0s", Duration::ZERO),
            ("5", Duration::from_secs(5)),
            (" 5s ", Duration::from_secs(5)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "soon", "-5s", "-5", "5 bananas", "1e9", "99999999999999999999", "366d", "9000h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
