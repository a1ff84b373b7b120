//! Digests of content, and what a manifest is found by.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "sha256:";
const HEX_DIGITS: usize = 64;
const LONGEST_TAG: usize = 128;

/// The SHA-256 digest of a blob or manifest, `sha256:` and 64 hexadecimal digits in lower case. Registries may know other
/// algorithms; this client uses none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

/// A tag of a manifest: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`, see the OCI distribution specification 1.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// What a manifest is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and {HEX_DIGITS} hexadecimal digits in lower case")]
pub struct DigestError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tag has at most {LONGEST_TAG} letters, digits, and `.`, `_`, `-` behind the first character")]
pub struct TagError;

impl Digest {
    /// The digest of this content.
    pub fn of(content: &[u8]) -> Self {
        Self::of_hash(Sha256::digest(content).into())
    }

    /// The digest that a SHA-256 hash is.
    pub fn of_hash(hash: [u8; 32]) -> Self {
        let mut text = String::with_capacity(ALGORITHM.len() + HEX_DIGITS);
        text.push_str(ALGORITHM);
        for byte in hash {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[ALGORITHM.len()..]
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix(ALGORITHM).ok_or(DigestError)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() == HEX_DIGITS && hex.bytes().all(is_hex) { Ok(Self(text.to_owned())) } else { Err(DigestError) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_part = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
        let is_bounded = (1..=LONGEST_TAG).contains(&text.len());
        let is_tag = is_bounded && text.bytes().next().is_some_and(is_word) && text.bytes().all(is_part);
        if is_tag { Ok(Self(text.to_owned())) } else { Err(TagError) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Reference {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_of_the_content() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        assert_eq!(Digest::of(b"").hex(), &EMPTY[7..]);
    }

    #[test]
    fn only_sha256_in_lower_case_is_a_digest() {
        let upper = EMPTY.to_uppercase();
        for text in ["", "sha256:", "sha512:00", &EMPTY[..70], &format!("{EMPTY}0"), &upper, "sha256:../../x"] {
            assert_eq!(text.parse::<Digest>(), Err(DigestError), "{text}");
        }
    }

    #[test]
    fn a_tag_has_no_character_that_changes_a_url() {
        for tag in ["a", "_a", "1.2-3_x", &"x".repeat(128)] {
            assert_eq!(tag.parse::<Tag>().unwrap().as_str(), tag);
        }
        for text in ["", ".a", "-a", "a/b", "a:b", "a?b", "a%2f", "é", &"x".repeat(129)] {
            assert_eq!(text.parse::<Tag>(), Err(TagError), "{text}");
        }
    }
}
