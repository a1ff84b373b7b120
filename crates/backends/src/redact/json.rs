//! Removes secrets from JSON by its structure: alone, inside a text, and inside the strings of other JSON.
//!
//! Parsing resolves escapes, so `"pass\u0077ord"` is a password too. A text whose JSON has no secret stays as it is.

use std::borrow::Cow;

use serde_json::{Deserializer, Map, Value};

use super::mark::MARK;
use super::names;
use super::validators;
use super::yaml;

/// How deep JSON inside strings of JSON is read.
const DEPTH: usize = 4;

/// Members that hold a name, and those that hold its value.
const NAMES: [&str; 4] = ["name", "key", "header", "variable"];
const VALUES: [&str; 11] = [
    "content",
    "default",
    "defaultvalue",
    "invalidvalue",
    "outputvalue",
    "parametervalue",
    "received",
    "rejectedvalue",
    "val",
    "value",
    "values",
];

/// The secret members of a key as JWK has it (RFC 7518, section 6); `kty` shows that it is one.
const JWK: (&str, [&str; 7]) = ("kty", ["d", "dp", "dq", "k", "p", "q", "qi"]);

/// A text with a mark in place of each secret in its JSON.
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    redacted_to(text, DEPTH)
}

fn redacted_to(text: &str, depth: usize) -> Cow<'_, str> {
    // What is no JSON is read again from the next bracket on. This bounds it to a multiple of the text.
    let mut budget = text.len().saturating_mul(8);
    let (mut result, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(start) = text[at..].find(['{', '[']).map(|found| at + found) {
        let mut values = Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(mut value)) => {
                at = start + values.byte_offset();
                if redact_value(&mut value, depth) {
                    result.push_str(&text[copied..start]);
                    result.push_str(&value.to_string());
                    copied = at;
                }
            }
            failed => {
                let read = failed.and_then(Result::err).map_or(1, |error| error.column().max(1));
                let Some(rest) = budget.checked_sub(read) else { break };
                budget = rest;
                at = start + 1;
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    result.push_str(&text[copied..]);
    Cow::Owned(result)
}

/// Replaces the secrets in a value, and returns whether there was one.
fn redact_value(value: &mut Value, depth: usize) -> bool {
    match value {
        Value::Object(members) => redact_members(members, depth),
        Value::Array(items) => {
            // As lists of headers have them. A list of two names is no pair.
            let are_pairs = items.iter().all(is_pair);
            items.iter_mut().fold(false, |changed, item| match item {
                Value::Array(pair) if are_pairs && pair[0].as_str().is_some_and(names::is_secret) => {
                    mask(&mut pair[1], false) | changed
                }
                item => redact_value(item, depth) | changed,
            })
        }
        Value::String(text) => depth > 0 && text.contains(['{', '[', '\n']) && redact_text(text, depth - 1),
        _ => false,
    }
}

/// Replaces the secrets in the JSON and the YAML of a text.
fn redact_text(text: &mut String, depth: usize) -> bool {
    let lines = yaml::redacted(text);
    let redacted = match redacted_to(&lines, depth) {
        Cow::Owned(redacted) => redacted,
        Cow::Borrowed(_) => match lines {
            Cow::Owned(lines) => lines,
            Cow::Borrowed(_) => return false,
        },
    };
    *text = redacted;
    true
}

fn redact_members(members: &mut Map<String, Value>, depth: usize) -> bool {
    let has_secret_name = validators::has_secret_field(members)
        || NAMES.iter().any(|name| member(members, name).and_then(Value::as_str).is_some_and(names::is_secret));
    let has_messages_of_a_secret = validators::has_messages_of_a_secret(members);
    let (key_type, secret_parts) = JWK;
    let is_key = member(members, key_type).is_some();
    members.iter_mut().fold(false, |changed, (name, value)| {
        let lower = name.to_ascii_lowercase();
        let is_opaque = names::is_opaque(name);
        let is_secret = names::is_secret(name)
            || is_opaque
            || (has_secret_name && VALUES.contains(&lower.as_str()))
            || (has_messages_of_a_secret && validators::is_message_with_content(&lower, value))
            || (is_key && secret_parts.contains(&lower.as_str()));
        changed | if is_secret { mask(value, is_opaque) } else { redact_value(value, depth) }
    })
}

/// A member by its name in lower case: Go prints `Name` where Kubernetes has `name`.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn is_pair(item: &Value) -> bool {
    item.as_array().is_some_and(|pair| matches!(pair.as_slice(), [Value::String(_), Value::String(_)]))
}

/// Replaces each string and number below a secret name; `null` and booleans hold no secret, nor does a name with a value
/// beside it. Below other secret names, `name` and `key` refer to an object: `secretKeyRef`.
fn mask(value: &mut Value, is_opaque: bool) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(text) if text.is_empty() || text == MARK => false,
        Value::String(_) | Value::Number(_) => {
            *value = Value::String(MARK.to_owned());
            true
        }
        Value::Array(items) => items.iter_mut().fold(false, |changed, item| mask(item, is_opaque) | changed),
        Value::Object(members) => {
            let has_value = VALUES.iter().chain(&["valuefrom"]).any(|value| member(members, value).is_some());
            let is_reference = !is_opaque && member(members, "name").is_some();
            members.iter_mut().fold(false, |changed, (name, value)| {
                let is_name = NAMES.iter().any(|known| name.eq_ignore_ascii_case(known));
                let is_shown = is_name && (has_value || is_reference);
                (!is_shown && mask(value, is_opaque)) | changed
            })
        }
    }
}
