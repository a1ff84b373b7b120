//! The metadata of an object that is read, without what nothing reads.
//!
//! Other people write labels, annotations and owner references: one object can have a megabyte of them. They are cut while they
//! are decoded, so that a page of a listing takes little memory whatever it holds.

mod values;

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use values::ReadValues;

pub use values::LONGEST_VALUE;

/// How many other labels, and how many other annotations, of a pod are kept until its facts are known: one of them can name the
/// revision of the pod. Which one is known later.
const MOST_OTHERS: usize = 64;

/// An object of any kind, of which only the metadata is read.
#[derive(Debug, Clone, Deserialize)]
pub struct ObjectMetadata {
    #[serde(deserialize_with = "read")]
    pub metadata: ObjectMeta,
}

/// The fields of `metadata` that are read, with so many other labels and annotations. `managedFields` alone can be larger than the
/// rest of a pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadMetadata<const OTHERS: usize> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<ReadValues<OTHERS>>,
    annotations: Option<ReadValues<OTHERS>>,
    owner_references: Option<Controllers>,
}

/// Of any object, for `deserialize_with`.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    read_with_others::<D, 0>(deserializer)
}

/// Of a pod, with the labels and annotations that can name its revision.
pub(crate) fn read_of_pod<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    read_with_others::<D, MOST_OTHERS>(deserializer)
}

fn read_with_others<'de, D: Deserializer<'de>, const OTHERS: usize>(deserializer: D) -> Result<ObjectMeta, D::Error> {
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
    } = ReadMetadata::<OTHERS>::deserialize(deserializer)?;
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
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::values::LONGEST_KEY;
    use super::*;
    use crate::keys;
    use crate::pod::revision::is_revision;

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
    fn of_a_pod_64_other_labels_and_annotations_are_kept_that_can_name_its_revision() {
        let mut many: BTreeMap<String, String> =
            (0..1000).map(|number| (format!("key-{number:03}"), format!("v{number}"))).collect();
        for (key, value) in [("a", "x".repeat(64)), ("b", "no value".to_owned()), ("c", String::new())] {
            many.insert(key.to_owned(), value);
        }
        many.insert("k".repeat(LONGEST_KEY + 1), "1".to_owned());
        many.insert(keys::SNAP.to_owned(), "true".to_owned());
        let text = json!({"labels": many, "annotations": many}).to_string();
        let metadata = read_of_pod(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        for kept in [metadata.labels.unwrap(), metadata.annotations.unwrap()] {
            assert_eq!((kept.len(), kept[keys::SNAP].as_str()), (MOST_OTHERS + 1, "true"));
            assert!(kept.values().all(|value| is_revision(value)), "{kept:?}");
        }
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
