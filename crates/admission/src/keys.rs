//! The maps of labels and annotations: the values that decide, and keys of ours that nobody reads.
//!
//! Read by hand rather than by serde's derive, which can't collect the keys it does not know without copying all of
//! them.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use snapwatcher_api::keys::{ADMISSION, CONTAINERS, DEFAULT_CONTAINER, DELAY, MIRROR, MUTATED, ONCE_PER, PREFIX, SNAP};

use super::review::Text;

/// Keys this similar are taken for misspelt: so many letters have to change at the most.
const NEAR: usize = 2;
/// The longest key there can be, prefix and all.
const LONGEST: usize = 317;
/// So many keys that are not read are told of one map: a warning is for people.
const MOST: usize = 8;

/// The labels that are read; their keys are those of [`snapwatcher_api::pod`].
#[derive(Debug, Default)]
pub(super) struct Labels<'a> {
    pub(super) snap: Option<Text<'a>>,
    pub(super) mutated: Option<Text<'a>>,
    pub(super) unknown: Vec<String>,
}

/// The annotations that are read; their keys are those of [`snapwatcher_api::pod`].
#[derive(Debug, Default)]
pub(super) struct Annotations<'a> {
    pub(super) admission: Option<Text<'a>>,
    pub(super) mirror: Option<Text<'a>>,
    pub(super) containers: Option<Text<'a>>,
    pub(super) delay: Option<Text<'a>>,
    pub(super) once_per: Option<Text<'a>>,
    pub(super) default_container: Option<Text<'a>>,
    pub(super) unknown: Vec<String>,
}

/// What is told of keys of ours that nobody reads. Another component of SNAP may read them.
pub(super) fn unread(labels: Option<&Labels<'_>>, annotations: Option<&Annotations<'_>>) -> Vec<String> {
    let labels = labels.into_iter().flat_map(|labels| &labels.unknown);
    let annotations = annotations.into_iter().flat_map(|annotations| &annotations.unknown);
    let labels = labels.map(|key| told(key, "label", &[SNAP, MUTATED], "annotation", &[CONTAINERS, DELAY, ONCE_PER]));
    let annotations =
        annotations.map(|key| told(key, "annotation", &[CONTAINERS, DELAY, ONCE_PER], "label", &[SNAP, MUTATED]));
    labels.chain(annotations).collect()
}

fn told(key: &str, kind: &str, known: &[&str], other_kind: &str, others: &[&str]) -> String {
    if others.contains(&key) {
        return format!("{kind} {key} is not read: it is meant as {other_kind}");
    }
    let is_alike = |known: &&&str| key.len().abs_diff(known.len()) <= NEAR;
    let near = known
        .iter()
        .filter(is_alike)
        .map(|&known| (strsim::osa_distance(&key.to_ascii_lowercase(), known), known))
        .min();
    match near.filter(|(distance, _)| *distance <= NEAR) {
        Some((_, known)) => format!("{kind} {key} is not read; did you mean `{}`?", &known[PREFIX.len()..]),
        None => format!("{kind} {key} is not read by SnapWatcher"),
    }
}

/// A map of which some keys are read.
trait Keyed<'a>: Default {
    /// Where the value of that key goes; `None`: it is not read.
    fn slot(&mut self, key: &str) -> Option<&mut Option<Text<'a>>>;
    fn unknown(&mut self) -> &mut Vec<String>;
}

impl<'a> Keyed<'a> for Labels<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<Text<'a>>> {
        match key {
            SNAP => Some(&mut self.snap),
            MUTATED => Some(&mut self.mutated),
            _ => None,
        }
    }

    fn unknown(&mut self) -> &mut Vec<String> {
        &mut self.unknown
    }
}

impl<'a> Keyed<'a> for Annotations<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<Text<'a>>> {
        match key {
            ADMISSION => Some(&mut self.admission),
            MIRROR => Some(&mut self.mirror),
            CONTAINERS => Some(&mut self.containers),
            DELAY => Some(&mut self.delay),
            ONCE_PER => Some(&mut self.once_per),
            DEFAULT_CONTAINER => Some(&mut self.default_container),
            _ => None,
        }
    }

    fn unknown(&mut self) -> &mut Vec<String> {
        &mut self.unknown
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<'a, K>(PhantomData<(&'a (), K)>);

impl<'de: 'a, 'a, K: Keyed<'a>> Visitor<'de> for Reader<'a, K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<K, M::Error> {
        let mut read = K::default();
        while let Some(key) = map.next_key::<Text<'a>>()? {
            match read.slot(&key) {
                Some(Some(_)) => return Err(M::Error::custom("duplicate key")),
                Some(slot) => *slot = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    if key.starts_with(PREFIX) && key.len() <= LONGEST && read.unknown().len() < MOST {
                        read.unknown().push(key.to_string());
                    }
                }
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told_of(labels: &serde_json::Value, annotations: &serde_json::Value) -> Vec<String> {
        let (labels, annotations) = (labels.to_string(), annotations.to_string());
        let labels = serde_json::from_str::<Labels<'_>>(&labels).unwrap();
        let annotations = serde_json::from_str::<Annotations<'_>>(&annotations).unwrap();
        unread(Some(&labels), Some(&annotations))
    }

    #[test]
    fn the_keys_read_are_those_of_the_pod_module() {
        let labels = json!({ SNAP: "1", MUTATED: "2", "app": "web" }).to_string();
        let labels: Labels<'_> = serde_json::from_str(&labels).unwrap();
        assert_eq!((labels.snap.as_deref(), labels.mutated.as_deref()), (Some("1"), Some("2")));
        let annotations = json!({
            ADMISSION: "1", MIRROR: "2", CONTAINERS: "3", DELAY: "4", ONCE_PER: "5", DEFAULT_CONTAINER: "6", "a": "b",
        })
        .to_string();
        let read: Annotations<'_> = serde_json::from_str(&annotations).unwrap();
        let texts =
            [&read.admission, &read.mirror, &read.containers, &read.delay, &read.once_per, &read.default_container];
        assert_eq!(texts.map(Option::as_deref), ["1", "2", "3", "4", "5", "6"].map(Some));
        assert!(labels.unknown.is_empty() && read.unknown.is_empty());
    }

    #[test]
    fn a_misspelt_key_is_told_with_the_one_that_was_meant() {
        for (key, words) in [
            ("snap.weaversoft.io/delays", "did you mean `delay`?"),
            ("snap.weaversoft.io/container", "did you mean `containers`?"),
            ("snap.weaversoft.io/Once_Per", "did you mean `once-per`?"),
            ("snap.weaversoft.io/restore-from", "is not read by SnapWatcher"),
            ("snap.weaversoft.io/snap", "it is meant as label"),
        ] {
            let told = told_of(&json!({}), &json!({ key: "x" }));
            assert!(matches!(&told[..], [one] if one.contains(words) && one.contains(key)), "{key}: {told:?}");
        }
        let told =
            told_of(&json!({"snap.weaversoft.io/mutatd": "false", DELAY: "5s", "snap.other.io/x": "1"}), &json!({}));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|told| told.contains("did you mean `mutated`?")), "{told:?}");
        assert!(told.iter().any(|told| told.contains("it is meant as annotation")), "{told:?}");
    }
}
