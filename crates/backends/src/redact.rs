//! Takes the secrets out of a back-end's words.
//!
//! SNAP servers quote the command lines that failed, with the bearer token of their service account and the password of
//! the registry in them. What they say goes to a log, an Event and a status that many may read, so it is cleaned, freed
//! of secrets and only then cut: a secret that is cut in two is no longer recognised.

mod secrets;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use regex::Regex;

use snapwatcher_api::outcome::Redacted;

pub use self::secrets::MARK;

/// How much of a text is looked at, in bytes; as much as is read of an answer.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// Ends a text of which something was cut off.
const ELLIPSIS: char = '…';

/// How often a text is gone over; two passes are the rule.
const PASSES: usize = 16;

/// Colours and cursor movements of a terminal, as in ECMA-48 section 5.4.
static CONTROL_SEQUENCE: LazyLock<Regex> = LazyLock::new(|| secrets::pattern(r"(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]"));

/// Removes secrets and control characters and cuts to [`Redacted::LIMIT`] characters.
///
/// One line comes out of many. Redacting again changes nothing: taking a secret out, or cutting, can lay bare what only
/// then looks like one, so a text is gone over until it stays as it is.
pub fn redact(text: &str) -> Redacted {
    let mut text = cleaned(text);
    for _ in 0..PASSES {
        let next = pass(&text);
        if next == text {
            break;
        }
        text = next;
    }
    Redacted::assume_redacted(text)
}

/// A path or an image reference from an answer, fit to be kept: without user and password, else as it came.
///
/// The digest in an image tag is as random as a secret, so only what can be recognised for certain is taken out. What
/// can't be the name of anything (empty, too long, with control characters) is left out altogether.
pub fn redact_place(text: &str) -> Option<String> {
    let is_name = !text.trim().is_empty()
        && text.chars().count() <= Redacted::LIMIT
        && !text.chars().any(|character| is_break(character) || is_invisible(character));
    is_name.then(|| secrets::without_user_info(text))
}

/// One line of visible characters, at most [`INPUT_LIMIT`] bytes of it.
fn cleaned(text: &str) -> String {
    // Whether more followed can't be told from a text of exactly the limit: readers stop there too.
    let (text, is_cut) = if text.len() < INPUT_LIMIT { (text, false) } else { (whole_words(text), true) };
    let mut clean: String = CONTROL_SEQUENCE
        .replace_all(text, "")
        .chars()
        .filter(|character| !is_invisible(*character))
        .map(|character| if is_break(character) { ' ' } else { character })
        .collect();
    if is_cut {
        clean.push(ELLIPSIS);
    }
    clean
}

/// The start of a text that is too long.
fn whole_words(text: &str) -> &str {
    let mut end = INPUT_LIMIT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    without_last_word(&text[..end])
}

/// What is left of a text that was cut somewhere: its last word may be half a secret.
pub fn without_last_word(text: &str) -> &str {
    text.rfind(char::is_whitespace).map_or("", |space| &text[..space])
}

/// Characters of no width, and those that turn the direction of writing: they hide what a text says.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Takes out the secrets that can be seen, then cuts. An ellipsis at the end is ours and never part of a secret.
fn pass(text: &str) -> String {
    let (body, is_cut) = text.strip_suffix(ELLIPSIS).map_or((text, false), |body| (body, true));
    fitted(secrets::replaced(body), is_cut)
}

fn fitted(mut text: String, is_cut: bool) -> String {
    let mut ends = text.char_indices().map(|(at, _)| at).skip(Redacted::LIMIT - 1);
    // The ellipsis takes the place of the last character allowed, unless that is the end of an uncut text.
    let (last, is_longer) = (ends.next(), ends.next().is_some());
    if let Some(last) = last.filter(|_| is_cut || is_longer) {
        text.truncate(before_mark(&text, last));
        text.push(ELLIPSIS);
    } else if is_cut {
        text.push(ELLIPSIS);
    }
    text
}

/// `end`, or the start of the [`MARK`] that a cut at `end` would go through.
fn before_mark(text: &str, end: usize) -> usize {
    (1..MARK.len())
        .filter_map(|inside| end.checked_sub(inside))
        .find(|start| text.get(*start..).is_some_and(|rest| rest.starts_with(MARK)))
        .unwrap_or(end)
}
