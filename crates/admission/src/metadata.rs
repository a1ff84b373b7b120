//! A pod's metadata, as far as admission reads it: name, labels and annotations.
//!
//! The two maps have deserializers of their own: serde's derive cannot collect unknown keys without copying all of them.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use snapwatcher_api::keys::{
    ADMISSION, CONTAINERS, DEFAULT_CONTAINER, DELAY, MESH_PROXIES, MIRROR, MUTATED, ONCE_PER, PREFIX, REVISION_LABEL,
    SNAP,
};

use super::text::{Text, decoded_length};

/// How many bytes the keys and values of all annotations of an object may have together, see
/// <https://github.com/kubernetes/apimachinery/blob/v0.33.0/pkg/api/validation/objectmeta.go#L36>.
const MAX_ANNOTATIONS_SIZE: usize = 256 * 1024;
/// The longest valid key: a prefix of 253 characters, a slash, and a name of 63.
const MAX_KEY_LENGTH: usize = 317;
/// How many unknown keys of a map are kept: people read the warnings about them.
const MAX_UNKNOWN_KEYS: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    generate_name: Option<Text<'a>>,
    /// `None` if the map is absent or null. A JSONPatch must then add the map before a key in it.
    #[serde(borrow)]
    pub(super) labels: Option<Labels<'a>>,
    /// `None` as for the labels.
    #[serde(borrow)]
    pub(super) annotations: Option<Annotations<'a>>,
}

/// The labels that admission reads, by the keys of [`snapwatcher_api::pod`].
#[derive(Debug, Default)]
pub(super) struct Labels<'a> {
    pub(super) snap: Option<Text<'a>>,
    pub(super) mutated: Option<Text<'a>>,
    /// Other keys with our prefix.
    pub(super) unknown: Vec<String>,
}

/// The annotations that admission reads, by the keys of [`snapwatcher_api::pod`].
#[derive(Debug, Default)]
pub(super) struct Annotations<'a> {
    pub(super) admission: Option<Text<'a>>,
    pub(super) mirror: Option<Text<'a>>,
    pub(super) containers: Option<Text<'a>>,
    pub(super) delay: Option<Text<'a>>,
    pub(super) once_per: Option<Text<'a>>,
    pub(super) revision_label: Option<Text<'a>>,
    pub(super) default_container: Option<Text<'a>>,
    /// Those of [`MESH_PROXIES`], each once.
    pub(super) meshes: Vec<&'static str>,
    /// Of all keys and values together, in bytes.
    size: usize,
    /// Other keys with our prefix.
    pub(super) unknown: Vec<String>,
}

impl Annotations<'_> {
    /// Whether the API server accepts the annotation [`ADMISSION`] with this value, in place of the one that there may be. It
    /// rejects a pod with too large annotations.
    pub(super) fn have_room_for_admission(&self, value: &str) -> bool {
        let before = self.admission.as_deref().map_or(0, |before| ADMISSION.len() + before.len());
        self.size.saturating_sub(before).saturating_add(ADMISSION.len() + value.len()) <= MAX_ANNOTATIONS_SIZE
    }
}

impl Metadata<'_> {
    /// The name, or the prefix from which the API server will generate it.
    pub(super) fn name(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(self.generate_name.as_deref()).unwrap_or_default()
    }

    /// The prefix from which the API server generates names, else the name: the same for all pods of a template.
    ///
    /// A validating webhook sees a generated name, so the prefix goes first.
    pub(super) fn template_name(&self) -> &str {
        self.generate_name.as_deref().filter(|prefix| !prefix.is_empty()).unwrap_or_else(|| self.name())
    }

    /// Whether the pod is the API server's copy of a static pod.
    pub(super) fn is_mirror(&self) -> bool {
        self.annotations.as_ref().is_some_and(|annotations| annotations.mirror.is_some())
    }
}

/// A map of strings of which some keys are read.
trait KnownKeys<'a>: Default {
    /// Where the value of `key` is stored; `None` for a key that is not read.
    fn field(&mut self, key: &str) -> Option<&mut Option<Text<'a>>>;
    fn unknown(&mut self) -> &mut Vec<String>;
    /// Takes note of a key that has no field, and whose value is not read.
    fn note(&mut self, key: &str);
    /// A key and its value have this many bytes.
    fn add_size(&mut self, bytes: usize);
}

impl<'a> KnownKeys<'a> for Labels<'a> {
    fn field(&mut self, key: &str) -> Option<&mut Option<Text<'a>>> {
        match key {
            SNAP => Some(&mut self.snap),
            MUTATED => Some(&mut self.mutated),
            _ => None,
        }
    }

    fn unknown(&mut self) -> &mut Vec<String> {
        &mut self.unknown
    }

    fn note(&mut self, _: &str) {}

    /// Labels have no limit together.
    fn add_size(&mut self, _: usize) {}
}

