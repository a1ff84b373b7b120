//! Each pod or revision is checkpointed once, also when pods and Checkpoints are deleted.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::objects::{deployment, pod};
use lab::snaphook::{Behaviour, Gate};
use lab::{Record, in_namespace};
use serde_json::{Value, json};
use snapwatcher_api::keys::{ATTEMPT, ONCE_PER};
use tokio::sync::mpsc;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

#[tokio::test]
async fn a_pod_created_again_under_its_name_is_another_pod() {
    in_namespace("a_pod_created_again_under_its_name_is_another_pod", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("phoenix").labelled().build()).await;
        let first = ns.record_of("phoenix", "Succeeded").await;
        ns.delete_pod("phoenix").await;
        ns.create_object(&pod("phoenix").labelled().build()).await;
        ns.until_requested("phoenix", 2).await;
        ns.until("both Checkpoints have succeeded", async || {
            let records = ns.records_of("phoenix").await;
            records.len() == 2 && records.iter().all(|record| record.state() == "Succeeded")
        })
        .await;
        let records = ns.records_of("phoenix").await;
        assert!(records.contains(&first), "the first Checkpoint stays: {records:?}");
        assert!(records.iter().all(|record| record.attempt() == 1), "{records:?}");
        assert_ne!(records[0].spec["pod"]["uid"], records[1].spec["pod"]["uid"]);
        assert_eq!(watcher.blocks(ns.name(), "phoenix").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_checkpoint_of_an_eligible_pod_is_created_again() {
    in_namespace("a_deleted_checkpoint_of_an_eligible_pod", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("again").labelled().build()).await;
        let first = ns.record_of("again", "Succeeded").await;
        ns.checkpoints().delete(&first.name, &DeleteParams::default()).await.unwrap();
        ns.until_requested("again", 2).await;
        let second = ns.record_of("again", "Succeeded").await;
        assert_eq!((&second.name, &second.spec), (&first.name, &first.spec), "the name is derived from the pod");
        assert_ne!(second.uid, first.uid);
        let keys = ns.snaphook().requests_for(ns.name(), "again").into_iter();
        let keys: Vec<_> = keys.filter_map(|request| request.idempotency_key().map(str::to_owned)).collect();
        assert_eq!(keys, [format!("{}-0", first.uid), format!("{}-0", second.uid)]);

        ns.delete_pod("again").await;
        ns.checkpoints().delete(&second.name, &DeleteParams::default()).await.unwrap();
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("again"), 2);
        assert_eq!(ns.records_of("again").await, []);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_is_written_before_it_is_sent() {
    in_namespace("an_attempt_is_written_before_it_is_sent", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_with(Behaviour::Wait(gate.clone()));
        let (received, mut requests) = mpsc::unbounded_channel();
        ns.snaphook().on_request(move |request| received.send(request.at).unwrap_or_default());
        ns.start_snapwatcher(SNAPWATCHER, &["--instance", "replica-0"]).await;
        let created = ns.create_object(&pod("careful").labelled().build()).await;

        let requested = requests.recv().await.unwrap();
        let claimed = ns.checkpoints().get(&ns.records_of("careful").await.remove(0).name).await.unwrap();
        let attempt: Value = serde_json::from_str(&claimed.annotations()[ATTEMPT]).unwrap();
        let time = |key: &str| attempt[key].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert!(time("startTime") <= requested && requested < time("deadline"), "{attempt}");
        assert_eq!(attempt["pod"]["uid"].as_str(), created.uid().as_deref());

        // The attempt that takes longer than a second is shown in the status.
        let record = ns.record_of("careful", "InProgress").await;
        assert_eq!(record.attempt(), 1);
        let time = |pointer: &str| record.text(pointer).unwrap().parse::<Timestamp>().unwrap();
        assert!(time("/startTime") <= requested && requested < time("/deadline"), "{record:?}");
        assert_eq!(record.text("/pod/uid"), created.uid().as_deref());
        assert_eq!(record.container(), "app");
        let (instance, boot) = record.text("/holder").unwrap().split_once('/').unwrap();
        assert_eq!(instance, "replica-0");
        assert!(!boot.is_empty());
        gate.open();

        let done = ns.record_of("careful", "Succeeded").await;
        assert_eq!(done.attempt(), 1);
        assert_eq!(done.condition("Failed").unwrap()["status"], "False");
        assert_eq!(done.condition("Complete").unwrap()["status"], "True");
        assert_eq!(done.text("/location/node"), done.text("/pod/node"));
        assert!(done.text("/location/archive").unwrap().contains("careful"), "{done:?}");
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_that_another_client_changes_still_gets_its_outcome() {
    in_namespace("a_checkpoint_that_another_client_changes", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_with(Behaviour::Wait(gate.clone()));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("shared").labelled().build()).await;
        ns.until_requested("shared", 1).await;
        let record = ns.record_of("shared", "InProgress").await;
        let note = Patch::Merge(json!({"metadata": {"annotations": {"note": "kept"}}}));
        ns.checkpoints().patch(&record.name, &PatchParams::default(), &note).await.unwrap();
        gate.open();
        ns.record_of("shared", "Succeeded").await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("shared"), 1);
        assert!(!watcher.log().contains("Could not write the outcome"), "a conflict is no reason for a warning");
        let kept = ns.checkpoints().get(&record.name).await.unwrap();
        assert_eq!(kept.annotations()["note"], "kept");
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_deleted_during_its_attempt_is_created_again_and_waits_for_the_attempt() {
    in_namespace("a_checkpoint_deleted_during_its_attempt", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_pod_with("web", Behaviour::Wait(gate.clone()));
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        let first = ns.record_of("web", "InProgress").await;
        ns.checkpoints().delete(&first.name, &DeleteParams::default()).await.unwrap();
        let second = ns.record_of("web", "Pending").await;
        assert_ne!(second.uid, first.uid);
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("web"), 1, "one request at a time for each container");
        gate.open();
        let second = ns.record_of("web", "Succeeded").await;
        assert_eq!((ns.request_count("web"), second.attempt()), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn once_per_revision_checkpoints_one_pod_of_each_revision() {
    in_namespace("once_per_revision_checkpoints_one_pod", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let wanted = deployment("web").replicas(3).labelled().annotate(ONCE_PER, "revision").build();
        ns.create_object(&wanted).await;
        let pods = ns.pods_made("web", 3).await;
        for pod in &pods {
            ns.pod_ready(pod).await;
        }
        let records = async || ns.records().await.into_iter().filter(|record| !record.is_about("later")).collect();
        let of_revision = async |count: usize| -> Vec<Record> {
            ns.until(&format!("{count} revisions have succeeded"), async || {
                let records: Vec<Record> = records().await;
                let have = records.iter().filter(|record| record.state() == "Succeeded").count();
                if have == count { Ok(records) } else { Err(format!("{records:?}")) }
            })
            .await
        };
        let [first] = of_revision(1).await.try_into().unwrap();
        assert!(first.name.starts_with("web-app-"), "named after the workload: {}", first.name);
        assert_eq!(first.spec["workload"]["kind"], "Deployment");
        assert_eq!(first.workload(), "Deployment/web");
        assert!(pods.contains(first.text("/pod/name").unwrap()));
        let blocks: usize = pods.iter().map(|pod| watcher.blocks(ns.name(), pod).len()).sum();
        assert_eq!(blocks, 1, "of the claims of all pods only the first counts");

        let change = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
        let deployments = ns.api::<Deployment>();
        deployments.patch("web", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
        let both = of_revision(2).await;
        assert!(both.contains(&first));
        ns.later_pod_is_requested("later").await;
        assert_eq!(records().await, both);
        assert_eq!(ns.snaphook().requests().len(), 3, "one for each revision, and the later pod");
        assert_eq!(ns.snaphook().violations(), Vec::<String>::new());
    })
    .await;
}
