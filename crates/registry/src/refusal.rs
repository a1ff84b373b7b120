//! Reads what a server says when it refuses a request, and removes secrets from it.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use snapwatcher_api::outcome::Redacted;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::retry_after::retry_after;

use crate::answer::{Answer, LONGEST_BODY, LONGEST_RETRY_AFTER};
use crate::http::{Oversized, read_at_most};
use crate::secret::{Secret, without};

/// How refusals are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    pub(crate) redact: fn(&str) -> Redacted,
    /// How long a body may take.
    pub(crate) silence: Duration,
}

impl Refusals {
    /// The answer of a response. `secrets` are what the request held. A body that does not arrive changes nothing: the status
    /// is known.
    pub(crate) async fn read(&self, response: &mut Response, secrets: &[Secret]) -> Answer {
        let status = response.status();
        let value = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = value.and_then(|value| retry_after(value, clock::now(), LONGEST_RETRY_AFTER));
        let body = match read_at_most(response, LONGEST_BODY, self.silence).await {
            Ok(Oversized::Whole(body)) => String::from_utf8_lossy(&body).into_owned(),
            Ok(Oversized::Yes(start)) => without_last_word(&String::from_utf8_lossy(&start)).to_owned(),
            Err(_) => String::new(),
        };
        let body = without(secrets.iter().map(Secret::reveal), &body);
        Answer::of(status, body.as_bytes(), wait, self.redact)
    }
}

/// Drops the last word of a text that was cut: it may be half a secret.
fn without_last_word(text: &str) -> &str {
    text.rfind(char::is_whitespace).map_or("", |space| &text[..space])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_word_at_the_end_is_dropped() {
        assert_eq!(["a b secr", "secr", ""].map(without_last_word), ["a b", "", ""]);
    }
}
