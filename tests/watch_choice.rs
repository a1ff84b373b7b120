//! Checkpoint options of a pod: which containers are checkpointed, and which pods never are.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::objects::pod;
use lab::webhooks::{MUTATED, SNAP};
use lab::{Record, in_namespace};
use snapwatcher_api::keys::{CONTAINERS, DEFAULT_CONTAINER, DELAY, MIRROR, ONCE_PER};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

#[tokio::test]
async fn each_chosen_container_has_a_checkpoint_and_a_block_of_its_own() {
    in_namespace("each_chosen_container_has_a_checkpoint_and_a_block", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let two = |name: &str| pod(name).labelled().containers(["app", "proxy"]);
        let cases: [(&str, Pod, &[&str]); 6] = [
            ("nothing-said", two("nothing-said").build(), &["app"]),
            ("kubectl", two("kubectl").annotate(DEFAULT_CONTAINER, "proxy").build(), &["proxy"]),
            ("kubectl-wrong", two("kubectl-wrong").annotate(DEFAULT_CONTAINER, "gone").build(), &["app"]),
            ("one", two("one").annotate(CONTAINERS, "proxy").build(), &["proxy"]),
            ("several", two("several").annotate(CONTAINERS, "proxy, app").build(), &["app", "proxy"]),
            ("all", two("all").annotate(CONTAINERS, "*").build(), &["app", "proxy"]),
        ];
        for (_, wanted, _) in &cases {
            ns.create_object(wanted).await;
        }
        for (name, _, expected) in &cases {
            ns.until_requested(name, expected.len()).await;
        }
        ns.later_pod_is_requested("later").await;
        for (name, _, expected) in &cases {
            assert_eq!(ns.requested_containers(name), *expected, "{name}");
            let records = ns.records_of(name).await;
            let recorded: BTreeSet<&str> = records.iter().map(Record::container).collect();
            assert_eq!(recorded, expected.iter().copied().collect(), "{name}");
            let blocks = watcher.blocks(ns.name(), name);
            assert_eq!(blocks.len(), expected.len(), "{name}: {blocks:?}");
            for container in *expected {
                let line = format!("\n  Container:  {container}\n");
                assert_eq!(blocks.iter().filter(|block| block.contains(&line)).count(), 1, "{name}: {blocks:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_with_an_invalid_annotation_is_reported_once_and_never_claimed() {
    in_namespace("a_pod_with_an_invalid_annotation_is_reported_once", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let cases = [
            ("no-such", CONTAINERS, "app,nope", "the pod has no container `nope`; its containers are app"),
            ("empty", CONTAINERS, "", "has an empty name"),
            ("late", DELAY, "soon", "`soon`"),
            ("often", ONCE_PER, "week", "`week` is not allowed; write `pod` or `revision`"),
        ];
        for (name, key, value, words) in cases {
            let created = ns.ready_pod(&pod(name).labelled().annotate(key, value).build()).await;
            ns.until(&format!("the timeline of pod `{name}` shows the cause"), async || {
                let timeline = watcher.pod_timeline(&created.uid().unwrap()).await.unwrap().unwrap_or_default();
                let shown = timeline["waiting_for"].as_str().unwrap_or_default();
                let is_shown = shown.starts_with("InvalidAnnotation: ") && shown.contains(words) && shown.contains(key);
                if is_shown { Ok(()) } else { Err(timeline.to_string()) }
            })
            .await;
        }
        ns.later_pod_is_requested("later").await;
        let log = watcher.log();
        for (name, ..) in cases {
            assert_eq!((ns.request_count(name), ns.records_of(name).await), (0, vec![]), "{name}");
            let reported =
                log.lines().filter(|line| line.contains("is not checkpointed") && line.contains(&format!("/{name}")));
            let reported: Vec<&str> = reported.collect();
            assert_eq!(reported.len(), 1, "{reported:?}");
            assert!(reported[0].contains("reason=InvalidAnnotation"), "{reported:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn pods_that_did_not_opt_in_or_run_from_a_checkpoint_are_left_alone() {
    in_namespace("pods_that_did_not_opt_in_or_run_from_a_checkpoint", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let left_alone = [
            pod("plain").build(),
            pod("opted-out").label(SNAP, "false").build(),
            pod("misspelt").label(SNAP, "True").build(),
            pod("restored").labelled().label(MUTATED, "true").build(),
            pod("mirror")
                .labelled()
                .annotate(MIRROR, "x")
                .spec(|spec| spec.node_name = Some("node-1".to_owned()))
                .build(),
        ];
        let requested = [
            pod("original").labelled().label(MUTATED, "false").build(),
            pod("odd").labelled().label(MUTATED, "junk").build(),
        ];
        for wanted in left_alone.iter().chain(&requested) {
            ns.ready_pod(wanted).await;
        }
        for wanted in &requested {
            ns.until_requested(&wanted.name_any(), 1).await;
        }
        ns.later_pod_is_requested("later").await;
        for name in left_alone.iter().map(ResourceExt::name_any) {
            assert_eq!((ns.request_count(&name), ns.records_of(&name).await), (0, vec![]), "{name}");
            assert!(watcher.blocks(ns.name(), &name).is_empty(), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_label_added_later_opts_in_and_removing_it_does_not_undo_a_checkpoint() {
    in_namespace("a_label_added_later_opts_in", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.ready_pod(&pod("convert").build()).await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("convert"), 0);
        ns.label_pod("convert", SNAP, Some("true")).await;
        let record = ns.record_of("convert", "Succeeded").await;

        ns.label_pod("convert", SNAP, None).await;
        ns.label_pod("convert", SNAP, Some("true")).await;
        ns.later_pod_is_requested("last").await;
        assert_eq!(ns.request_count("convert"), 1);
        assert_eq!(ns.records_of("convert").await, [record]);
    })
    .await;
}
