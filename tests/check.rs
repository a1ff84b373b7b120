//! `snapwatcher check` against a real API server: it finds what exists, and reports what is missing with a remedy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lab::check_command::{self, Finding};
use lab::snaphook::RecordedRequest;
use lab::{CA_SECRET, Cluster, Namespace, Options, SnapwatcherOptions, crd, in_namespace, webhooks};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The exit code, and the findings.
async fn check(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, Vec<Finding>) {
    let arguments = [arguments, &["--output=json"]].concat();
    let checked = check_command::run(SNAPWATCHER.as_ref(), kubeconfig, &arguments).await.unwrap();
    (checked.code, checked.findings().unwrap())
}

/// The same with the settings of a SnapWatcher of this namespace.
async fn check_in(ns: &Namespace, arguments: &[&str]) -> (Option<i32>, Vec<Finding>) {
    let arguments = ns.check_arguments(arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    check(&ns.access().kubeconfig(), &arguments).await
}

fn of_topic(findings: &[Finding], topic: &str) -> Vec<Finding> {
    findings.iter().filter(|finding| finding.topic == topic).cloned().collect()
}

/// The one finding of that topic.
async fn only(ns: &Namespace, topic: &str, arguments: &[&str]) -> Finding {
    let (_, findings) = check_in(ns, arguments).await;
    let [finding] = of_topic(&findings, topic).try_into().unwrap();
    finding
}

#[tokio::test]
async fn if_nothing_is_missing_every_finding_is_ok() {
    in_namespace("if_nothing_is_missing", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let (code, findings) = check_in(&ns, &["--dry-run-pod", ns.name()]).await;
        assert_eq!(code, Some(0), "{findings:#?}");
        for (topic, count) in [
            ("api-server", 1),
            ("definition", 1),
            ("configuration", 2),
            ("webhook", 2),
            ("certificate", 1),
            ("backend", 1),
            ("dry-run-pod", 1),
        ] {
            let found = of_topic(&findings, topic);
            assert_eq!(found.len(), count, "{topic}: {found:#?}");
            assert!(found.iter().all(|finding| finding.state == "ok" && finding.remedy.is_none()), "{found:#?}");
        }
        let hook = ns.snaphook();
        assert_eq!(hook.requests().len(), 1, "one request probes SnapHook");
        assert!(hook.requests().iter().all(|request| request.violation.is_some()), "and requests no checkpoint");
    })
    .await;
}

