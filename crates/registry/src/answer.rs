//! What a registry says when it refuses a request: the status and the errors of the OCI distribution specification 1.1 ("Error
//! Codes"), `{"errors": [{"code", "message", "detail"}]}`.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use snapwatcher_api::outcome::Redacted;

/// The most that is read of the body of an error, in bytes.
pub(crate) const LONGEST_BODY: usize = 64 * 1024;

/// The most errors of one response that are shown.
const MOST_ERRORS: usize = 3;

/// The longest code that is shown, in characters.
const LONGEST_CODE: usize = 40;

/// The longest text that is shown, in characters. The whole message of an error has to fit a status.
const LONGEST_TEXT: usize = 300;

/// A longer `Retry-After` is taken for this.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The refusal of a registry, or of a proxy in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// The codes of the specification, such as `NAME_UNKNOWN`.
    pub codes: Vec<String>,
    /// The text of the registry, without secrets.
    pub text: Redacted,
    /// The wait that the registry requests.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Answer {
    /// The answer with this status and body, of which at most [`LONGEST_BODY`] bytes were read.
    pub(crate) fn of(
        status: StatusCode,
        body: &[u8],
        retry_after: Option<Duration>,
        redact: impl Fn(&str) -> Redacted,
    ) -> Self {
        let (codes, text) = match serde_json::from_slice::<Errors>(body) {
            Ok(Errors { errors }) => codes_and_text(&errors),
            Err(_) => (Vec::new(), String::from_utf8_lossy(body).into_owned()),
        };
        let redacted = redact(text.trim());
        let text = Redacted::own(&redacted.as_str().chars().take(LONGEST_TEXT).collect::<String>());
        Self { status, codes, text, retry_after }
    }

    /// Whether this is one of the codes of the answer.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
    }

    /// Whether the server does not know the method.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self.status.as_u16(), 405 | 501) || self.has_code("UNSUPPORTED")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if !self.codes.is_empty() {
            write!(f, " {}", self.codes.join(", "))?;
        }
        if !self.text.as_str().is_empty() {
            write!(f, " ({})", self.text)?;
        }
        Ok(())
    }
}

fn codes_and_text(errors: &[OneError]) -> (Vec<String>, String) {
    let is_code = |code: &&String| {
        let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(is_part)
    };
    let shown = &errors[..errors.len().min(MOST_ERRORS)];
    let codes = shown.iter().map(|error| &error.code).filter(is_code).cloned().collect();
    let texts: Vec<_> = shown.iter().map(|error| error.message.trim()).filter(|text| !text.is_empty()).collect();
    (codes, texts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::of(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None, Redacted::own)
    }

    #[test]
    fn codes_and_messages_are_shown() {
        for (status, body, expected) in [
            (
                404,
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}"#,
                "404 NAME_UNKNOWN (repository name not known)",
            ),
            (
                400,
                r#"{"errors":[{"code":"A","message":"x"},{"code":"B"},{"message":"z"},{"code":"D"}]}"#,
                "400 A, B (x; z)",
            ),
            (400, r#"{"errors":[{"code":"not a code","message":" x ","detail":{"y":1}}]}"#, "400 (x)"),
            (502, "<html>Bad Gateway</html>\n", "502 (<html>Bad Gateway</html>)"),
            (413, "", "413"),
            (400, r#"{"errors":[]}"#, "400"),
        ] {
            assert_eq!(answer(status, body).to_string(), expected, "{body}");
        }
    }

    #[test]
    fn a_long_text_is_cut_after_it_is_redacted() {
        let body = format!("{}secret", "x".repeat(1000));
        let redact = |text: &str| Redacted::own(&text.replace("secret", "[redacted]"));
        let answer = Answer::of(StatusCode::BAD_REQUEST, body.as_bytes(), None, redact);
        assert_eq!(answer.text.as_str(), "x".repeat(LONGEST_TEXT));
    }

    #[test]
    fn an_answer_says_what_may_follow() {
        for (status, body, temporary, unsupported) in [
            (429, "", true, false),
            (500, "", true, false),
            (501, "", false, true),
            (503, "", true, false),
            (505, "", false, false),
            (405, "", false, true),
            (400, r#"{"errors":[{"code":"UNSUPPORTED"}]}"#, false, true),
            (403, "", false, false),
        ] {
            let answer = answer(status, body);
            assert_eq!((answer.is_temporary(), answer.is_unsupported()), (temporary, unsupported), "{status} {body}");
        }
    }
}
