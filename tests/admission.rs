//! The mutating webhook behind a real API server: a labeled pod gets the label and the annotation, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EnvVar, Pod, PodSpec};
use kube::ResourceExt;
use kube::api::PostParams;
use lab::objects::pod;
use lab::webhooks::{ADMISSION, MUTATED, SNAP};
use lab::{Namespace, PodStatus, Snapwatcher, in_namespace};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The annotation of a mirror pod, the API server's copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

async fn snapwatcher(ns: &Namespace) -> Arc<Snapwatcher> {
    ns.start_snapwatcher(SNAPWATCHER, &[]).await
}

/// A labeled pod that stays Pending, so that only admission changes it.
fn labelled(name: &str) -> Pod {
    pod(name).labelled().hold().build()
}

fn mutated(pod: &Pod) -> Option<&str> {
    pod.labels().get(MUTATED).map(String::as_str)
}

fn admission(pod: &Pod) -> Option<&str> {
    pod.annotations().get(ADMISSION).map(String::as_str)
}

/// The labels or annotations, except those that admission adds.
fn without_ours(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = |key: &str| [MUTATED, ADMISSION].contains(&key);
    map.iter().filter(|(key, _)| !ours(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn pods_with_and_without_metadata() -> Vec<(&'static str, Pod)> {
    let mut generated = labelled("unused");
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("web-".to_owned());
    let mut bare = labelled("bare");
    bare.metadata.labels = Some(BTreeMap::from([(SNAP.to_owned(), "true".to_owned())]));
    bare.metadata.annotations = None;
    let mut empty = labelled("empty");
    empty.metadata.annotations = Some(BTreeMap::new());
    let others = pod("others").labelled().hold().label("x.example/team", "shop");
    vec![
        ("an ordinary pod", labelled("web")),
        ("generateName", generated),
        ("one label, no annotations", bare),
        ("an empty map of annotations", empty),
        ("other labels and annotations", others.annotate("x.example/y", "line\n\"two\"").build()),
    ]
}

#[tokio::test]
async fn a_labeled_pod_gets_label_and_annotation_whatever_else_it_has() {
    in_namespace("a_labeled_pod_gets_label_and_annotation", |ns| async move {
        snapwatcher(&ns).await;
        for (case, wanted) in pods_with_and_without_metadata() {
            let stored = ns.create_object(&wanted).await;
            assert_eq!(mutated(&stored), Some("false"), "{case}");
            assert!(admission(&stored).is_some_and(|uid| uid.len() == 36), "{case}: {:?}", stored.annotations());
            assert_eq!(without_ours(stored.labels()), *wanted.labels(), "{case}");
            assert_eq!(without_ours(stored.annotations()), *wanted.annotations(), "{case}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_did_not_opt_in_is_unchanged() {
    in_namespace("a_pod_that_did_not_opt_in_is_unchanged", |ns| async move {
        snapwatcher(&ns).await;
        let without_labels = {
            let mut plain = pod("plain").build();
            plain.metadata.labels = None;
            plain
        };
        for (case, wanted) in [
            ("no labels", without_labels),
            ("snap false", pod("opted-out").label(SNAP, "false").build()),
            ("snap True", pod("misspelt").label(SNAP, "True").build()),
            ("only mutated", pod("restored").label(MUTATED, "true").build()),
        ] {
            let stored = ns.create_object(&wanted).await;
            assert_eq!((stored.labels(), admission(&stored)), (wanted.labels(), None), "{case}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_given_mutated_label_is_kept() {
    in_namespace("a_given_mutated_label_is_kept", |ns| async move {
        snapwatcher(&ns).await;
        for value in ["true", "false", "junk", ""] {
            let name = format!("given-{}", if value.is_empty() { "nothing" } else { value });
            let wanted = pod(&name).labelled().hold().label(MUTATED, value).build();
            let stored = ns.create_object(&wanted).await;
            assert_eq!(mutated(&stored), Some(value));
            assert!(admission(&stored).is_some(), "{value}: {:?}", stored.annotations());
        }
    })
    .await;
}

#[tokio::test]
async fn a_copied_pod_gets_the_annotation_of_its_own_admission() {
    in_namespace("a_copied_pod_gets_the_annotation_of_its_own_admission", |ns| async move {
        snapwatcher(&ns).await;
        let original = ns.create_object(&labelled("original")).await;
        let of_original = admission(&original).unwrap();
        let copy = ns.create_object(&pod("copy").labelled().hold().annotate(ADMISSION, of_original).build()).await;
        assert_eq!(mutated(&copy), Some("false"));
        assert!(admission(&copy).is_some_and(|admission| admission != of_original), "{:?}", copy.annotations());
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_returns_the_patched_pod_and_stores_nothing() {
    in_namespace("a_dry_run_returns_the_patched_pod_and_stores_nothing", |ns| async move {
        snapwatcher(&ns).await;
        let pods = ns.api::<Pod>();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let returned = pods.create(&dry_run, &labelled("web")).await.unwrap();
        assert_eq!(mutated(&returned), Some("false"));
        assert!(admission(&returned).is_some(), "{:?}", returned.annotations());
        assert!(pods.get_opt("web").await.unwrap().is_none(), "nothing was stored");
    })
    .await;
}

#[tokio::test]
async fn a_mirror_pod_is_neither_patched_nor_checkpointed() {
    in_namespace("a_mirror_pod_is_neither_patched_nor_checkpointed", |ns| async move {
        snapwatcher(&ns).await;
        let pods = ns.api::<Pod>();
        let on_node = |spec: &mut PodSpec| {
            spec.node_name = Some("node-1".to_owned());
        };
        let wanted = pod("static-web").labelled().hold().annotate(MIRROR, "hash").spec(on_node).build();
        let stored = ns.create_object(&wanted).await;
        assert_eq!((stored.labels(), stored.annotations()), (wanted.labels(), wanted.annotations()));
        PodStatus::ready(&stored).write(&pods, &stored).await.unwrap();
        // A request for a pod that became ready later proves that the mirror pod was skipped and is not just waiting.
        let after = ns.create_object(&labelled("after")).await;
        PodStatus::ready(&after).write(&pods, &after).await.unwrap();
        ns.until_requested("after", 1).await;
        assert!(ns.snaphook().requests_for(ns.name(), "static-web").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_pod_of_a_megabyte_is_patched() {
    in_namespace("a_pod_of_a_megabyte_is_patched", |ns| async move {
        snapwatcher(&ns).await;
        // Annotations are limited to 256 KiB in all, so the environment is large instead.
        let variable = |index: usize| EnvVar {
            name: format!("LARGE_{index}"),
            value: Some("\"\\ä".repeat(25 * 1024)),
            ..EnvVar::default()
        };
        let large = |spec: &mut PodSpec| {
            spec.containers[0].env = Some((0..10).map(variable).collect());
        };
        let wanted = pod("large").labelled().hold().spec(large).build();
        assert!(serde_json::to_vec(&wanted).unwrap().len() > 1024 * 1024);
        let stored = ns.create_object(&wanted).await;
        assert_eq!(mutated(&stored), Some("false"));
        assert!(admission(&stored).is_some());
        assert_eq!(stored.spec.unwrap().containers[0].env, wanted.spec.unwrap().containers[0].env);
    })
    .await;
}

#[tokio::test]
async fn the_timeline_of_a_pod_has_its_admission() {
    in_namespace("the_timeline_of_a_pod_has_its_admission", |ns| async move {
        let watcher = snapwatcher(&ns).await;
        let stored = ns.create_object(&labelled("web")).await;
        let copied = admission(&stored).unwrap();
        let copy = ns.create_object(&pod("copy").labelled().hold().annotate(ADMISSION, copied).build()).await;
        for (pod, by_other_replica) in [(&stored, false), (&copy, false)] {
            let name = pod.name_any();
            ns.until(&format!("the timeline of `{name}` has by_other_replica={by_other_replica}"), async || {
                let shown = watcher.pod_timelines().await.unwrap();
                let timelines = shown["pods"].as_array().cloned().unwrap_or_default();
                let timeline = timelines.iter().find(|timeline| timeline["uid"] == *pod.metadata.uid.as_ref().unwrap());
                timeline.is_some_and(|timeline| timeline["admission"]["by_other_replica"] == by_other_replica)
            })
            .await;
        }
    })
    .await;
}
