//! Which namespaces are watched, and what happens when one of them is deleted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use kube::config::Kubeconfig;
use lab::objects::{deployment, pod};
use lab::snaphook::{Behaviour, Gate};
use lab::{Cluster, Namespace, Options, SnapwatcherOptions, crd, in_namespace, in_namespace_of};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

#[tokio::test]
async fn only_the_named_namespaces_are_watched() {
    in_namespace("watched-a", |a| async move {
        in_namespace("watched-b", |b| async move {
            in_namespace("not-watched", |c| async move {
                let named = format!("--namespaces={},{}", b.name(), a.name());
                let watcher = a.start_snapwatcher(SNAPWATCHER, &[&named]).await;
                let hook = a.snaphook();
                for ns in [&c, &a, &b] {
                    ns.ready_pod(&pod("web").labelled().build()).await;
                }
                for ns in [&a, &b] {
                    ns.record_of("web", "Succeeded").await;
                    assert_eq!(hook.requests_for(ns.name(), "web").len(), 1);
                    assert_eq!(watcher.blocks(ns.name(), "web").len(), 1);
                }
                c.apply_checkpoint("manual", &serde_json::json!({"pod": {"name": "web"}})).await.unwrap();
                b.apply_checkpoint("manual", &serde_json::json!({"pod": {"name": "web"}})).await.unwrap();
                b.record_named("manual", "Succeeded").await;
                a.later_pod_is_requested("later").await;
                assert!(hook.requests_for(c.name(), "web").is_empty());
                let [left_alone] = c.records().await.try_into().unwrap();
                assert!(left_alone.status.is_null(), "{left_alone:?}");
            })
            .await;
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn without_names_all_namespaces_are_watched() {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    crd::install(cluster.access(), SNAPWATCHER.as_ref()).await.unwrap();
    let access = cluster.access();
    in_namespace_of(access, "all-a", |a| async move {
        in_namespace_of(access, "all-b", |b| async move {
            b.ready_pod(&pod("early").labelled().build()).await;
            a.start_snapwatcher(SNAPWATCHER, &["--namespaces="]).await;
            b.record_of("early", "Succeeded").await;
            a.later_pod_is_requested("web").await;
            // A namespace that was created after the start.
            in_namespace_of(access, "all-c", |c| async move {
                c.create_object(&pod("web").labelled().build()).await;
                c.record_of("web", "Succeeded").await;
            })
            .await;
            let requested: Vec<String> =
                a.snaphook().requests().into_iter().map(|request| request.subject.pod).collect();
            assert_eq!(requested, ["early", "web", "web"]);
        })
        .await;
    })
    .await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_namespace_deleted_during_attempts_causes_no_warning() {
    in_namespace("stays", |stays| async move {
        in_namespace("goes", |goes| async move {
            let named = format!("--namespaces={},{}", stays.name(), goes.name());
            let watcher = stays.start_snapwatcher(SNAPWATCHER, &[&named]).await;
            let gate = Gate::default();
            stays.snaphook().answer_with(Behaviour::Wait(gate.clone()));
            goes.create_object(&deployment("web").replicas(10).labelled().build()).await;
            goes.pods_made("web", 10).await;
            goes.until("eight are requested and two wait", async || {
                stays.snaphook().requests().len() == 8 && goes.records().await.len() == 10
            })
            .await;
            let namespaces = Api::<KubeNamespace>::all(goes.client());
            namespaces.delete(goes.name(), &DeleteParams::default()).await.unwrap();
            goes.until("the Checkpoints are deleted", async || goes.records().await.is_empty()).await;
            gate.open();
            goes.until("the namespace is deleted", async || {
                namespaces.get_opt(goes.name()).await.is_ok_and(|found| found.is_none())
            })
            .await;

            stays.later_pod_is_requested("later").await;
            stays.record_of("later", "Succeeded").await;
            assert!(watcher.get("/livez").await.unwrap().status().is_success());
            let log = watcher.log();
            let of_namespace = |line: &&str| line.contains("WARN") && line.contains(goes.name());
            let worries: Vec<&str> = log.lines().filter(of_namespace).collect();
            assert!(worries.is_empty(), "{worries:#?}");
            assert_eq!(stays.snaphook().requests().len(), 9, "eight of them, and the later pod");
        })
        .await;
    })
    .await;
}

/// Grants the user all rights in that namespace, and none in others.
async fn grant_all_in(ns: &Namespace, user: &str) {
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    ns.create_object(&serde_json::from_value::<RoleBinding>(binding).unwrap()).await;
}

/// Watches two namespaces, one of which the user must not list at first. `afterwards` gets this user.
async fn with_a_closed_namespace(name: &str, args: &[&str], afterwards: impl AsyncFn(&Namespace, &Namespace, &str)) {
    let closed_name = format!("{name}-closed");
    in_namespace(name, |listed| async move {
        in_namespace(&closed_name, |closed| async move {
            let user = listed.name();
            let mut kubeconfig = Kubeconfig::read_from(listed.access().kubeconfig()).unwrap();
            kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().impersonate = Some(user.to_owned());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kubeconfig");
            std::fs::write(&path, serde_yaml_ng::to_string(&kubeconfig).unwrap()).unwrap();
            grant_all_in(&listed, user).await;
            listed.ready_pod(&pod("web").labelled().build()).await;

            let mut args: Vec<String> = args.iter().map(|argument| (*argument).to_owned()).collect();
            args.push(format!("--namespaces={},{}", listed.name(), closed.name()));
            let (binary, kubeconfig) = (SNAPWATCHER.into(), path);
            let options = SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() };
            let watcher = listed.launch_snapwatcher(options).await;
            listed
                .until("the pod is claimed, and the other namespace was tried for a while", async || {
                    let is_claimed = !listed.records_of("web").await.is_empty();
                    is_claimed && watcher.metric("snapwatcher_watch_interruptions_total").await.unwrap() >= Some(3.0)
                })
                .await;
            assert_eq!(listed.snaphook().requests().len(), 0);
            afterwards(&listed, &closed, user).await;
            listed.record_of("web", "Succeeded").await;
            assert_eq!(listed.request_count("web"), 1);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn no_request_is_sent_before_the_checkpoints_of_every_namespace_are_known() {
    with_a_closed_namespace("listed", &[], async |_, closed, user| grant_all_in(closed, user).await).await;
}

#[tokio::test]
async fn a_namespace_that_cannot_be_listed_delays_the_others_for_a_limited_time() {
    // Added to the 15 s in which a written attempt may be sent.
    let quick = ["--request-timeout=1s", "--response-timeout=1s"];
    with_a_closed_namespace("never-listed", &quick, async |_, _, _| ()).await;
}
