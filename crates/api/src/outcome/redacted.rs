//! Text that is safe to show.

use std::fmt;

use crate::text::one_visible_line;

/// A text without secrets, of at most [`Redacted::LIMIT`] characters.
///
/// Logs, Events, statuses and metrics take only this type. There are two ways to make one: `redact` in the back-ends removes
/// the secrets from the text of a back-end, and [`Redacted::own`] takes a text of this program.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// The longest text, in characters; `status.message` has the same limit in the CRD.
    pub const LIMIT: usize = 1024;

    /// Takes a text whose secrets were removed. Only `redact` in the back-ends may call this: clippy.toml forbids it elsewhere.
    pub fn assume_redacted(text: String) -> Self {
        Self(text)
    }

    /// Takes a text of this program that holds no text of a back-end, and cuts it to the limit. Names in it may be any text that
    /// a person wrote into an object, so it becomes one line of visible characters.
    pub fn own(words: &str) -> Self {
        Self(one_visible_line(words).chars().take(Self::LIMIT).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_text_is_one_line_of_visible_characters_within_the_limit() {
        let text = Redacted::own("no pod `a\nERROR forged \u{1b}[31mb\u{202e}`");
        assert_eq!(text.as_str(), "no pod `a ERROR forged b`");
        assert_eq!(Redacted::own(&"é\u{200b}".repeat(2000)).as_str(), "é".repeat(Redacted::LIMIT));
    }
}
