//! Strings that are looked at while they are decoded, and copied only as far as they are kept.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Visitor};

/// What `read` makes of a string. `expected` says in an error what the string is.
pub(crate) struct DecodedText<F> {
    pub(crate) expected: &'static str,
    pub(crate) read: F,
}

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for DecodedText<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for DecodedText<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok((self.read)(text))
    }
}
