//! The keys of the namespaces.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use lab::in_namespace;
use lab::objects::pod;
use serde_json::json;

use crate::world::{KEYS, World};

#[tokio::test]
async fn after_the_key_of_a_namespace_is_deleted_the_next_snapshot_has_another_one() {
    in_namespace("after_the_key_of_a_namespace_is_deleted", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        let first = world.snapshot_of(&pod("a").labelled().build()).await;
        let again = world.snapshot_of(&pod("b").labelled().build()).await;
        assert!(first.spec.recipient.is_some());
        assert_eq!(first.spec.recipient, again.spec.recipient);
        let entries: Vec<String> = world.keys().await.data.unwrap_or_default().into_keys().collect();
        assert_eq!(entries, [ns.name()]);
        let without = Patch::Merge(json!({"data": {ns.name(): null}}));
        ns.api::<Secret>().patch(KEYS, &PatchParams::default(), &without).await.unwrap();
        let later = world.snapshot_of(&pod("c").labelled().build()).await;
        assert!(later.spec.recipient.is_some() && later.spec.recipient != first.spec.recipient);
        let key = world.keys().await.data.unwrap()[ns.name()].0.clone();
        let key = String::from_utf8(key).unwrap();
        assert!(key.starts_with("AGE-SECRET-KEY-1"));
        assert!(!world.watcher.log().contains("AGE-SECRET-KEY"), "no key is in the log");
    })
    .await;
}

#[tokio::test]
async fn without_encryption_there_is_no_key() {
    in_namespace("without_encryption_there_is_no_key", |ns| async move {
        let world = World::start(ns.clone(), &["--snapshot-encryption=none"]).await;
        let snapshot = world.snapshot_of(&pod("web").labelled().build()).await;
        assert_eq!((snapshot.spec.recipient, world.keys().await.data), (None, None));
    })
    .await;
}
