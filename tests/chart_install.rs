//! The chart on a real API server: installation as documented, upgrades, a rollback, and what an uninstall leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use lab::objects::{deployment, pod};
use lab::{CA_SECRET, ChartInstallation, Cluster, Namespace, Options, in_namespace_of};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const MUTATED: &str = "snap.weaversoft.io/mutated";
const DEFINITION: &str = "checkpoints.snap.weaversoft.io";

/// The chart installs cluster-scoped objects, so each test has its own control plane.
async fn with_installation(test: &str, body: impl AsyncFnOnce(&ChartInstallation, &Namespace)) {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    let access = cluster.access();
    in_namespace_of(access, test, |ns| async move {
        let installation = ChartInstallation::on(access).await;
        body(&installation, &ns).await;
    })
    .await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_program_works_with_the_settings_and_rights_of_the_chart() {
    with_installation("the_program_works_with_the_chart", async |installation, ns| {
        let watcher =
            installation.start_snapwatcher(SNAPWATCHER.as_ref(), &[("SNAP_BACK_API_URL", &ns.snaphook().url())]).await;
        watcher.ready().await.unwrap();
        installation.point_webhooks_at(watcher.webhook_addr()).await;
        ns.admission_works().await;
        ns.create_object(&deployment("web").labelled().build()).await;
        let name = ns.pods_made("web", 1).await.pop_first().unwrap();
        let pod = ns.api::<Pod>().get(&name).await.unwrap();
        assert_eq!(pod.labels()[MUTATED], "false");
        ns.record_of(&name, "Succeeded").await;
        assert_eq!(ns.request_count(&name), 1);
        let log = watcher.log();
        assert!(!log.contains("forbidden"), "{log}");
        watcher.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn upgrades_and_a_rollback_keep_what_the_program_wrote() {
    with_installation("upgrades_and_a_rollback_keep_what_the_program_wrote", async |installation, _| {
        let watcher = installation.start_snapwatcher(SNAPWATCHER.as_ref(), &[]).await;
        lab::until("the configuration has a caBundle", async || installation.ca_bundle().await).await;
        let bundle = installation.ca_bundle().await;
        let secrets: Api<Secret> = Api::namespaced(installation.client(), "snap");
        let authority = secrets.get(CA_SECRET).await.unwrap().data;
        assert!(authority.is_some());
        let upgrade = "upgrade snapwatcher ./charts/snapwatcher -n snap";
        for (step, level) in [
            (format!("{upgrade} --set snapwatcher.operator.logLevel=DEBUG"), "DEBUG"),
            (
                format!(
                    "{upgrade} --server-side=true --set snapwatcher.operator.logLevel=ERROR,webhook.timeoutSeconds=5"
                ),
                "ERROR",
            ),
            (format!("{upgrade} --server-side=true --reset-values"), "INFO"),
            ("rollback snapwatcher 2 -n snap".to_owned(), "DEBUG"),
        ] {
            installation.helm(&step);
            assert_eq!(installation.variables().await["LOG_LEVEL"], level, "{step}");
            assert_eq!(installation.ca_bundle().await, bundle, "{step}");
            assert_eq!(secrets.get(CA_SECRET).await.unwrap().data, authority, "{step}");
        }
        secrets.delete(CA_SECRET, &DeleteParams::default()).await.unwrap();
        installation.helm(&format!("{upgrade} --reuse-values"));
        lab::until("an upgrade creates the Secret again, and the program writes its CA", async || {
            secrets.get(CA_SECRET).await.unwrap().data == authority
        })
        .await;
        assert_eq!(installation.ca_bundle().await, bundle);
        watcher.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_release_after_an_uninstall_has_the_same_ca() {
    with_installation("a_release_after_an_uninstall_has_the_same_ca", async |installation, _| {
        let watcher = installation.start_snapwatcher(SNAPWATCHER.as_ref(), &[]).await;
        lab::until("the configuration has a caBundle", async || installation.ca_bundle().await).await;
        let bundle = installation.ca_bundle().await;
        watcher.stop().await.unwrap();
        installation.helm("uninstall snapwatcher -n snap");
        installation.install();
        let watcher = installation.start_snapwatcher(SNAPWATCHER.as_ref(), &[]).await;
        lab::until("the new configuration has a caBundle", async || installation.ca_bundle().await).await;
        assert_eq!(installation.ca_bundle().await, bundle);
        watcher.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_an_earlier_build_created_keeps_its_ca() {
    with_installation("a_secret_that_an_earlier_build_created", async |installation, _| {
        // A release without the Secret, as that of an earlier build.
        let upgrade = "upgrade snapwatcher ./charts/snapwatcher -n snap";
        installation.helm(&format!("{upgrade} --set-string webhook.mode=off"));
        let secrets: Api<Secret> = Api::namespaced(installation.client(), "snap");
        secrets.delete(CA_SECRET, &DeleteParams::default()).await.unwrap();
        let earlier = json!({
            "metadata": {"name": CA_SECRET, "labels": {"app.kubernetes.io/managed-by": "snapwatcher"}},
            "stringData": {"current.crt": "kept"},
        });
        let earlier = serde_json::from_value(earlier).unwrap();
        let held = secrets.create(&PostParams::default(), &earlier).await.unwrap().data;
        let upgrade = format!("{upgrade} --reset-values");
        let refused = installation.helm_error(&upgrade).unwrap();
        assert!(refused.contains(CA_SECRET) && refused.contains("invalid ownership metadata"), "{refused}");
        installation.helm(&format!("{upgrade} --take-ownership --force-conflicts"));
        assert_eq!(secrets.get(CA_SECRET).await.unwrap().data, held);
    })
    .await;
}

#[tokio::test]
async fn a_missing_namespace_is_rejected_before_anything_changes() {
    with_installation("a_missing_namespace_is_rejected", async |installation, _| {
        let upgrade = "upgrade snapwatcher ./charts/snapwatcher -n snap --set snapwatcher.operator.allNamespaces=false";
        let refused = installation.helm_error(&format!("{upgrade},snapwatcher.operator.namespaces={{nope,snap}}"));
        let refused = refused.unwrap();
        assert!(refused.contains("names nope, but there is no such namespace"), "{refused}");
        let roles: Api<ClusterRole> = Api::all(installation.client());
        let held = roles.get("snapwatcher").await.unwrap().rules.unwrap();
        assert!(held.iter().any(|rule| rule.resources.as_ref().unwrap().contains(&"pods".to_owned())));
        installation.helm(&format!("{upgrade},snapwatcher.operator.namespaces={{default,snap}}"));
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_brings_the_resource_up_to_date() {
    with_installation("an_upgrade_brings_the_resource_up_to_date", async |installation, ns| {
        let definitions: Api<CustomResourceDefinition> = Api::all(installation.client());
        let columns = async || {
            let definition = definitions.get(DEFINITION).await.unwrap();
            definition.spec.versions[0].additional_printer_columns.clone().unwrap().len()
        };
        let now = columns().await;
        // An older chart, with one column less.
        let folder = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").args(["-r", "charts/snapwatcher"]).arg(folder.path()).status().unwrap();
        assert!(copied.success());
        let template = folder.path().join("snapwatcher/templates/crd.yaml");
        let text = std::fs::read_to_string(&template).unwrap();
        let (before, after) = text.split_once("    - jsonPath: .metadata.creationTimestamp\n").unwrap();
        let after = after.split_once("type: date\n").unwrap().1;
        std::fs::write(&template, format!("{before}{after}")).unwrap();

        installation.helm(&format!(
            "upgrade snapwatcher {} -n snap",
            template.ancestors().nth(2).unwrap_or(Path::new(".")).display()
        ));
        assert_eq!(columns().await, now - 1);
        ns.apply_checkpoint("kept", &json!({"pod": {"name": "web"}})).await.unwrap();
        installation.helm("upgrade snapwatcher ./charts/snapwatcher -n snap");
        assert_eq!(columns().await, now);
        ns.checkpoints().get("kept").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_uninstall_leaves_the_checkpoints_and_nothing_that_blocks_pods() {
    with_installation("an_uninstall_leaves_the_checkpoints", async |installation, ns| {
        // With the strictest settings: while SnapWatcher is down, the API server rejects labeled pods.
        installation.helm(
            "upgrade snapwatcher ./charts/snapwatcher -n snap --set webhook.failurePolicy=Fail,webhook.timeoutSeconds=1",
        );
        let labelled = pod("refused").labelled().build();
        let pods: Api<Pod> = ns.api();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        ns.until("a labelled pod is refused", async || pods.create(&dry_run, &labelled).await.is_err()).await;
        ns.apply_checkpoint("kept", &json!({"pod": {"name": "web"}})).await.unwrap();

        installation.helm("uninstall snapwatcher -n snap");
        ns.until("a labelled pod is created", async || pods.create(&PostParams::default(), &labelled).await).await;
        ns.checkpoints().get("kept").await.unwrap();
        let roles: Api<ClusterRole> = Api::all(installation.client());
        assert!(roles.get_opt("snapwatcher").await.unwrap().is_none());
        let definitions: Api<CustomResourceDefinition> = Api::all(installation.client());
        definitions.get(DEFINITION).await.unwrap();

        // A new release of the same name adopts what was kept.
        installation.install();
        ns.checkpoints().get("kept").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn without_the_webhook_the_program_makes_no_ca_and_is_denied_nothing() {
    with_installation("without_the_webhook_the_program_makes_no_ca", async |installation, ns| {
        installation.helm("upgrade snapwatcher ./charts/snapwatcher -n snap --set-string webhook.mode=off");
        let url = ns.snaphook().url();
        let watcher = installation.start_snapwatcher(SNAPWATCHER.as_ref(), &[("SNAP_BACK_API_URL", &url)]).await;
        watcher.ready().await.unwrap();
        ns.create_object(&pod("web").labelled().build()).await;
        ns.record_of("web", "Succeeded").await;
        let findings = installation.check(SNAPWATCHER.as_ref()).await.findings().unwrap();
        let of = |topic: &str| findings.iter().filter(|finding| finding.topic == topic).collect::<Vec<_>>();
        assert!(of("right").iter().all(|finding| finding.state == "ok"), "{findings:#?}");
        let [webhook] = of("webhook").try_into().unwrap();
        assert!(webhook.state == "skipped" && webhook.seen.contains("--webhook is false"), "{webhook:?}");
        assert!(of("certificate").is_empty() && of("configuration").is_empty(), "{findings:#?}");

        // The upgrade leaves the Secret of the mode before, and this process must not touch it.
        let secrets: Api<Secret> = Api::namespaced(installation.client(), "snap");
        assert_eq!(secrets.get(CA_SECRET).await.unwrap().data, None);
        let log = watcher.log();
        assert!(!log.contains("forbidden") && !log.contains("Serving admission reviews"), "{log}");
        watcher.stop().await.unwrap();

        installation.helm("upgrade snapwatcher ./charts/snapwatcher -n snap --set webhook.mode=webhook");
        let watcher = installation.start_snapwatcher(SNAPWATCHER.as_ref(), &[]).await;
        lab::until("the configuration has a caBundle", async || installation.ca_bundle().await).await;
        watcher.stop().await.unwrap();
    })
    .await;
}

/// Kubernetes 1.36 and later serve policies. The lab also runs older versions.
async fn serves_policies(installation: &ChartInstallation) -> bool {
    let resources = installation.client().list_api_group_resources("admissionregistration.k8s.io/v1").await.unwrap();
    resources.resources.iter().any(|resource| resource.kind == "MutatingAdmissionPolicy")
}

#[tokio::test]
async fn a_policy_labels_pods_without_a_process() {
    with_installation("a_policy_labels_pods_without_a_process", async |installation, ns| {
        let upgrade = "upgrade snapwatcher ./charts/snapwatcher -n snap --set webhook.mode=policy";
        if !serves_policies(installation).await {
            let refused = installation.helm_error(upgrade).unwrap();
            assert!(refused.contains("does not serve MutatingAdmissionPolicy"), "{refused}");
            return;
        }
        installation.helm(upgrade);
        ns.admission_works().await;
        let labels = async |pod: Pod| ns.create_object(&pod).await.labels().clone();
        assert_eq!(labels(pod("labelled").labelled().build()).await[MUTATED], "false");
        assert_eq!(labels(pod("given").labelled().label(MUTATED, "true").build()).await[MUTATED], "true");
        assert!(!labels(pod("other").build()).await.contains_key(MUTATED));
        assert!(
            !labels(pod("mislabelled").label("snap.weaversoft.io/snap", "True").build()).await.contains_key(MUTATED)
        );
        let mirror = pod("mirror").labelled().annotate("kubernetes.io/config.mirror", "x");
        let mirror = mirror.spec(|spec| spec.node_name = Some("node-1".to_owned())).build();
        assert!(!labels(mirror).await.contains_key(MUTATED));
    })
    .await;
}
