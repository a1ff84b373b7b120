//! Secrets: they are in no debug output, and are removed from the text of others.

use std::fmt;

/// What replaces a secret.
const MARK: &str = "[redacted]";

/// The shortest secret that is looked for in a text: a shorter one is a part of ordinary words.
const SHORTEST: usize = 6;

/// A password or a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret, to send it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

/// A text without these secrets. A server may quote them in a form that no pattern recognizes.
pub(crate) fn without<'s>(secrets: impl IntoIterator<Item = &'s str>, text: &str) -> String {
    let mut secrets: Vec<&str> = secrets.into_iter().filter(|secret| secret.trim().len() >= SHORTEST).collect();
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2".to_owned())), MARK);
    }

    #[test]
    fn long_secrets_are_removed_and_short_ones_kept() {
        let text = without(["secret-1", "secret-12", "ok"], "secret-12 and secret-1 are ok");
        assert_eq!(text, "[redacted] and [redacted] are ok");
    }
}
