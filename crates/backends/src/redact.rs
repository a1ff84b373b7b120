//! Removes secrets from the text of a back-end.
//!
//! SNAP servers quote the command lines that failed, with the bearer token of their service account and the password of the
//! registry in them. Their text goes to logs, Events and statuses that many people may read. So it is cleaned first, then
//! redacted, and only then cut: half a secret is no longer recognized.
//!
//! Secrets that a request holds are known and removed as they are (`KnownSecrets`), JSON is redacted by its structure, and
//! all text by the forms of secrets that are known. A secret of another form is not recognized.

mod commands;
mod decoded;
mod finder;
mod flat;
mod forms;
mod json;
mod known_secrets;
mod mark;
mod names;
mod ordinary;
mod pod_values;
mod random;
mod secret_like;
#[cfg(test)]
mod tests;
mod validators;
mod values;
mod variables;
mod yaml;

use snapwatcher_api::outcome::Redacted;
use snapwatcher_api::text::{is_break, is_invisible, one_visible_line};

pub(crate) use self::known_secrets::KnownSecrets;
pub use self::mark::MARK;

/// How much of a text is redacted, in bytes; the rest is dropped. As much is read of a response.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// The end of a text that was cut.
const ELLIPSIS: char = '…';

/// Where a query, a fragment or a parameter begins: as typed, or percent-encoded. No path and no image reference needs one.
const AFTER_PLACE: [&str; 7] = ["?", "#", "&", "%3f", "%3F", "%23", "%26"];

/// The most passes over one text. Two are normal.
const PASSES: usize = 16;

/// Removes secrets and control characters and cuts to [`Redacted::LIMIT`] characters.
///
/// The result is one line. Removing a secret, or cutting, can expose text that then looks like a secret. So passes are
/// repeated until the text stays the same, and redacting the result again changes nothing.
pub fn redact(text: &str) -> Redacted {
    let mut text = cleaned(text);
    for _ in 0..PASSES {
        let next = pass(&text);
        if next == text {
            break;
        }
        text = next;
    }
    assume_redacted(text)
}

#[expect(clippy::disallowed_methods, reason = "the text was redacted, which only this module can know")]
fn assume_redacted(text: String) -> Redacted {
    Redacted::assume_redacted(text)
}

/// Removes user and password from a path or an image reference of a response, and the query, where the signature of an
/// address is.
///
/// An image digest looks as random as a secret, so nothing else is removed. The result is `None` for a text that can't be a
/// path or an image reference: empty, too long, or with control characters.
pub fn redact_place(text: &str) -> Option<String> {
    // User and password first: a password can have these signs.
    let text = finder::without_user_info(text);
    let end = AFTER_PLACE.iter().filter_map(|sign| text.find(sign)).min().unwrap_or(text.len());
    let text = &text[..end];
    let is_name = !text.trim().is_empty()
        && text.chars().count() <= Redacted::LIMIT
        && !text.chars().any(|character| is_break(character) || is_invisible(character));
    is_name.then(|| text.to_owned())
}

/// One line of visible characters, at most [`INPUT_LIMIT`] bytes of it.
fn cleaned(text: &str) -> String {
    // A reader of a response stops at the limit too, so a text of exactly the limit may be cut.
    let (text, is_cut) = if text.len() < INPUT_LIMIT { (text, false) } else { (whole_words(text), true) };
    let mut clean = one_visible_line(&yaml::redacted(text));
    if is_cut {
        clean.push(ELLIPSIS);
    }
    clean
}

/// The whole words at the start of a text that is too long.
fn whole_words(text: &str) -> &str {
    let mut end = INPUT_LIMIT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    without_last_word(&text[..end])
}

/// Drops the last word of a text that was cut: it may be half a secret.
pub fn without_last_word(text: &str) -> &str {
    text.rfind(char::is_whitespace).map_or("", |space| &text[..space])
}

/// Removes the secrets that are recognized, then cuts. An ellipsis at the end comes from an earlier pass.
fn pass(text: &str) -> String {
    let (body, is_cut) = text.strip_suffix(ELLIPSIS).map_or((text, false), |body| (body, true));
    fitted(finder::replaced(&json::redacted(body)), is_cut)
}

fn fitted(mut text: String, is_cut: bool) -> String {
    let mut ends = text.char_indices().map(|(at, _)| at).skip(Redacted::LIMIT - 1);
    // The ellipsis replaces the last allowed character, unless the text ends there and was not cut.
    let (last, is_longer) = (ends.next(), ends.next().is_some());
    if let Some(last) = last.filter(|_| is_cut || is_longer) {
        text.truncate(before_mark(&text, last));
        text.push(ELLIPSIS);
    } else if is_cut {
        text.push(ELLIPSIS);
    }
    text
}

/// `end`, or the start of a [`MARK`] that a cut at `end` would split.
fn before_mark(text: &str, end: usize) -> usize {
    (1..MARK.len())
        .filter_map(|inside| end.checked_sub(inside))
        .find(|start| text.get(*start..).is_some_and(|rest| rest.starts_with(MARK)))
        .unwrap_or(end)
}
