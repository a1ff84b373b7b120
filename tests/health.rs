//! The admin port of a running SnapWatcher: readiness depends only on the checks that admission needs, and each check is listed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::config::Kubeconfig;
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::{CA_SECRET, Namespace, Snapwatcher, SnapwatcherOptions, in_namespace};
use serde_json::json;
use tempfile::TempDir;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Status and text of a path on the admin port.
async fn shown(watcher: &Snapwatcher, path: &str) -> (u16, String) {
    let answer = watcher.get(path).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn until_shown(watcher: &Snapwatcher, status: u16, words: &str) {
    lab::until(&format!("/readyz?verbose answers {status} with `{words}`"), async || {
        let (code, text) = shown(watcher, "/readyz?verbose").await;
        if code == status && text.contains(words) { Ok(()) } else { Err(format!("{code}: {text}")) }
    })
    .await;
}

/// A user with the name of the namespace, without rights until they are granted.
struct UserWithoutRights {
    name: String,
    bindings: Api<ClusterRoleBinding>,
    folder: TempDir,
}

impl UserWithoutRights {
    fn of(ns: &Namespace) -> Self {
        let mut kubeconfig = Kubeconfig::read_from(ns.access().kubeconfig()).unwrap();
        kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().impersonate = Some(ns.name().to_owned());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), serde_yaml_ng::to_string(&kubeconfig).unwrap()).unwrap();
        Self { name: ns.name().to_owned(), bindings: Api::all(ns.client()), folder }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    async fn grant_all(&self) {
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": self.name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": self.name}],
        });
        self.bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    }

    async fn revoke(&self) {
        self.bindings.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn the_process_is_ready_once_the_ca_bundle_is_written_and_not_before() {
    in_namespace("the_process_is_ready_once_the_ca_bundle_is_written", |ns| async move {
        let user = UserWithoutRights::of(&ns);
        let options = SnapwatcherOptions {
            binary: SNAPWATCHER.into(),
            kubeconfig: user.kubeconfig(),
            ..SnapwatcherOptions::default()
        };
        let watcher = ns.launch_snapwatcher(options).await;
        ns.install_webhooks(&watcher).await;
        until_shown(&watcher, 500, "[-]serving-certificate failed: could not read the Secret `").await;
        let (status, text) = shown(&watcher, "/readyz").await;
        assert_eq!(status, 500);
        assert!(
            text.contains("[-]ca-bundle failed: not checked yet\n") && text.ends_with("readyz check failed\n"),
            "{text}"
        );
        for alive in ["/livez", "/healthz"] {
            assert_eq!(shown(&watcher, alive).await, (200, "ok".to_owned()), "a restart would not help");
        }

        user.grant_all().await;
        until_shown(&watcher, 200, "[+]ca-bundle ok\n").await;
        assert_eq!(shown(&watcher, "/readyz").await, (200, "ok".to_owned()));
        ns.admission_works().await;
        until_shown(&watcher, 200, "[+]watch ok (informational)\n").await;
        until_shown(&watcher, 200, "[+]crd ok (informational)\n").await;
        user.revoke().await;
    })
    .await;
}

#[tokio::test]
async fn each_check_is_listed_and_the_back_end_does_not_decide() {
    in_namespace("each_check_is_listed", |ns| async move {
        ns.snaphook().answer_pod_with("refused", Behaviour::status(503));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("refused").labelled().build()).await;
        until_shown(&watcher, 200, "[-]backend failed (informational): SnapHook at http://").await;
        assert_eq!(shown(&watcher, "/readyz").await, (200, "ok".to_owned()));

        // The refused request is repeated. The check shows the last result.
        ns.snaphook().answer_pod_with("refused", Behaviour::Succeed);
        ns.create_object(&pod("taken").labelled().build()).await;
        let all_well = "[+]ping ok\n[+]serving-certificate ok\n[+]ca-bundle ok\n[+]ca-trust ok (informational)\n[+]shutdown ok\n[+]crd ok (informational)\n\
                        [+]watch ok (informational)\n[+]backend ok (informational)\n[+]leader ok (informational)\n\
                        readyz check passed\n";
        until_shown(&watcher, 200, all_well).await;
        let metrics = watcher.metrics().await.unwrap();
        for check in ["serving-certificate", "ca-bundle", "ca-trust", "shutdown", "crd", "watch", "backend", "leader"] {
            assert!(metrics.contains(&format!("snapwatcher_health_check{{name=\"{check}\"}} ")), "{check}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_webhook_readiness_waits_for_no_certificate() {
    in_namespace("without_the_webhook_readiness_waits_for_no_certificate", |ns| async move {
        ns.api::<Secret>().delete(CA_SECRET, &DeleteParams::default()).await.unwrap();
        let args = vec!["--webhook=false".to_owned()];
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        watcher.ready().await.unwrap();
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        let all_well = "[+]ping ok\n[+]shutdown ok\n[+]crd ok (informational)\n[+]watch ok (informational)\n\
                        [+]backend ok (informational)\n[+]leader ok (informational)\nreadyz check passed\n";
        until_shown(&watcher, 200, all_well).await;
        let metrics = watcher.metrics().await.unwrap();
        assert!(!metrics.contains("snapwatcher_certificate_") && !metrics.contains("snapwatcher_https_"), "{metrics}");
        let log = watcher.log();
        assert!(!log.contains("Serving admission reviews") && !log.contains(CA_SECRET), "{log}");
        assert!(watcher.stop().await.unwrap().success());
    })
    .await;
}

#[tokio::test]
async fn metrics_name_each_family_and_each_series_once() {
    in_namespace("metrics_name_each_family_and_each_series_once", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        let answer = watcher.get("/metrics").await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        let text = answer.text().await.unwrap();
        assert!(text.ends_with("\n# EOF\n"), "{text}");

        let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(family.split(' ').next().unwrap()), "twice: {line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "no number: {line}");
                assert!(series.insert(name), "twice: {line}");
                assert!(families.iter().any(|family| name.starts_with(family)), "no TYPE before: {line}");
                assert!(!name.contains(ns.name()) && !name.contains("\"web"), "the name of an object: {line}");
            }
        }
        for family in [
            "snapwatcher_admission_requests",
            "snapwatcher_admission_http_errors",
            "snapwatcher_admission_duration_seconds",
            "snapwatcher_certificate_ca_bundle_in_sync",
            "snapwatcher_certificate_ca_expiration_timestamp_seconds",
            "snapwatcher_certificate_serving_expiration_timestamp_seconds",
            "snapwatcher_certificate_rotation_steps",
            "snapwatcher_health_check",
            "snapwatcher_checkpoint_attempts",
            "snapwatcher_checkpoint_claims",
            "snapwatcher_checkpoint_in_flight",
            "snapwatcher_watch_pods",
            "snapwatcher_watch_missed_mutations",
        ] {
            assert!(families.contains(family), "{family} is missing: {families:?}");
        }
    })
    .await;
}
