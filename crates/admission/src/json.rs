//! A quick reader of JSON for reviews as API servers write them, and what writes the strings of answers.
//!
//! Most of a review is not read, yet has to be JSON: skipping it costs serde_json more than everything else that an
//! answer takes. This reader serves the same types through serde and walks over the rest with [`scan`]. It has no errors of
//! its own to tell: what it is not sure about, be it no JSON, another shape, a string to be read that was written with
//! escapes, or a depth that no pod has, is left to serde_json, which has the last word. So it may refuse too much, but what
//! it accepts has to be what serde_json accepts, and has to read the same.

mod block;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::refusal::Refusal;

/// Reads the whole text as one value.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Unsure> {
    let mut reader = Reader { text, at: 0 };
    let value = T::deserialize(&mut reader)?;
    // Only blanks may follow.
    if scan::token(text.as_bytes(), reader.at).is_none() { Ok(value) } else { Err(Unsure) }
}

/// StatusWriter a string as JSON. Most need no escapes.
pub(super) fn quote(text: &str, into: &mut String) -> Result<(), Refusal> {
    if !scan::is_plain(text) {
        into.push_str(&write(text)?);
        return Ok(());
    }
    into.push('"');
    into.push_str(text);
    into.push('"');
    Ok(())
}

pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|source| Refusal::Unwritable { source })
}

/// Whether this is what is asked for has to be found out by serde_json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quick reader is not sure")]
pub(super) struct Unsure;

impl de::Error for Unsure {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
}

impl<'de> Reader<'de> {
    /// The next byte that is no blank; it is not taken.
    #[inline]
    fn token(&mut self) -> Result<u8, Unsure> {
        let (token, at) = scan::token(self.text.as_bytes(), self.at).ok_or(Unsure)?;
        self.at = at;
        Ok(token)
    }

    /// Takes the next token, which has to be this one.
    #[inline]
    fn take(&mut self, expected: u8) -> Result<(), Unsure> {
        if self.token()? != expected {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a string without escapes.
    #[inline]
    fn string(&mut self) -> Result<&'de str, Unsure> {
        self.take(b'"')?;
        let begin = self.at;
        let end = scan::plain(self.text.as_bytes(), begin).ok_or(Unsure)?;
        self.at = end + 1;
        self.text.get(begin..end).ok_or(Unsure)
    }

    fn literal(&mut self, literal: &str) -> Result<(), Unsure> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(literal.as_bytes()) {
            return Err(Unsure);
        }
        self.at += literal.len();
        Ok(())
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unsure;

    /// What no type of ours asks for.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Unsure> {
        Err(Unsure)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        if self.token()? == b't' {
            self.literal("true")?;
            visitor.visit_bool(true)
        } else {
            self.literal("false")?;
            visitor.visit_bool(false)
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        visitor.visit_borrowed_str(self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        if self.token()? == b'n' {
            self.literal("null")?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unsure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        self.take(b'[')?;
        visitor.visit_seq(Parts { reader: self, is_first: true })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        self.take(b'{')?;
        visitor.visit_map(Parts { reader: self, is_first: true })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unsure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsure> {
        self.at = scan::value(self.text.as_bytes(), self.at).ok_or(Unsure)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum
    }
}

/// What stands between the brackets of an array or an object.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    is_first: bool,
}

impl Parts<'_, '_> {
    /// Goes to the next part; `false`: there is none, and the bracket is taken.
    #[inline]
    fn go_on(&mut self, bracket: u8) -> Result<bool, Unsure> {
        let token = self.reader.token()?;
        if token == bracket {
            self.reader.at += 1;
            return Ok(false);
        }
        if !std::mem::take(&mut self.is_first) {
            self.reader.take(b',')?;
        }
        Ok(true)
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Unsure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unsure> {
        if self.go_on(b']')? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Unsure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unsure> {
        if self.go_on(b'}')? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unsure> {
        self.reader.take(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}
