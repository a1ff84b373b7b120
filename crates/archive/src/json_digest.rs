//! The digest of a JSON value, without the value in memory.
//!
//! It does not depend on spaces, on the order of members, or on how a character is written. `serde_json` refuses values that are
//! nested deeper than 128 levels.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

/// The most members of one object. Only their digests are held.
const MEMBERS: usize = 4096;

/// The digest of one value, SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JsonDigest(pub(crate) [u8; 32]);

impl JsonDigest {
    fn of(kind: &[u8], content: &[u8]) -> Self {
        Self(Sha256::new().chain_update(kind).chain_update(content).finalize().into())
    }
}

impl<'de> Deserialize<'de> for JsonDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DigestVisitor)
    }
}

struct DigestVisitor;

impl<'de> Visitor<'de> for DigestVisitor {
    type Value = JsonDigest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(JsonDigest::of(b"null", b""))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(JsonDigest::of(b"bool", &[u8::from(value)]))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(JsonDigest::of(b"unsigned", &value.to_be_bytes()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(JsonDigest::of(b"signed", &value.to_be_bytes()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(JsonDigest::of(b"float", &value.to_bits().to_be_bytes()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(JsonDigest::of(b"text", value.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut digest = Sha256::new().chain_update(b"list");
        while let Some(JsonDigest(element)) = elements.next_element()? {
            digest.update(element);
        }
        Ok(JsonDigest(digest.finalize().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        // The digest of a name replaces it, so that a member takes the same memory however long its name is.
        let mut sorted = BTreeMap::new();
        while let Some(name) = members.next_key::<JsonDigest>()? {
            let JsonDigest(value) = members.next_value()?;
            if sorted.len() == MEMBERS {
                return Err(A::Error::invalid_length(MEMBERS + 1, &self));
            }
            if sorted.insert(name.0, value).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        let mut digest = Sha256::new().chain_update(b"object");
        for (name, value) in sorted {
            digest.update(name);
            digest.update(value);
        }
        Ok(JsonDigest(digest.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(json: &str) -> Option<JsonDigest> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn the_way_in_which_a_value_is_written_does_not_matter() {
        let expected = digest(r#"{"a":[1,"x"],"b":null}"#).unwrap();
        for json in [
            r#"{"b":null,"a":[1,"x"]}"#,
            "{ \"a\": [\n1, \"x\" ], \"b\": null }",
            r#"{"\u0061":[1,"\u0078"],"b":null}"#,
        ] {
            assert_eq!(digest(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn another_value_has_another_digest() {
        let values = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1.5",
            "\"\"",
            "\"1\"",
            "\"null\"",
            "[]",
            "[[]]",
            "[1]",
            "[1,1]",
            "[[1],1]",
            "{}",
            "[{}]",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"b":1}"#,
            r#"{"a":{"a":1}}"#,
            r#"["a",1]"#,
        ];
        for (index, one) in values.iter().enumerate() {
            for other in &values[..index] {
                assert_ne!(digest(one).unwrap(), digest(other).unwrap(), "{one} {other}");
            }
        }
    }

    #[test]
    fn a_value_that_is_too_deep_or_too_wide_or_ambiguous_has_no_digest() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(digest(&deep(100)).is_some());
        assert_eq!(digest(&deep(200)), None);
        assert_eq!(digest(&deep(1_000_000)), None);
        let wide = |members: usize| {
            let members: Vec<_> = (0..members).map(|number| format!("\"{number}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(digest(&wide(MEMBERS)).is_some());
        assert_eq!(digest(&wide(MEMBERS + 1)), None);
        assert_eq!(digest(r#"{"a":1,"a":1}"#), None);
    }
}