#[tokio::test]
async fn the_text_has_a_line_for_each_finding_and_one_for_its_remedy() {
    in_namespace("the_text_has_a_line_for_each_finding", |ns| async move {
        ns.snaphook().close_port().await;
        let arguments = ns.check_arguments(&[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = check_command::run(SNAPWATCHER.as_ref(), &ns.access().kubeconfig(), &arguments).await.unwrap();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert!(lines[0].starts_with("ok       API server: v1."), "{}", ended.stdout);
        let at = lines.iter().position(|line| line.starts_with("failed   back-end snaphook at http://127.0.0.1:"));
        let remedy = lines[at.unwrap() + 1];
        assert!(remedy.starts_with("         do: see that SnapHook runs"), "{}", ended.stdout);
        let counts = lines.last().unwrap();
        assert!(counts.contains(" ok, ") && counts.contains(" failed, "), "{counts}");
    })
    .await;
}

#[tokio::test]
async fn a_back_end_that_is_unreachable_or_has_no_such_path_is_reported() {
    in_namespace("a_back_end_that_is_unreachable", |ns| async move {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "a-token-of-mine\n").unwrap();
        let token = format!("--snap-back-api-token-file={}", secret.path().display());
        let address = ns.snaphook().address();
        let elsewhere = format!("--snap-back-api-url=http://{address}/elsewhere");
        let with_password = format!("--snap-back-api-url=http://me:hunter2@{address}");
        for (case, arguments, state, words) in [
            ("another path", vec![elsewhere.as_str()], "warning", "404"),
            ("a password", vec![with_password.as_str()], "ok", "reachable"),
            ("a token", vec![token.as_str()], "ok", "reachable"),
            ("no token", vec!["--snap-back-api-token-file=/does/not/exist"], "failed", "/does/not/exist"),
            ("no CA", vec!["--snap-back-api-ca-file=/does/not/exist"], "failed", "/does/not/exist"),
            ("a dry run", vec!["--backend=log"], "skipped", "no requests are sent"),
        ] {
            let (_, findings) = check_in(&ns, &arguments).await;
            let [backend] = of_topic(&findings, "backend").try_into().unwrap();
            assert_eq!(backend.state, state, "{case}: {backend:?}");
            assert!(backend.seen.contains(words), "{case}: {backend:?}");
            let all = format!("{findings:?}");
            assert!(!all.contains("hunter2") && !all.contains("a-token-of-mine"), "{case}: {all}");
        }
        let (_, findings) = check_in(&ns, &["--suspend"]).await;
        let [reached, suspended] = of_topic(&findings, "backend").try_into().unwrap();
        assert_eq!((reached.state.as_str(), suspended.state.as_str()), ("ok", "warning"));
        assert!(suspended.seen.contains("suspended") && suspended.remedy.is_some(), "{suspended:?}");
        let requests = ns.snaphook().requests();
        let is_sent = |request: &RecordedRequest| {
            request.headers.get("authorization").is_some_and(|sent| sent == "Bearer a-token-of-mine")
        };
        assert!(requests.iter().any(is_sent), "the probe sends the token of an attempt");
        ns.snaphook().close_port().await;
        let backend = only(&ns, "backend", &[]).await;
        assert_eq!(backend.state, "failed");
        assert!(backend.seen.contains("could not connect to SnapHook"), "{backend:?}");
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_is_missing_or_empty_or_trusts_another_ca_is_reported() {
    in_namespace("a_configuration_that_is_missing", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let name = format!("{}-other", ns.name());
        let flag = format!("--mutating-webhook-configuration={name}");
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(ns.client());
        let seen = async |topic: &str| {
            let (code, findings) = check_in(&ns, &[&flag]).await;
            assert_eq!(code, Some(1));
            of_topic(&findings, topic).into_iter().find(|finding| finding.what.contains("mutating")).unwrap()
        };
        let missing = seen("configuration").await;
        assert_eq!((missing.state.as_str(), missing.seen.as_str()), ("failed", "there is no object of that name"));

        let scope = webhooks::Scope::Namespace(ns.name().to_owned());
        let mut other = webhooks::mutating(&name, &scope, &watcher.webhook_addr().to_string());
        configurations.create(&PostParams::default(), &other).await.unwrap();
        let untouched = seen("configuration").await;
        assert!(untouched.seen.contains("no caBundle"), "{untouched:?}");

        let foreign = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        for (bundle, words) in
            [(foreign.as_str(), "the caBundle can't verify its certificate"), ("junk", "can't be used")]
        {
            other.metadata = configurations.get(&name).await.unwrap().metadata;
            other.webhooks.as_mut().unwrap()[0].client_config.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
            let replaced = configurations.replace(&name, &PostParams::default(), &other).await;
            // The API server takes no bundle that is not PEM.
            if replaced.is_ok() {
                let reported = seen("webhook").await;
                assert!(reported.state == "failed" && reported.seen.contains(words), "{reported:?}");
            } else {
                assert_eq!(bundle, "junk", "{replaced:?}");
            }
        }
        configurations.delete(&name, &DeleteParams::default()).await.unwrap();

        watcher.kill().await.unwrap();
        let (_, findings) = check_in(&ns, &[]).await;
        let webhooks = of_topic(&findings, "webhook");
        assert_eq!(webhooks.len(), 2);
        for unreachable in webhooks {
            assert!(unreachable.state == "failed" && unreachable.seen.contains("refused"), "{unreachable:?}");
        }
    })
    .await;
}

/// As `openssl req -x509` makes it.
#[tokio::test]
async fn a_certificate_that_is_its_own_ca_is_verified_as_the_api_server_does() {
    in_namespace("a_certificate_that_is_its_own_ca", |ns| async move {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        let [certificate_file, key_file] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
        std::fs::write(&certificate_file, &certificate).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let flags = [format!("--tls-cert={}", certificate_file.display()), format!("--tls-key={}", key_file.display())];
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args: flags.to_vec(), ..Default::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        ns.install_webhooks(&watcher).await;
        ns.set_ca_bundle(&certificate).await;
        ns.admission_works().await;
        let (_, findings) = check_in(&ns, &[&flags[0], &flags[1]]).await;
        let webhooks = of_topic(&findings, "webhook");
        assert!(webhooks.len() == 2 && webhooks.iter().all(|finding| finding.state == "ok"), "{webhooks:?}");
    })
    .await;
}

#[tokio::test]
async fn a_service_is_called_in_the_cluster_only() {
    in_namespace("a_service_is_called_in_the_cluster_only", |ns| async move {
        let name = ns.name();
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(ns.client());
        let scope = webhooks::Scope::Namespace(name.to_owned());
        let mut configuration = webhooks::mutating(name, &scope, "127.0.0.1:1");
        let client = &mut configuration.webhooks.as_mut().unwrap()[0].client_config;
        let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        *client = serde_json::from_value(json!({"service": {"name": "snapwatcher", "namespace": name, "port": 8443}}))
            .unwrap();
        client.ca_bundle = Some(ByteString(ca.into_bytes()));
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        let expected = format!("webhook of the mutating configuration at https://snapwatcher.{name}.svc:8443/healthz");
        for (inside, state) in [(&[][..], "skipped"), (&["--service-host=10.0.0.1"], "failed")] {
            let webhook = only(&ns, "webhook", inside).await;
            assert_eq!((webhook.what.as_str(), webhook.state.as_str()), (expected.as_str(), state), "{webhook:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_of_the_ca_is_reported_with_the_command_that_creates_it() {
    in_namespace("a_missing_secret_of_the_ca", |ns| async move {
        let empty = only(&ns, "certificate", &[]).await;
        assert!(empty.state == "ok" && empty.seen.contains("is empty"), "{empty:?}");
        ns.api::<Secret>().delete(CA_SECRET, &DeleteParams::default()).await.unwrap();
        let missing = only(&ns, "certificate", &[]).await;
        let remedy = missing.remedy.unwrap();
        assert_eq!(missing.state, "failed");
        assert!(remedy.contains(&format!("kubectl create secret generic {CA_SECRET} --namespace {}", ns.name())));
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_not_labeled_is_reported() {
    in_namespace("a_pod_that_is_not_labeled", |ns| async move {
        for (namespace, words) in [(ns.name(), "comes back without"), ("no-such-namespace", "no such namespace")] {
            let pod = only(&ns, "dry-run-pod", &["--dry-run-pod", namespace]).await;
            assert!(pod.state == "failed" && pod.seen.contains(words), "{pod:?}");
        }
        let (_, findings) = check_in(&ns, &[]).await;
        assert!(of_topic(&findings, "dry-run-pod").is_empty(), "the dry run was not requested");
    })
    .await;
}

/// The finding about the definition in this control plane.
async fn definition(cluster: &Cluster) -> Finding {
    let (_, findings) = check(&cluster.kubeconfig(), &[]).await;
    let [definition] = of_topic(&findings, "definition").try_into().unwrap();
    definition
}

#[tokio::test]
async fn a_definition_that_is_missing_or_old_is_reported_and_an_unreachable_api_server_is_one_line() {
    let mut cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    let missing = definition(&cluster).await;
    assert_eq!((missing.state.as_str(), missing.seen.as_str()), ("failed", "not installed"));
    assert_eq!(missing.remedy.as_deref(), Some("run `snapwatcher crd | kubectl apply --server-side -f -`"));

    crd::install(cluster.access(), Path::new(SNAPWATCHER)).await.unwrap();
    let installed = definition(&cluster).await;
    assert_eq!(installed.state, "ok", "{installed:?}");

    let api: Api<CustomResourceDefinition> = Api::all(cluster.client().await.unwrap());
    let older = json!([{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/triedPods"}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(older).unwrap());
    api.patch("checkpoints.snap.weaversoft.io", &PatchParams::default(), &patch).await.unwrap();
    let old = definition(&cluster).await;
    assert!(old.state == "warning" && old.seen.ends_with("other schema"), "{old:?}");

    cluster.stop_api_server().await.unwrap();
    let (code, findings) = check(&cluster.kubeconfig(), &[]).await;
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((code, finding.topic.as_str(), finding.state.as_str()), (Some(1), "api-server", "failed"));
    assert!(finding.what.contains("https://127.0.0.1:") && finding.seen.contains("refused"), "{finding:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_cluster_there_is_one_line() {
    let (code, findings) = check(Path::new("/does/not/exist"), &[]).await;
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(code, Some(1));
    assert!(finding.seen.contains("/does/not/exist"), "{finding:?}");
}