impl<'a> KnownKeys<'a> for Annotations<'a> {
    fn field(&mut self, key: &str) -> Option<&mut Option<Text<'a>>> {
        match key {
            ADMISSION => Some(&mut self.admission),
            MIRROR => Some(&mut self.mirror),
            CONTAINERS => Some(&mut self.containers),
            DELAY => Some(&mut self.delay),
            ONCE_PER => Some(&mut self.once_per),
            REVISION_LABEL => Some(&mut self.revision_label),
            DEFAULT_CONTAINER => Some(&mut self.default_container),
            _ => None,
        }
    }

    fn unknown(&mut self) -> &mut Vec<String> {
        &mut self.unknown
    }

    fn note(&mut self, key: &str) {
        let mesh = MESH_PROXIES.iter().map(|(injected, _)| *injected).find(|injected| *injected == key);
        self.meshes.extend(mesh.filter(|mesh| !self.meshes.contains(mesh)));
    }

    fn add_size(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(bytes);
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KnownKeysVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KnownKeysVisitor(PhantomData))
    }
}

struct KnownKeysVisitor<'a, K>(PhantomData<(&'a (), K)>);

impl<'de: 'a, 'a, K: KnownKeys<'a>> Visitor<'de> for KnownKeysVisitor<'a, K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<K, M::Error> {
        let mut keys = K::default();
        while let Some(key) = map.next_key::<Text<'a>>()? {
            let value_length = match keys.field(&key) {
                Some(Some(_)) => return Err(M::Error::custom("duplicate key")),
                Some(field) => {
                    *field = map.next_value()?;
                    field.as_deref().map_or(0, str::len)
                }
                None => {
                    // Neither checked nor copied.
                    let value: &'a RawValue = map.next_value()?;
                    let is_ours = key.starts_with(PREFIX) && key.len() <= MAX_KEY_LENGTH;
                    if is_ours && keys.unknown().len() < MAX_UNKNOWN_KEYS {
                        keys.unknown().push(key.to_string());
                    }
                    keys.note(&key);
                    decoded_length(value.get())
                }
            };
            keys.add_size(key.len() + value_length);
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_keys_of_the_pod_module_are_read() {
        let labels = json!({ SNAP: "1", MUTATED: "2", "app": "web" }).to_string();
        let labels: Labels<'_> = serde_json::from_str(&labels).unwrap();
        assert_eq!((labels.snap.as_deref(), labels.mutated.as_deref()), (Some("1"), Some("2")));
        let annotations = json!({
            ADMISSION: "1", MIRROR: "2", CONTAINERS: "3", DELAY: "4", ONCE_PER: "5", DEFAULT_CONTAINER: "6",
            REVISION_LABEL: "7", "a": "b",
        })
        .to_string();
        let read: Annotations<'_> = serde_json::from_str(&annotations).unwrap();
        let texts = [
            &read.admission,
            &read.mirror,
            &read.containers,
            &read.delay,
            &read.once_per,
            &read.default_container,
            &read.revision_label,
        ];
        assert_eq!(texts.map(Option::as_deref), ["1", "2", "3", "4", "5", "6", "7"].map(Some));
        assert!(labels.unknown.is_empty() && read.unknown.is_empty());
    }

    #[test]
    fn a_key_or_value_with_escapes_is_the_same_as_without() {
        let labels: Labels<'_> =
            serde_json::from_str(r#"{"snap.weaversoft.io\/sn\u0061p": "tr\u0075e", "\"quo\\ted\"": "x\n"}"#).unwrap();
        assert_eq!(labels.snap.as_deref(), Some("true"));
    }

    #[test]
    fn a_known_key_twice_is_an_error_and_an_unknown_one_is_not() {
        for (json, is_valid) in [
            (r#"{"snap.weaversoft.io/snap": "true", "snap.weaversoft.io/snap": "true"}"#, false),
            (r#"{"snap.weaversoft.io/snap": "true", "snap.weaversoft.io/sn\u0061p": "false"}"#, false),
            (r#"{"app": "web", "app": "shop"}"#, true),
        ] {
            assert_eq!(serde_json::from_str::<Labels<'_>>(json).is_ok(), is_valid, "{json}");
        }
    }

    #[test]
    fn the_unknown_keys_that_are_kept_are_bounded_in_number_and_length() {
        let mut keys: Vec<String> = (0..100).map(|number| format!("\"{PREFIX}{number}\": \"\"")).collect();
        keys.insert(0, format!("\"{PREFIX}{}\": \"\"", "x".repeat(MAX_KEY_LENGTH)));
        let json = format!("{{{}}}", keys.join(","));
        let labels: Labels<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!(labels.unknown.len(), MAX_UNKNOWN_KEYS);
        assert!(labels.unknown.iter().all(|key| key.len() <= MAX_KEY_LENGTH), "{:?}", labels.unknown);
    }

    #[test]
    fn the_size_of_annotations_is_that_of_all_keys_and_values() {
        let size = |json: &str| serde_json::from_str::<Annotations<'_>>(json).unwrap().size;
        for (json, expected) in [
            ("{}", 0),
            (r#"{"a": "bc", "d": ""}"#, 4),
            (r#"{"a": "\"\u00e9\ud83d\ude00\n"}"#, 1 + 1 + 2 + 4 + 1),
            (r#"{"a": null, "b": 7, "c": {"d": "e"}}"#, 3),
        ] {
            assert_eq!(size(json), expected, "{json}");
        }
        assert_eq!(size(&json!({ DELAY: "5s", "app": "web" }).to_string()), DELAY.len() + 2 + 6);
    }
}
