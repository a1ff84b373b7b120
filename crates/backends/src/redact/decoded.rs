//! A text with its encodings resolved, and where each byte of it comes from.
//!
//! Secrets are looked for in the resolved text too and replaced in the original, so a text without secrets keeps its form.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::names::pattern;

/// How often encodings are resolved: `%2522` and `&amp;quot;` are encoded twice.
const ROUNDS: usize = 3;

/// `&quot;`, `&#34;` and `&#x22;` of HTML; `%22` of URLs; `\u0022` of JSON; `\x22` of Python and C; `\u{22}` of Rust; `\n` of all of
/// them; `\/` of PHP. Several bytes of UTF-8 and two halves of UTF-16 are one character.
static ENCODED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"&(?<name>quot|apos|amp|lt|gt);|&#0*(?<decimal>[0-9]{2,7});",
        r"|&#[xX]0*(?<entity>[0-9A-Fa-f]{2,6});|&#[xX]0*(?<open>[0-9A-Fa-f]{2})",
        r"|(?<bytes>(?:%|\\+x)[c-fC-F][0-9A-Fa-f](?:(?:%|\\+x)[89abAB][0-9A-Fa-f]){1,3})|(?:%|\\+x)(?<byte>[0-9A-Fa-f]{2})",
        r"|\\+u(?<high>[dD][89abAB][0-9A-Fa-f]{2})\\+u(?<low>[dD][c-fC-F][0-9A-Fa-f]{2})|\\+u(?<unit>[0-9A-Fa-f]{4})",
        r"|\\+u\{0*(?<braced>[0-9A-Fa-f]{2,6})\}|\\+U(?<long>[0-9A-Fa-f]{8})|\\+(?<blank>[nrt])|\\+(?<slash>/)",
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
            copied = found.end();
            decoded.text.push(character);
            decoded.origins.resize(decoded.text.len(), found.start());
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

/// The visible character that is encoded, or a space for a line break.
fn character(captures: &Captures<'_>) -> Option<char> {
    let group = |name: &str| captures.name(name).map(|found| found.as_str());
    let code = |name: &str, radix: u32| group(name).map(|digits| u32::from_str_radix(digits, radix).ok());
    if group("blank").is_some() {
        return Some(' ');
    }
    if let Some(name) = group("name") {
        return Some(match name {
            "quot" => '"',
            "apos" => '\'',
            "lt" => '<',
            "gt" => '>',
            _ => '&',
        });
    }
    let character = if group("slash").is_some() {
        '/'
    } else if let Some(bytes) = group("bytes") {
        only_character(&percent_decoded(&bytes.replace('\\', "").replace('x', "%"))?)?
    } else if let (Some(high), Some(low)) = (group("high"), group("low")) {
        let halves = [u16::from_str_radix(high, 16).ok()?, u16::from_str_radix(low, 16).ok()?];
        char::decode_utf16(halves).next()?.ok()?
    } else {
        let hex = ["entity", "open", "byte", "unit", "braced", "long"].into_iter().find_map(|name| code(name, 16));
        char::from_u32(code("decimal", 10).or(hex)??)?
    };
    match character {
        '\t' | '\n' | '\r' => Some(' '),
        _ => Some(character).filter(|character| !character.is_control()),
    }
}

fn only_character(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
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
