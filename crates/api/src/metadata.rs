//! The metadata of an object that is read, without what nothing reads.
//!
//! Other people write labels, annotations and owner references: one object can have a megabyte of them. They are cut while they
//! are decoded, so that a page of a listing takes little memory whatever it holds.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::checkpoint_name::shortened;
use crate::keys;

/// The labels and annotations that are read of pods and Checkpoints, beside those of [`keys::MESH_PROXIES`]. All others are
/// skipped.
const READ_KEYS: [&str; 14] = [
    keys::SNAP,
    keys::MUTATED,
    keys::POD_TEMPLATE_HASH,
    keys::CONTROLLER_REVISION_HASH,
    keys::CONTAINERS,
    keys::DELAY,
    keys::ONCE_PER,
    keys::ADMISSION,
    keys::MIRROR,
    keys::DEFAULT_CONTAINER,
    keys::WORKLOAD,
    keys::CLAIMED_BY,
    keys::ATTEMPT,
    keys::RESTORE_NAME,
];

/// All keys that are read.
fn read_keys() -> impl Iterator<Item = &'static str> {
    READ_KEYS.into_iter().chain(keys::MESH_PROXIES.map(|(injected, _)| injected))
}

/// The longest value of a label or an annotation that is kept, in bytes. Of a longer one the beginning and a digest are kept:
/// twice what the longest list of container names takes.
pub const LONGEST_VALUE: usize = 8192;

/// The fields of `metadata` that are read. `managedFields` alone can be larger than the rest of a pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<ReadValues>,
    annotations: Option<ReadValues>,
    owner_references: Option<Controllers>,
}

/// For `deserialize_with`.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let ReadMetadata {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        labels,
        annotations,
        owner_references,
    } = ReadMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        labels: labels.map(|ReadValues(labels)| labels),
        annotations: annotations.map(|ReadValues(annotations)| annotations),
        owner_references: owner_references.map(|Controllers(controller)| controller.into_iter().collect()),
        ..ObjectMeta::default()
    })
}

/// Labels or annotations: those of [`read_keys`].
struct ReadValues(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for ReadValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadValuesVisitor)
    }
}

struct ReadValuesVisitor;

impl<'de> Visitor<'de> for ReadValuesVisitor {
    type Value = ReadValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ReadValues, M::Error> {
        let mut values = BTreeMap::new();
        while let Some(key) = map.next_key_seed(ReadKey)? {
            match key {
                Some(key) => {
                    values.insert(key.to_owned(), map.next_value_seed(ReadValue)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(ReadValues(values))
    }
}

/// The key, if it is one of [`read_keys`]. No other key is copied.
struct ReadKey;

impl<'de> DeserializeSeed<'de> for ReadKey {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ReadKey {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(read_keys().find(|read| *read == key))
    }
}

/// A value of at most [`LONGEST_VALUE`] bytes.
struct ReadValue;

impl<'de> DeserializeSeed<'de> for ReadValue {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ReadValue {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(shortened(value, LONGEST_VALUE))
    }
}

/// The owner reference with `controller: true`, if there is one. Kubernetes allows one at most.
struct Controllers(Option<OwnerReference>);

impl<'de> Deserialize<'de> for Controllers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ControllersVisitor)
    }
}

struct ControllersVisitor;

impl<'de> Visitor<'de> for ControllersVisitor {
    type Value = Controllers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of owner references")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut references: S) -> Result<Controllers, S::Error> {
        let mut controller = None;
        while let Some(reference) = references.next_element::<OwnerReference>()? {
            if controller.is_none() && reference.controller == Some(true) {
                controller = Some(reference);
            }
        }
        Ok(Controllers(controller))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decoded(metadata: &Value) -> ObjectMeta {
        read(&mut serde_json::Deserializer::from_str(&metadata.to_string())).unwrap()
    }

    #[test]
    fn labels_and_annotations_that_are_not_read_are_skipped() {
        let many: BTreeMap<String, String> =
            (0..1000).map(|number| (format!("key-{number}"), "v".repeat(100))).collect();
        let (mut labels, mut annotations) = (many.clone(), many);
        labels.insert(keys::SNAP.to_owned(), "true".to_owned());
        annotations.insert(keys::DELAY.to_owned(), "2m".to_owned());
        let metadata = decoded(&json!({"labels": labels, "annotations": annotations}));
        assert_eq!(metadata.labels.unwrap(), BTreeMap::from([(keys::SNAP.to_owned(), "true".to_owned())]));
        assert_eq!(metadata.annotations.unwrap(), BTreeMap::from([(keys::DELAY.to_owned(), "2m".to_owned())]));
    }

    #[test]
    fn a_long_value_is_cut_and_still_differs_from_another() {
        let value = |last: char| {
            let value = format!("{}{last}", "x".repeat(1 << 20));
            decoded(&json!({"annotations": {keys::CONTAINERS: value}})).annotations.unwrap()[keys::CONTAINERS].clone()
        };
        assert_eq!(value('a').len(), LONGEST_VALUE);
        assert_ne!(value('a'), value('b'));
    }

    #[test]
    fn of_the_owner_references_the_controller_is_kept() {
        let other = json!({"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "x"});
        let controller =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true});
        let references = decoded(&json!({"ownerReferences": [other, controller]})).owner_references.unwrap();
        let names: Vec<&str> = references.iter().map(|reference| reference.name.as_str()).collect();
        assert_eq!(names, ["web"]);
        assert!(decoded(&json!({"ownerReferences": []})).owner_references.unwrap().is_empty());
    }

    #[test]
    fn a_value_that_is_no_string_is_an_error() {
        let text = json!({"labels": {keys::SNAP: 1}}).to_string();
        assert!(read(&mut serde_json::Deserializer::from_str(&text)).is_err());
    }
}
