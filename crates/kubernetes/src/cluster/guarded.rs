//! An object of a listing or a watch that may be undecodable, without harm for the others.
//!
//! kube's `DeserializeGuard` decodes an object into a tree first, also what nothing reads: most of a pod is that. This
//! one takes the object as text. A watch event may come with its object before its type; serde has then no text any more,
//! but a tree.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use kube::core::{ObjectMeta, Resource};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object without `managedFields`, or what is known of an undecodable one.
#[derive(Debug, Clone)]
pub(super) struct Guarded<K>(pub(super) Result<K, Undecodable>);

#[derive(Debug, Clone)]
pub(super) struct Undecodable {
    /// Name, namespace and version.
    pub(super) metadata: ObjectMeta,
    pub(super) error: String,
}

/// The part that every object has to have.
#[derive(Deserialize)]
struct Identity {
    metadata: IdentityMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityMetadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
}

/// The name by which serde_json's `RawValue` asks for a value as text. It is not public, and a test checks it.
const AS_TEXT: &str = "$serde_json::private::RawValue";

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(AS_TEXT, GuardedVisitor(PhantomData))
    }
}

struct GuardedVisitor<K>(PhantomData<K>);

impl<'de, K: DeserializeOwned + Resource> Visitor<'de> for GuardedVisitor<K> {
    type Value = Guarded<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// serde_json delivers the text as the only value of a map.
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Guarded<K>, M::Error> {
        map.next_key::<IgnoredAny>()?;
        let text: String = map.next_value()?;
        guarded(serde_json::from_str(&text), || serde_json::from_str(&text))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Guarded<K>, D::Error> {
        let tree = Value::deserialize(deserializer)?;
        guarded(K::deserialize(&tree), || Identity::deserialize(&tree))
    }
}

fn guarded<K: Resource, E: serde::de::Error>(
    decoded: serde_json::Result<K>,
    identity: impl FnOnce() -> serde_json::Result<Identity>,
) -> Result<Guarded<K>, E> {
    match decoded {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            Ok(Guarded(Ok(object)))
        }
        Err(error) => {
            let Identity { metadata } = identity().map_err(E::custom)?;
            let IdentityMetadata { name, namespace, resource_version } = metadata;
            let metadata = ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() };
            Ok(Guarded(Err(Undecodable { metadata, error: error.to_string() })))
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|undecodable| &undecodable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|undecodable| &mut undecodable.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;
    use kube::api::WatchEvent;
    use kube::core::ObjectList;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_undecodable_object_of_a_listing_has_name_and_version() {
        let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": [
            {"metadata": {"name": "good", "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {}}}]}, "data": {"a": "b"}},
            {"metadata": {"name": "bad", "namespace": "default", "resourceVersion": "7"}, "data": "no map"},
        ]});
        let list: ObjectList<Guarded<ConfigMap>> = serde_json::from_str(&list.to_string()).unwrap();
        let [good, bad] = list.items.try_into().unwrap();
        assert_eq!(bad.meta().resource_version.as_deref(), Some("7"));
        let good = good.0.unwrap();
        assert_eq!(
            (good.name_any().as_str(), good.metadata.managed_fields, good.data.unwrap().len()),
            ("good", None, 1)
        );
        let bad = bad.0.unwrap_err();
        assert_eq!((bad.metadata.name.as_deref(), bad.metadata.namespace.as_deref()), (Some("bad"), Some("default")));
        assert!(bad.error.contains("invalid type: string"), "{}", bad.error);
    }

    #[test]
    fn an_event_of_a_watch_is_decoded_in_any_order_of_its_fields() {
        for line in [
            r#"{"type":"MODIFIED","object":{"metadata":{"name":"bad","resourceVersion":"7"},"data":1}}"#,
            r#"{"object":{"metadata":{"name":"bad","resourceVersion":"7"},"data":1},"type":"MODIFIED"}"#,
        ] {
            let Ok(WatchEvent::Modified(object)) = serde_json::from_str::<WatchEvent<Guarded<ConfigMap>>>(line) else {
                panic!("not modified: {line}")
            };
            assert_eq!(object.0.unwrap_err().metadata.name.as_deref(), Some("bad"));
        }
    }

    #[test]
    fn serde_json_delivers_an_object_as_text() {
        let undecodable: Guarded<ConfigMap> = serde_json::from_str("{\n\"metadata\": {},\n\"data\": 1}").unwrap();
        let error = undecodable.0.unwrap_err().error;
        assert!(error.contains("line 3"), "a tree has no lines: {error}");
    }

    #[test]
    fn an_object_without_metadata_is_an_error() {
        assert!(serde_json::from_str::<Guarded<ConfigMap>>(r#"{"data": 1}"#).is_err());
    }
}
