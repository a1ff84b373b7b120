//! Lists of which only some entries are kept, decoded entry by entry. A list of hundreds of thousands fits into a pod.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Gives each entry of a list to `take`, until it breaks; the rest is skipped. `null` is an empty list.
pub fn read_entries<'de, D, T>(deserializer: D, take: impl FnMut(T) -> ControlFlow<()>) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_option(Entries { take, entry: PhantomData })
}

/// The first `MOST` entries of a list, for `deserialize_with`.
pub fn first_entries<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let mut first = Vec::new();
    read_entries(deserializer, |entry| push(&mut first, entry, MOST))?;
    Ok(first)
}

/// Adds an entry to a list of at most `most` entries, and breaks when it is full.
pub fn push<T>(entries: &mut Vec<T>, entry: T, most: usize) -> ControlFlow<()> {
    if entries.len() < most {
        entries.push(entry);
    }
    if entries.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

struct Entries<T, F> {
    take: F,
    entry: PhantomData<fn() -> T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> ControlFlow<()>> Visitor<'de> for Entries<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut entries: S) -> Result<(), S::Error> {
        while let Some(entry) = entries.next_element()? {
            if (self.take)(entry).is_break() {
                while entries.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn first_two(list: &serde_json::Value) -> Result<Vec<String>, serde_json::Error> {
        first_entries::<_, _, 2>(&mut serde_json::Deserializer::from_str(&list.to_string()))
    }

    #[test]
    fn the_first_entries_of_a_list_are_kept_and_all_are_read() {
        for (list, expected) in [
            (json!(null), &[][..]),
            (json!([]), &[]),
            (json!(["a"]), &["a"]),
            (json!(["a", "b", "c", {"any": [1]}]), &["a", "b"]),
        ] {
            assert_eq!(first_two(&list).unwrap(), expected, "{list}");
        }
        let mut two_lists = serde_json::Deserializer::from_str(r#"["a", "b", "c"] ["d"]"#);
        assert_eq!(first_entries::<_, String, 2>(&mut two_lists).unwrap(), ["a", "b"]);
        assert_eq!(first_entries::<_, String, 2>(&mut two_lists).unwrap(), ["d"]);
    }

    #[test]
    fn anything_else_than_a_list_is_an_error() {
        for value in [json!("a"), json!({}), json!([1])] {
            assert!(first_two(&value).is_err(), "{value}");
        }
    }
}
