//! Events on pods: what `kubectl describe pod` shows of each outcome, and of invalid annotations. Missed mutations have a test
//! file of their own.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lab::in_namespace;
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::webhooks::MUTATED;
use serde_json::json;
use snapwatcher_api::keys::DELAY;

/// How many Checkpoints a quota counts.
const CHECKPOINTS: &str = "count/checkpoints.snap.weaversoft.io";

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

#[tokio::test]
async fn the_outcome_of_each_attempt_is_an_event_on_its_pod() {
    let failed = Behaviour::SuccessFalse { message: "no space left on device".to_owned() };
    let rows = [
        ("taken", Behaviour::Succeed, "Checkpointed", "Normal", "` succeeded"),
        ("refused", failed, "BackendFailed", "Warning", "` failed and will be retried: "),
        ("failed", Behaviour::status(500), "BackendError", "Warning", "` failed and will be retried: "),
        ("unauthorized", Behaviour::status(401), "Unauthorized", "Warning", "` failed and will be retried: "),
        ("not-found", Behaviour::status(404), "EndpointNotFound", "Warning", "` failed and will be retried: "),
        ("busy", Behaviour::status(429), "Busy", "Warning", "` failed and will be retried: "),
        ("rejected", Behaviour::status(400), "Rejected", "Warning", "` failed: SnapHook at "),
        ("garbage", Behaviour::Garbage, "InvalidResponse", "Warning", "` is unknown: SnapHook at "),
        ("silent", Behaviour::Hang, "NoResponse", "Warning", "` is unknown: no complete response"),
    ];
    in_namespace("the_outcome_of_each_attempt_is_an_event", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &["--longest-wait", "50ms", "--response-timeout", "2s"]).await;
        let mut uids = Vec::new();
        for (name, behaviour, ..) in &rows {
            ns.snaphook().answer_pod_with(name, behaviour.clone());
            uids.push(ns.create_object(&pod(name).labelled().build()).await.uid().unwrap());
        }
        for ((name, _, reason, kind, words), uid) in rows.iter().zip(&uids) {
            let event = ns.event_of(name, reason).await;
            assert_eq!((event.kind.as_str(), &event.uid), (*kind, uid), "{name}");
            let record = ns.records_of(name).await.remove(0);
            assert_eq!(event.checkpoint.as_deref(), Some(record.name.as_str()), "{name}");
            assert!(event.note.contains(&record.name) && event.note.contains(words), "{name}: {}", event.note);
        }
        ns.snaphook().close_port().await;
        ns.create_object(&pod("unreachable").labelled().build()).await;
        ns.event_of("unreachable", "Unreachable").await;
    })
    .await;
}

#[tokio::test]
async fn the_final_failure_is_an_event_of_its_own() {
    in_namespace("the_final_failure_is_an_event_of_its_own", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &["--longest-wait", "50ms", "--max-attempts", "3"]).await;
        ns.snaphook().answer_with(Behaviour::status(500));
        ns.create_object(&pod("web").labelled().build()).await;
        ns.record_of("web", "Failed(BackendError)").await;
        let notes = ns
            .until("there is an Event for the end too", async || {
                let notes: Vec<_> = ns.events().await.into_iter().map(|event| event.note).collect();
                if notes.len() == 2 { Ok(notes) } else { Err(format!("{notes:?}")) }
            })
            .await;
        let ends = notes.iter().filter(|note| !note.contains("will be retried")).count();
        assert_eq!(ends, 1, "{notes:?}");
    })
    .await;
}

#[tokio::test]
async fn an_attempt_whose_process_was_killed_is_interrupted() {
    in_namespace("an_attempt_whose_process_was_killed", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--instance", "replica-0"]).await;
        ns.snaphook().answer_with(Behaviour::Hang);
        let created = ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        watcher.kill().await.unwrap();
        watcher.start_again().await.unwrap();
        let event = ns.event_of("web", "Interrupted").await;
        assert_eq!((event.kind.as_str(), Some(event.uid)), ("Warning", created.uid()));
    })
    .await;
}

#[tokio::test]
async fn a_manual_checkpoint_that_fails_has_an_event_on_the_pod_it_names() {
    in_namespace("a_manual_checkpoint_that_fails_has_an_event", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.ready_pod(&pod("unlabelled").build()).await;
        ns.ready_pod(&pod("restored").labelled().label(MUTATED, "true").build()).await;
        ns.ready_pod(&pod("web").labelled().containers(["app", "proxy"]).build()).await;
        for (name, spec, reason) in [
            ("unlabelled", json!({"pod": {"name": "unlabelled"}}), "NotLabelled"),
            ("restored", json!({"pod": {"name": "restored"}}), "AlreadyRestored"),
            ("web", json!({"pod": {"name": "web"}, "container": "other"}), "NoSuchContainer"),
        ] {
            ns.apply_checkpoint(&format!("manual-{name}"), &spec).await.unwrap();
            let event = ns.event_of(name, reason).await;
            assert_eq!(event.checkpoint, Some(format!("manual-{name}")));
            assert!(!event.note.contains("will be retried"), "{}", event.note);
        }
    })
    .await;
}

#[tokio::test]
async fn an_invalid_annotation_is_an_event_on_its_pod() {
    in_namespace("an_invalid_annotation_is_an_event", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.ready_pod(&pod("vague").labelled().annotate(DELAY, "soon").build()).await;
        let event = ns.event_of("vague", "InvalidAnnotation").await;
        assert_eq!((event.kind.as_str(), event.checkpoint), ("Warning", None));
        assert!(event.note.contains("not checkpointed") && event.note.contains("soon"), "{}", event.note);
    })
    .await;
}

#[tokio::test]
async fn a_quota_without_checkpoints_is_an_event_on_the_pod_until_it_has_room() {
    in_namespace("a_quota_without_checkpoints", |ns| async move {
        let hard = json!({CHECKPOINTS: "0"});
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": hard}});
        let quota = ns.create_object(&serde_json::from_value::<ResourceQuota>(quota).unwrap()).await;
        let quotas = ns.api::<ResourceQuota>();
        // The quota's controller does not run here.
        let set_status = async |hard: &str| {
            let status = json!({"status": {"hard": {CHECKPOINTS: hard}, "used": {CHECKPOINTS: "0"}}});
            quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        };
        assert!(quota.status.unwrap_or_default().used.is_none(), "a controller writes the status");
        set_status("0").await;
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let created = ns.ready_pod(&pod("web").labelled().build()).await;
        let event = ns.event_of("web", "CheckpointRejected").await;
        assert_eq!((event.kind.as_str(), Some(event.uid), event.checkpoint), ("Warning", created.uid(), None));
        assert!(event.note.contains("exceeded quota: none"), "{}", event.note);
        assert!(ns.records_of("web").await.is_empty() && ns.snaphook().requests().is_empty());

        set_status("1").await;
        ns.record_of("web", "Succeeded").await;
    })
    .await;
}
