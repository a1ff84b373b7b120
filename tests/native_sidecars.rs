//! Native sidecars: init containers with `restartPolicy: Always`, which run beside the regular containers.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use lab::objects::pod;
use lab::{PodStatus, in_namespace};
use serde_json::json;
use snapwatcher_api::keys::CONTAINERS;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

#[tokio::test]
async fn a_sidecar_is_checkpointed_only_if_it_is_named() {
    in_namespace("a_sidecar_is_checkpointed_only_if_it_is_named", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let with_sidecar = |name: &str| pod(name).labelled().init_containers(["migrate"], "cache");
        let cases: [(&str, Pod, &[&str]); 4] = [
            ("nothing-said", with_sidecar("nothing-said").build(), &["app"]),
            ("chosen", with_sidecar("chosen").annotate(CONTAINERS, "cache").build(), &["cache"]),
            ("both", with_sidecar("both").annotate(CONTAINERS, "app,cache").build(), &["app", "cache"]),
            ("star", with_sidecar("star").annotate(CONTAINERS, "*").build(), &["app"]),
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
        }
        ns.apply_checkpoint("now", &json!({"pod": {"name": "nothing-said"}, "container": "cache"})).await.unwrap();
        assert_eq!(ns.record_named("now", "Succeeded").await.container(), "cache");
        ns.apply_checkpoint("ended", &json!({"pod": {"name": "chosen"}, "container": "migrate"})).await.unwrap();
        let ended = ns.record_named("ended", "Failed(NoSuchContainer)").await;
        assert!(ended.message().contains("one of its containers: app, cache"), "{}", ended.message());
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_that_does_not_run_is_waited_for() {
    in_namespace("a_sidecar_that_does_not_run_is_waited_for", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let wanted = pod("web").labelled().init_containers([], "cache").annotate(CONTAINERS, "cache").hold().build();
        let web = ns.scheduled(&wanted).await;
        ns.set_status(&web, &PodStatus::ready(&web).waiting("cache")).await;
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("web"), 0);
        ns.set_status(&web, &PodStatus::ready(&web)).await;
        ns.until_requested("web", 1).await;
        assert_eq!(ns.requested_containers("web"), ["cache"]);
    })
    .await;
}

#[tokio::test]
async fn admission_accepts_the_name_of_a_sidecar_and_denies_that_of_another_init_container() {
    in_namespace("admission_accepts_the_name_of_a_sidecar", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &["--validation", "deny"]).await;
        let choosing = |name: &str, container: &str| {
            pod(name).labelled().init_containers(["migrate"], "cache").annotate(CONTAINERS, container).build()
        };
        let wrong = choosing("wrong", "migrate");
        let message = ns
            .until("the API server calls the validating webhook", async || {
                let dry_run = PostParams { dry_run: true, ..PostParams::default() };
                match ns.api::<Pod>().create(&dry_run, &wrong).await {
                    Err(kube::Error::Api(status)) => Ok(status.message),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        assert!(message.contains("no container `migrate`; its containers are app, cache"), "{message}");
        ns.create_object(&choosing("right", "cache")).await;
    })
    .await;
}
