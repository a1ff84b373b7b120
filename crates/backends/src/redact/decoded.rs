//! A text with its encodings resolved, and where each byte of it comes from.
//!
//! Secrets are looked for in the resolved text too and replaced in the original, so a text without secrets keeps its form.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::names::pattern;

/// How often encodings are resolved: `%2522` and `&amp;quot;` are encoded twice.
const ROUNDS: usize = 3;

/// `&quot;`, `&#34;` and `&#x22;` of HTML; `%22` of URLs; `\u0022` of JSON; `\x22` of Python and C; `\n` of all of them.
static ENCODED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"&(?<name>quot|apos|amp|lt|gt);|&#0*(?<decimal>[0-9]{2,3});",
        r"|(?:&#[xX]0*|%|\\+u00|\\+x)(?<hex>[0-9A-Fa-f]{2});?|\\+(?<blank>[nrt])",
    ))
});

/// A resolved text.
pub(super) struct Decoded {
    pub(super) text: String,
    /// For each byte of the text, and for its end, where its original begins.
    origins: Vec<usize>,
}

impl Decoded {
    /// `None` for a text without encodings.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut decoded: Option<Self> = None;
        for _ in 0..ROUNDS {
            let current = decoded.as_ref().map_or(text, |decoded| &decoded.text);
            if !current.contains(['&', '%', '\\']) {
                break;
            }
            let Some(next) = Self::round(current) else { break };
            decoded = Some(match &decoded {
                None => next,
                Some(before) => {
                    Self { origins: next.origins.iter().map(|at| before.origins[*at]).collect(), text: next.text }
                }
            });
        }
        decoded
    }

    /// Where a part of the resolved text is in the original.
    pub(super) fn origin(&self, part: &Range<usize>) -> Range<usize> {
        self.origins[part.start]..self.origins[part.end]
    }

    fn round(text: &str) -> Option<Self> {
        let mut decoded = Self { text: String::with_capacity(text.len()), origins: Vec::with_capacity(text.len() + 1) };
        let mut copied = 0;
        for captures in ENCODED.captures_iter(text) {
            let (Some(found), Some(character)) = (captures.get(0), character(&captures)) else { continue };
            decoded.copy(text, copied..found.start());
            // A `;` after a percent sign's digits is not part of the encoding.
            let is_entity = found.as_str().starts_with('&');
            copied = if is_entity { found.end() } else { found.start() + found.as_str().trim_end_matches(';').len() };
            decoded.text.push(character);
            decoded.origins.push(found.start());
        }
        if copied == 0 {
            return None;
        }
        decoded.copy(text, copied..text.len());
        decoded.origins.push(text.len());
        Some(decoded)
    }

    fn copy(&mut self, text: &str, part: Range<usize>) {
        self.text.push_str(&text[part.clone()]);
        self.origins.extend(part);
    }
}

/// The visible ASCII character that is encoded, or a space for a line break.
fn character(captures: &Captures<'_>) -> Option<char> {
    if captures.name("blank").is_some() {
        return Some(' ');
    }
    let code = match captures.name("name").map(|name| name.as_str()) {
        Some("quot") => b'"',
        Some("apos") => b'\'',
        Some("lt") => b'<',
        Some("gt") => b'>',
        Some(_) => b'&',
        None => match (captures.name("decimal"), captures.name("hex")) {
            (Some(decimal), _) => decimal.as_str().parse().ok()?,
            (_, Some(hex)) => u8::from_str_radix(hex.as_str(), 16).ok()?,
            _ => return None,
        },
    };
    match code {
        b'\t' | b'\n' | b'\r' => Some(' '),
        b' '..=b'~' => Some(char::from(code)),
        _ => None,
    }
}

/// A percent-encoded text as it was before, if it is UTF-8 then.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
