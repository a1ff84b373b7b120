//! Texts of others in errors: names, images and keys that an archive contains.
//!
//! They end in logs and in the status of an object. So they are cut, and characters that a terminal or a page would obey
//! are escaped: control characters, and the invisible ones that change the order of letters.

use std::fmt;

/// The longest text in characters, without the dots that mark a cut.
const LONGEST: usize = 64;

/// A text that another program chose, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign(String);

impl Foreign {
    pub fn new(text: &str) -> Self {
        let mut shown = String::new();
        let mut length = 0;
        for character in text.chars() {
            let piece = escaped(character);
            length += piece.chars().count();
            if length > LONGEST {
                shown.push_str("...");
                break;
            }
            shown.push_str(&piece);
        }
        Self(shown)
    }

    /// Of bytes that need not be text. What is no UTF-8 shows as the replacement character.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        // More bytes can't be shown: a character has four at most.
        let bytes = bytes.get(..4 * LONGEST + 4).unwrap_or(bytes);
        Self::new(&String::from_utf8_lossy(bytes))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn escaped(character: char) -> String {
    match character {
        // The quotes of our own texts are backticks, so these need no escape.
        '"' | '\'' => character.to_string(),
        '`' => "\\`".to_owned(),
        _ => character.escape_debug().to_string(),
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_shown_without_characters_that_a_terminal_obeys() {
        for (text, expected) in [
            ("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
            ("it's \"quoted\"", "it's \"quoted\""),
            ("a`b", "a\\`b"),
            ("a\nb\u{1b}[31m", "a\\nb\\u{1b}[31m"),
            ("a\\b", "a\\\\b"),
            ("exe\u{202e}gpj", "exe\\u{202e}gpj"),
            ("naïve", "naïve"),
            ("", ""),
        ] {
            assert_eq!(Foreign::new(text).as_str(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_foreign_text_is_cut_to_64_characters() {
        let longest = "x".repeat(64);
        assert_eq!(Foreign::new(&longest).as_str(), longest);
        assert_eq!(Foreign::new(&"x".repeat(65)).as_str(), format!("{longest}..."));
        assert_eq!(Foreign::of_bytes(&vec![b'x'; 100_000]).as_str(), format!("{longest}..."));
        // An escape counts with what it shows.
        assert_eq!(Foreign::new(&"\n".repeat(100)).as_str(), format!("{}...", "\\n".repeat(32)));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_all_the_same() {
        assert_eq!(Foreign::of_bytes(b"a\xff\0b").as_str(), "a\u{fffd}\\0b");
    }
}
