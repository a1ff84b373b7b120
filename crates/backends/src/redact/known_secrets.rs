//! The secrets that a request holds. A server may quote them in a form that no pattern recognizes.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decoded::percent_decoded;
use super::finder::marked;
use super::flat::Flat;
use super::pod_values::{SHORTEST, pod_values};

/// Values of variables and of a query that are no secrets, but are in many error messages, or are members of responses.
const COMMON: [&str; 16] = [
    "127.0.0.1",
    "container",
    "default",
    "development",
    "disabled",
    "enabled",
    "kubernetes",
    "localhost",
    "message",
    "production",
    "snapshot",
    "staging",
    "success",
    "verbose",
    "warning",
    "checkpoint",
];

/// The secrets of one request.
#[derive(Clone, Default)]
pub(crate) struct KnownSecrets {
    /// Token, user and password. They are removed from all that is read of a response.
    credentials: Needles,
    /// Values of the variables of the pod that is sent. They are removed from messages only: the path of an archive may
    /// hold the same text.
    values: Needles,
}

impl KnownSecrets {
    pub(crate) fn of_token(token: &str) -> Self {
        Self { credentials: Needles::of_credentials(&[token.to_owned()]), values: Needles::default() }
    }

    /// The user and password of a URL and what is in its query, as they are there and as they are sent, and a token. A user
    /// without a password is a token.
    pub(crate) fn of_request(url: &Url, token: Option<&str>) -> Self {
        let (user, password) = (url.username(), url.password());
        let mut credentials = vec![password.unwrap_or(user).to_owned()];
        if let Some(password) = password {
            credentials.push(format!("{user}:{password}"));
        }
        credentials.extend(token.map(str::to_owned));
        // Of a parameter without a value, the name can be a key.
        let pairs = url.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or(("", pair)));
        let in_query = pairs.map(|(name, value)| if value.is_empty() { name } else { value });
        credentials.extend(in_query.filter(|value| !COMMON.contains(value)).map(str::to_owned));
        let plus = |secret: &String| secret.replace('+', " ");
        let decoded: Vec<_> = credentials
            .iter()
            .flat_map(|secret| [percent_decoded(secret), percent_decoded(&plus(secret))])
            .flatten()
            .collect();
        credentials.extend(decoded);
        Self { credentials: Needles::of_credentials(&credentials), values: Needles::default() }
    }

    /// These secrets and the values of the variables of this pod. `shown` are names that messages show anyway.
    pub(crate) fn with_pod(mut self, pod: &RawValue, shown: &[&str]) -> serde_json::Result<Self> {
        self.values = Needles::new(&pod_values(pod)?, |value| !COMMON.contains(&value) && !shown.contains(&value));
        Ok(self)
    }

    pub(crate) fn without_credentials(&self, text: &str) -> String {
        self.credentials.without(text)
    }

    pub(crate) fn without_values(&self, text: &str) -> String {
        self.values.without(text)
    }
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownSecrets")
    }
}

/// The forms in which secrets are looked for.
#[derive(Clone, Default)]
struct Needles {
    /// As they are, escaped, and in base64.
    exact: BTreeSet<String>,
    /// Flattened, for a flattened text.
    flat: BTreeSet<String>,
}

impl Needles {
    /// A flattened secret can be a common word: `message+`.
    fn new(secrets: &[String], is_secret: impl Fn(&str) -> bool) -> Self {
        let is_long = |secret: &str| secret.trim().len() >= SHORTEST;
        let long: Vec<&String> = secrets.iter().filter(|secret| is_long(secret) && is_secret(secret)).collect();
        let flat = long.iter().map(|secret| Flat::of(secret).text.trim().to_owned());
        Self {
            exact: long.iter().flat_map(|secret| [escaped(secret), (*secret).clone()]).collect(),
            flat: flat.filter(|flat| is_long(flat) && is_secret(flat)).collect(),
        }
    }

    /// Credentials are also sent, and quoted, in base64. Without padding, it is found with padding too.
    fn of_credentials(credentials: &[String]) -> Self {
        let mut needles = Self::new(credentials, |_| true);
        needles.flat.retain(|flat| !COMMON.contains(&flat.as_str()));
        let encoded = credentials
            .iter()
            .filter(|secret| !secret.is_empty())
            .flat_map(|secret| [STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)])
            .filter(|encoded| encoded.len() >= SHORTEST);
        for encoded in encoded {
            needles.flat.insert(Flat::of(&encoded).text);
            needles.exact.insert(encoded);
        }
        needles
    }

    /// A text with a mark in place of each secret. One may be a part of another, so all are looked for in the same text.
    fn without(&self, text: &str) -> String {
        if self.exact.is_empty() {
            return text.to_owned();
        }
        let mut is_secret = vec![false; text.len()];
        for secret in &self.exact {
            for (at, found) in text.match_indices(secret.as_str()) {
                is_secret[at..at + found.len()].fill(true);
            }
        }
        let flat = Flat::of(text);
        for secret in &self.flat {
            for (at, found) in flat.text.match_indices(secret.as_str()) {
                is_secret[flat.origin(&(at..at + found.len()))].fill(true);
            }
        }
        let mut spans = Vec::new();
        let mut at = 0;
        for part in is_secret.chunk_by(|one, next| one == next) {
            if part[0] {
                spans.push(at..at + part.len());
            }
            at += part.len();
        }
        marked(text, spans)
    }
}

/// As JSON has it inside a string.
fn escaped(secret: &str) -> String {
    let quoted = Value::from(secret).to_string();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
}
