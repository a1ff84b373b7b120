//! SnapWatcher installed in a cluster: its image runs on a real node, with the rights of the chart, and the API server calls
//! it through its Service. `make e2e` builds the image first.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use lab::objects::{COUNTING, deployment, pod};
use lab::terminal::print_result;
use lab::{ChartInstallation, CreationLoad, Namespace, RealCluster, in_namespace_of};
use serde_json::Value;

const MUTATED: &str = "snap.weaversoft.io/mutated";
/// Creations a second during a rolling restart.
const LEAST_RATE: u32 = 20;

const UPGRADE: &str = "upgrade snapwatcher ./charts/snapwatcher -n snap";

/// Creates a labeled Deployment whose container counts, and waits for its checkpoint archive.
async fn a_workload_is_labeled_and_checkpointed(cluster: &RealCluster, ns: &Namespace, name: &str) {
    let wanted = deployment(name).labelled().runs(&cluster.node().busybox(), COUNTING).build();
    ns.create_object(&wanted).await;
    let made = ns.pods_made(name, 1).await.pop_first().unwrap();
    assert_eq!(ns.api::<Pod>().get(&made).await.unwrap().labels()[MUTATED], "false");
    let record = ns.record_of(&made, "Succeeded").await;
    let archive = record.text("/location/archive").unwrap();
    assert!(cluster.node().archives().contains(&archive.to_owned()), "{archive}");
    assert_eq!(cluster.snaphook().requests_for(ns.name(), &made).len(), 1);
}

/// Checks that the program runs as user 1001, without capabilities and with a read-only root file system.
async fn runs_with_few_rights(cluster: &RealCluster) {
    let node = cluster.node();
    let script = "pid=$(pgrep -x snapwatcher) && grep -E '^(Uid|Gid|CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status && \
                  grep ' / / ' /proc/$pid/mountinfo | head -n 1; grep -o ' / [^ ]* ' /proc/$pid/mounts; \
                  head -n 1 /proc/$pid/mounts";
    let seen = node.must_run(["sh", "-c", script]).await.unwrap();
    let words: Vec<&str> = seen.split_whitespace().collect();
    let after = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
    assert_eq!([after("Uid:"), after("Gid:"), after("NoNewPrivs:")], ["1001", "1001", "1"], "{seen}");
    assert_eq!(u64::from_str_radix(after("CapEff:"), 16), Ok(0), "{seen}");
    assert_ne!(after("Seccomp:"), "0", "{seen}");
    let root = seen.lines().last().unwrap();
    assert!(root.split(' ').nth(3).is_some_and(|options| options.split(',').any(|option| option == "ro")), "{root}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_installs_checkpoints_upgrades_and_uninstalls() {
    let cluster = &RealCluster::start().await;
    in_namespace_of(cluster.access(), "the_chart_installs", |ns| async move {
        let installation = ChartInstallation::on(cluster.access()).await;
        cluster.replicas(1).await;
        ns.admission_works().await;
        runs_with_few_rights(cluster).await;
        a_workload_is_labeled_and_checkpointed(cluster, &ns, "web").await;
        let checked = cluster.kubectl("exec -n snap deployment/snapwatcher -- /snapwatcher check");
        assert!(checked.contains(" 0 failed"), "{checked}");
        let tested = installation.helm("test snapwatcher -n snap");
        assert!(["test-check", "test-admission"].iter().all(|pod| tested.contains(pod)), "{tested}");

        for (step, level) in [
            (format!("{UPGRADE} --set snapwatcher.operator.logLevel=DEBUG"), "DEBUG"),
            (format!("{UPGRADE} --server-side=true --set snapwatcher.operator.logLevel=WARNING"), "WARNING"),
            ("rollback snapwatcher 2 -n snap".to_owned(), "DEBUG"),
        ] {
            installation.helm(&step);
            let [replica] = cluster.replicas(1).await.try_into().unwrap();
            let variables = replica.spec.unwrap().containers.remove(0).env.unwrap();
            let found = variables.iter().find(|variable| variable.name == "LOG_LEVEL").unwrap();
            assert_eq!(found.value.as_deref(), Some(level), "{step}");
            ns.admission_works().await;
        }
        a_workload_is_labeled_and_checkpointed(cluster, &ns, "after-upgrades").await;

        installation.helm(&format!(
            "{UPGRADE} --reset-values -f charts/snapwatcher/values-ha.yaml --set webhook.failurePolicy=Fail"
        ));
        cluster.replicas(3).await;
        ns.admission_works().await;
        let (load, started) = (CreationLoad::start(&ns), Instant::now());
        cluster.kubectl("rollout restart -n snap deployment/snapwatcher");
        cluster.kubectl("rollout status -n snap deployment/snapwatcher --timeout=180s");
        let (count, failed) = load.end().await;
        print_result(&format!(
            "e2e_chart: {count} creations during a rolling restart of three replicas: {} failed",
            failed.len()
        ));
        assert_eq!(failed, Vec::<String>::new());
        let expected = u64::from(LEAST_RATE) * started.elapsed().as_secs();
        assert!(count as u64 >= expected, "{count} creations, {expected} at least");
        a_workload_is_labeled_and_checkpointed(cluster, &ns, "after-restart").await;

        assert_eq!(cluster.refused(), Vec::<Value>::new());
        installation.helm("uninstall snapwatcher -n snap --wait");
        // Pods are created at once, although failurePolicy Fail rejected them without SnapWatcher a moment ago.
        let pods: Api<Pod> = ns.api();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let created = pods.create(&dry_run, &pod("without-us").labelled().build()).await.unwrap();
        assert!(!created.labels().contains_key(MUTATED));
    })
    .await;
}
