//! The key of one namespace: an identity of age (X25519), see <https://age-encryption.org/v1>.
//!
//! Who has it can read the memory of all containers that were saved of the namespace. It is never shown: it has no `Display`, and
//! its debug output is its public half. age clears the scalar when it is dropped.

use std::fmt;
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use zeroize::Zeroizing;

/// The key.
pub(crate) struct NamespaceKey(Identity);

/// A text that is no key. The text itself is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no identity of age")]
pub(crate) struct NoKey;

impl NamespaceKey {
    pub(crate) fn generate() -> Self {
        Self(Identity::generate())
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, NoKey> {
        let text = std::str::from_utf8(text).map_err(|_| NoKey)?;
        Identity::from_str(text.trim()).map(Self).map_err(|_| NoKey)
    }

    /// The public half.
    pub(crate) fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// What is stored, cleared when it is dropped.
    pub(crate) fn secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_string().expose_secret().as_bytes().to_vec())
    }
}

impl fmt::Debug for NamespaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamespaceKey({})", self.recipient())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_is_read_back_and_is_not_shown() {
        let key = NamespaceKey::generate();
        let secret = key.secret();
        assert!(secret.starts_with(b"AGE-SECRET-KEY-1"));
        let read = NamespaceKey::parse(&[&secret[..], b"\n"].concat()).unwrap();
        assert_eq!(read.recipient(), key.recipient());
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.recipient()) && !shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn the_public_half_is_what_the_spec_of_a_snapshot_accepts() {
        let recipient = NamespaceKey::generate().recipient();
        assert!(recipient.starts_with("age1") && recipient.len() == 62, "{recipient}");
        assert_ne!(NamespaceKey::generate().recipient(), recipient);
    }

    #[test]
    fn another_text_is_no_key_and_is_not_in_the_error() {
        for text in [&b""[..], b"AGE-SECRET-KEY-1", b"secret", b"\xff\xfe"] {
            assert_eq!(NamespaceKey::parse(text).unwrap_err().to_string(), "it is no identity of age");
        }
    }
}
