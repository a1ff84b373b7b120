//! What `snapwatcher check` says about saving.

use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use lab::objects::pod;
use lab::registry::{Fault, Step};
use lab::{check_command, in_namespace};

use crate::world::{KEYS, SNAPWATCHER, World, flags};

/// State and text of each finding about saving.
async fn findings(world: &World) -> Vec<(String, String)> {
    let flags = flags(&world.registry);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--backend=log", "-o=json"]).collect();
    let arguments = world.ns.check_arguments(&flags);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let kubeconfig = world.ns.access().kubeconfig();
    let checked = check_command::run(SNAPWATCHER.as_ref(), &kubeconfig, &arguments).await.unwrap();
    let findings = checked.findings().unwrap().into_iter().filter(|finding| finding.topic == "snapshot");
    findings.map(|finding| (finding.state, format!("{}: {}", finding.what, finding.seen))).collect()
}

#[tokio::test]
async fn the_check_tests_keys_and_registry_and_names_what_is_missing() {
    in_namespace("the_check_tests_keys", |ns| async move {
        let world = World::start(ns.clone(), &[]).await;
        world.snapshot_of(&pod("web").labelled().build()).await;
        let [agents, keys, registry] = findings(&world).await.try_into().unwrap();
        assert_eq!(
            (agents.0.as_str(), keys.0.as_str(), registry.0.as_str()),
            ("ok", "ok", "ok"),
            "{agents:?} {registry:?}"
        );
        assert!(agents.1.contains("1 Snapshots, 0 saved") && keys.1.contains("1 namespaces"), "{agents:?} {keys:?}");
        assert_eq!(world.registry.open_uploads(), 0, "the upload of the test is left");

        world.registry.fail(Step::BeginUpload, Fault::status(403, "DENIED"));
        ns.api::<Secret>().delete(KEYS, &DeleteParams::default()).await.unwrap();
        let [_, keys, registry] = findings(&world).await.try_into().unwrap();
        assert_eq!((keys.0.as_str(), registry.0.as_str()), ("failed", "failed"));
        assert!(keys.1.contains("does not exist") && registry.1.contains("403"), "{keys:?} {registry:?}");
    })
    .await;
}
