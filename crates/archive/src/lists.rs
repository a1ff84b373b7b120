//! Lists and maps of JSON documents with a bounded number of elements.
//!
//! A list of empty objects takes many times its text in memory. With a limit for each list, what is parsed stays within some
//! megabytes whatever the document contains.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The longest list and the largest map. Each Service of a namespace adds seven variables to the environment of a container, and
/// 32,768 are those of 4,681 Services.
const LONGEST: usize = 32_768;

/// A list. `null`, which Go writes for a list that was never made, is an empty one.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

/// A map of texts without a name that comes twice: two readers could take different ones. `null` is an empty map.
pub(crate) fn map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_any(TextsVisitor)
}

/// A value, or its default for `null`.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == LONGEST {
                return Err(A::Error::invalid_length(LONGEST + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, text)) = members.next_entry()? {
            if map.len() == LONGEST {
                return Err(A::Error::invalid_length(LONGEST + 1, &self));
            }
            if map.insert(name, text).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(map)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(json: &str) -> Option<Vec<String>> {
        list(&mut serde_json::Deserializer::from_str(json)).ok()
    }

    fn map_of(json: &str) -> Option<BTreeMap<String, String>> {
        map(&mut serde_json::Deserializer::from_str(json)).ok()
    }

    #[test]
    fn what_go_writes_for_nothing_is_nothing() {
        assert_eq!(list_of("null"), Some(vec![]));
        assert_eq!(map_of("null"), Some(BTreeMap::new()));
        let text: String = or_default(&mut serde_json::Deserializer::from_str("null")).unwrap();
        assert_eq!(text, "");
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        assert_eq!(map_of(r#"{"a":"1","b":"2"}"#).unwrap()["b"], "2");
        assert_eq!(map_of(r#"{"a":"1","a":"1"}"#), None);
        // The same name in another spelling.
        assert_eq!(map_of(r#"{"a":"1","\u0061":"2"}"#), None);
    }

    #[test]
    fn lists_and_maps_have_a_limit() {
        let elements = |count: usize| format!("[{}]", vec!["\"\""; count].join(","));
        assert_eq!(list_of(&elements(LONGEST)).unwrap().len(), LONGEST);
        assert_eq!(list_of(&elements(LONGEST + 1)), None);
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|number| format!("\"{number}\":\"\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(map_of(&members(LONGEST)).unwrap().len(), LONGEST);
        assert_eq!(map_of(&members(LONGEST + 1)), None);
    }
}
