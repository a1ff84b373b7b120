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

#[cfg(test)]
mod tests {
    use super::*;

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
