//! `certs rotate --revoke` after the key of the CA was stolen: who has the key can answer for the webhook before, and cannot
//! afterwards, whatever paused replicas and backups still contain.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::PostParams;
use lab::objects::pod;
use lab::terminal::print_result;
use lab::{Namespace, ServiceProxy, Snapwatcher, SnapwatcherOptions, WebhookClient, in_namespace, try_until};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tokio::time::{Instant, sleep};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const SECRET: &str = "snapwatcher-webhook-ca";

/// How long it may take until no configuration has the revoked CA.
const LIMIT: Duration = Duration::from_secs(10);
/// For how long the bundles are looked at after a process continued or a backup was restored.
const WATCHED: Duration = Duration::from_secs(5);

type Data = BTreeMap<String, ByteString>;

async fn secret_data(ns: &Namespace) -> Data {
    ns.api::<Secret>().get(SECRET).await.unwrap().data.unwrap()
}

fn text(data: &Data, key: &str) -> String {
    String::from_utf8(data[key].0.clone()).unwrap()
}

/// The `caBundle` of all webhooks in both configurations.
async fn bundles(ns: &Namespace) -> Vec<String> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(ns.client()).get(ns.name()).await.unwrap();
    let validating = Api::<ValidatingWebhookConfiguration>::all(ns.client()).get(ns.name()).await.unwrap();
    let mutating = mutating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config);
    let validating = validating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config);
    let bundles = mutating.chain(validating).map(|client| client.ca_bundle.unwrap_or_default().0);
    bundles.map(|bundle| String::from_utf8(bundle).unwrap()).collect()
}

/// Fails if a configuration has this CA at any moment of the time that is watched.
async fn stays_without(ns: &Namespace, ca: &str) {
    let started = Instant::now();
    while started.elapsed() < WATCHED {
        assert!(bundles(ns).await.iter().all(|bundle| !bundle.contains(ca)), "the revoked CA is trusted again");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Runs `certs rotate --revoke` and returns the Secret's data after it.
async fn revoke(ns: &Namespace) -> Data {
    let mut command = Command::new(SNAPWATCHER);
    command.args(["certs", "rotate", "--revoke", "--service-namespace", ns.name()]);
    command.env_clear().env("KUBECONFIG", ns.access().kubeconfig());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    secret_data(ns).await
}

/// Waits until each bundle is the CA that signs now.
async fn until_replaced(ns: &Namespace, data: &Data) {
    let current = text(data, "current.crt");
    let is_replaced = async || bundles(ns).await.iter().all(|bundle| *bundle == current);
    try_until("each caBundle is the new CA alone", LIMIT, is_replaced).await.unwrap();
}

async fn replica(ns: &Namespace, instance: &str, flags: &[String]) -> Arc<Snapwatcher> {
    let args = ["--standalone=false".to_owned(), format!("--instance={instance}")].into_iter();
    let args = args.chain(flags.iter().cloned()).collect();
    let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
    ns.launch_snapwatcher(options).await
}

/// A server of someone who has the key of this CA.
async fn impostor(ns: &Namespace, stolen: &Data, folder: &Path) -> Arc<Snapwatcher> {
    let key = KeyPair::from_pem(&text(stolen, "current.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&text(stolen, "current.crt"), key).unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    replica(ns, "impostor", &[file("tls-cert", "tls.crt"), file("tls-key", "tls.key")]).await
}

#[tokio::test]
async fn after_a_revocation_no_bundle_holds_the_old_ca_within_10_s() {
    in_namespace("after_a_revocation_no_bundle_holds_the_old_ca", |ns| async move {
        let (service, folder) = (ServiceProxy::start().await, tempfile::tempdir().unwrap());
        let replicas = [replica(&ns, "one", &[]).await, replica(&ns, "other", &[]).await];
        ns.install_webhooks_at(service.address(), "Fail").await;
        for replica in &replicas {
            replica.ready().await.unwrap();
        }
        let stolen = secret_data(&ns).await;
        let old_ca = text(&stolen, "current.crt");
        service.set_endpoints([impostor(&ns, &stolen, folder.path()).await.webhook_addr()]);
        ns.admission_works().await;

        replicas[1].pause().await.unwrap();
        let started = Instant::now();
        let revoked = revoke(&ns).await;
        until_replaced(&ns, &revoked).await;
        print_result(&format!("{} ms from the revocation to both bundles", started.elapsed().as_millis()));
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let probe = pod("probe").labelled().build();
        try_until("the API server rejects a certificate of the old CA", LIMIT, async || {
            let error = ns.api::<Pod>().create(&dry_run, &probe).await.err().map(|error| error.to_string());
            error.is_some_and(|error| error.contains("x509: certificate signed by unknown authority"))
        })
        .await
        .unwrap();

        replicas[1].resume().await.unwrap();
        stays_without(&ns, &old_ca).await;
        for replica in &replicas {
            service.set_endpoints([replica.webhook_addr()]);
            ns.admission_works().await;
            let webhook_client = WebhookClient::of(&ns, replica).await.unwrap();
            webhook_client.slowest_review(1, ns.name(), &["/mutate"]).await.unwrap();
            assert!(replica.log().contains("CAs up to 1 are revoked in Secret"), "{}", replica.log());
        }
    })
    .await;
}

#[tokio::test]
async fn a_backup_of_the_secret_does_not_bring_a_revoked_ca_back() {
    in_namespace("a_backup_does_not_bring_a_revoked_ca_back", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--level-check=1s"]).await;
        let backup = secret_data(&ns).await;
        let old_ca = text(&backup, "current.crt");
        // Twice, since more than one key may be known to others.
        revoke(&ns).await;
        let revoked = revoke(&ns).await;
        until_replaced(&ns, &revoked).await;
        // The knowledge is in the Secret, and not only in the process that saw the revocation.
        watcher.kill().await.unwrap();
        watcher.start_again().await.unwrap();
        let mut secret = ns.api::<Secret>().get(SECRET).await.unwrap();
        secret.data = Some(backup);
        ns.api().replace(SECRET, &PostParams::default(), &secret).await.unwrap();
        stays_without(&ns, &old_ca).await;
        assert_eq!(secret_data(&ns).await, revoked);
        assert!(watcher.log().contains("it contained a revoked CA"), "{}", watcher.log());
        ns.admission_works().await;
    })
    .await;
}
