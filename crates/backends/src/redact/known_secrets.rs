//! The secrets that a request holds. A server may quote them in a form that no pattern recognizes.

use std::collections::BTreeSet;
use std::fmt;

use reqwest::Url;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decoded::percent_decoded;
use super::mark::MARK;
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
    credentials: Vec<String>,
    /// Values of the variables of the pod that is sent. They are removed from messages only: the path of an archive may
    /// hold the same text.
    values: Vec<String>,
}

impl KnownSecrets {
    pub(crate) fn of_token(token: &str) -> Self {
        Self { credentials: distinct([token.to_owned()]), values: Vec::new() }
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
        Self { credentials: distinct(credentials), values: Vec::new() }
    }

    /// These secrets and the values of the variables of this pod. `shown` are names that messages show anyway.
    pub(crate) fn with_pod(mut self, pod: &RawValue, shown: &[&str]) -> serde_json::Result<Self> {
        let values = pod_values(pod)?.into_iter();
        let is_secret = |value: &String| !COMMON.contains(&value.as_str()) && !shown.contains(&value.as_str());
        self.values = distinct(values.filter(is_secret));
        Ok(self)
    }

    pub(crate) fn without_credentials(&self, text: &str) -> String {
        without(&self.credentials, text)
    }

    pub(crate) fn without_values(&self, text: &str) -> String {
        without(&self.values, text)
    }
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownSecrets")
    }
}

/// The secrets and their escaped forms, the longest first: one may be a part of another.
fn distinct(secrets: impl IntoIterator<Item = String>) -> Vec<String> {
    let long = secrets.into_iter().filter(|secret| secret.trim().len() >= SHORTEST);
    let forms: BTreeSet<String> = long.flat_map(|secret| [escaped(&secret), secret]).collect();
    let mut forms: Vec<String> = forms.into_iter().collect();
    forms.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    forms
}

/// As JSON has it inside a string.
fn escaped(secret: &str) -> String {
    let quoted = Value::from(secret).to_string();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
}

fn without(secrets: &[String], text: &str) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| {
        if text.contains(secret.as_str()) { text.replace(secret.as_str(), MARK) } else { text }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(pod: &Value) -> Box<RawValue> {
        RawValue::from_string(pod.to_string()).unwrap()
    }

    #[test]
    fn a_password_of_a_url_is_removed_as_written_and_as_sent() {
        let of_url = |url: &str| KnownSecrets::of_request(&url.parse().unwrap(), None);
        let secrets = of_url("http://bob:p%40ss%20word@snaphook/");
        for text in ["bob:p%40ss%20word", "bob:p@ss word", "got p@ss word", "got p%40ss%20word"] {
            let shown = secrets.without_credentials(text);
            assert!(!shown.contains("word"), "{shown}");
        }
        let secrets = of_url("http://my-token@snaphook/");
        assert_eq!(secrets.without_credentials("user my-token"), "user [redacted]");
        let secrets = of_url("http://snaphook/");
        assert_eq!(secrets.without_credentials("snaphook"), "snaphook");
    }

    #[test]
    fn what_is_in_the_query_is_removed_beside_a_token() {
        let url = "http://snaphook/?code=open%2Fsesame+now&only-a-key&mode=success".parse().unwrap();
        let secrets = KnownSecrets::of_request(&url, Some("the-token"));
        for text in ["open%2Fsesame+now", "open/sesame+now", "open/sesame now", "only-a-key", "the-token"] {
            assert_eq!(secrets.without_credentials(&format!("got {text} back")), "got [redacted] back");
        }
        assert_eq!(secrets.without_credentials(r#"{"success": true}"#), r#"{"success": true}"#);
    }

    #[test]
    fn each_value_of_a_variable_is_removed_as_it_is_and_escaped() {
        let pod = json!({"spec": {
            "containers": [{"env": [{"name": "A", "value": "first \"one\"\n"}, {"name": "B", "valueFrom": {}}]}],
            "initContainers": [{"env": [{"name": "C", "value": "second-one"}]}],
        }});
        let secrets = KnownSecrets::default().with_pod(&raw(&pod), &[]).unwrap();
        assert_eq!(secrets.without_values("a first \"one\"\n b"), "a [redacted] b");
        assert_eq!(secrets.without_values(r#"{"x": "first \"one\"\n"}"#), r#"{"x": "[redacted]"}"#);
        assert_eq!(secrets.without_values("second-one"), "[redacted]");
        assert_eq!(secrets.without_credentials("second-one"), "second-one");
    }

    #[test]
    fn short_values_and_common_words_and_shown_names_are_kept() {
        let env = |value: &str| json!({"name": "A", "value": value});
        let pod =
            json!({"spec": {"containers": [{"env": [env("8080"), env("true"), env("production"), env("web-shop")]}]}});
        let text = "true: port 8080 of web-shop in production";
        let known = KnownSecrets::default().with_pod(&raw(&pod), &["web-shop"]).unwrap();
        assert_eq!(known.without_values(text), text);
    }
}
