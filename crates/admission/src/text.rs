//! A string that borrows from the request body.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// Borrowed from the body; owned only if the JSON string contains escapes.
///
/// serde borrows a `Cow<str>` only as a field of its own. Inside an `Option` or a map it copies, hence this type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// How many bytes the string in this JSON text has, without decoding it; 0 for any other value.
pub(super) fn decoded_length(json: &str) -> usize {
    let Some(string) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return 0 };
    let mut parts = string.split('\\');
    let mut length = parts.next().map_or(0, str::len);
    while let Some(part) = parts.next() {
        length += match part.as_bytes() {
            // An escaped backslash: the part behind it is no escape.
            [] => 1 + parts.next().map_or(0, str::len),
            [b'u', digits @ ..] => {
                let unit =
                    digits.get(..4).and_then(|digits| u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
                utf8_length(unit.unwrap_or_default()) + digits.len().saturating_sub(4)
            }
            [_, rest @ ..] => 1 + rest.len(),
        };
    }
    length
}

/// The bytes of a code unit of UTF-16 in UTF-8; each half of a pair has two of the four bytes of the pair.
fn utf8_length(unit: u16) -> usize {
    match unit {
        0..=0x7f => 1,
        0x80..=0x7ff | 0xd800..=0xdfff => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_string_is_known_without_decoding_it() {
        for json in [
            r#""""#,
            r#""plain""#,
            "\"w\u{e9}b \u{1F600}\"",
            r#""esc\u0061ped \u00e9 \u20ac \uD83D\uDE00!""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\\u0061 \\\\ \\\u0061""#,
            r#""\\""#,
        ] {
            let decoded: String = serde_json::from_str(json).unwrap();
            assert_eq!(decoded_length(json), decoded.len(), "{json}");
        }
        for json in ["null", "7", "[\"a\"]", "{}"] {
            assert_eq!(decoded_length(json), 0, "{json}");
        }
    }

    #[test]
    fn text_is_borrowed_unless_it_has_escapes() {
        for (json, expected, borrowed) in [
            (r#""plain""#, "plain", true),
            ("\"w\u{e9}b \u{1F600}\"", "w\u{e9}b \u{1F600}", true),
            (r#""esc\u0061ped""#, "escaped", false),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t", false),
            (r#""\uD83D\uDE00""#, "\u{1F600}", false),
        ] {
            let text: Option<Text<'_>> = serde_json::from_str(json).unwrap();
            let text = text.unwrap();
            assert_eq!((&*text, matches!(text.0, Cow::Borrowed(_))), (expected, borrowed), "{json}");
        }
    }

    #[test]
    fn text_that_is_no_json_string_is_an_error() {
        for json in [r#""\uD83D""#, r#""\uDE00\uD83D""#, r#""\x""#, r#""\u12""#, "\"line\nbreak\"", "1", "NaN", "[]"] {
            assert!(serde_json::from_str::<Text<'_>>(json).is_err(), "{json}");
        }
    }
}
