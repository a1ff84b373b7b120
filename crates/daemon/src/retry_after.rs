//! The wait that a server requests by `Retry-After`, see RFC 9110 section 10.2.3.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The wait in the value of the header, seconds or a date, at most `longest`. Other values are ignored, and a date in the past
/// means now.
pub fn retry_after(value: &str, now: Timestamp, longest: Duration) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is a very long time.
        value.parse().map_or(longest, Duration::from_secs)
    } else {
        let at = DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("301", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Mon, 30 Nov 2026 12:00:30 GMT", Some(30)),
            ("Mon, 30 Nov 2026 11:00:00 GMT", Some(0)),
            ("Tue, 30 Nov 2027 12:00:00 GMT", Some(300)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            let wait = retry_after(value, now, Duration::from_secs(300));
            assert_eq!(wait, expected.map(Duration::from_secs), "{value}");
        }
    }
}
