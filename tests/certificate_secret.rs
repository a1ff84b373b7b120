//! The Secret that the replicas share: if a user or a program changes it, the webhook keeps working and SnapWatcher corrects the Secret.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{
    CA_SECRET as SECRET, Namespace, Snapwatcher, SnapwatcherOptions, WebhookClient, create_ca_secret, empty_ca_secret,
    in_namespace,
};
use serde_json::json;
use snapwatcher_certificates::CertificateAuthority;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const REPLICAS: usize = 5;

type Data = BTreeMap<String, ByteString>;

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

/// The Secret of a test's SnapWatcher.
struct CaSecret(Api<Secret>);

impl CaSecret {
    fn of(ns: &Namespace) -> Self {
        Self(ns.api())
    }

    async fn data(&self) -> Option<Data> {
        self.0.get_opt(SECRET).await.unwrap()?.data
    }

    /// Replaces all data, as a user with an editor would.
    async fn replace(&self, data: Data) {
        let mut secret = self.0.get(SECRET).await.unwrap();
        secret.data = Some(data);
        self.0.replace(SECRET, &PostParams::default(), &secret).await.unwrap();
    }

    async fn until(&self, what: &str, wanted: &Data) {
        lab::until(what, async || {
            let found = self.data().await;
            let keys = || found.as_ref().map(|data| data.keys().cloned().collect::<Vec<_>>());
            if found.as_ref() == Some(wanted) { Ok(()) } else { Err(format!("{:?}", keys())) }
        })
        .await;
    }
}

/// Fails unless the API server and a new connection trust the replica.
async fn is_served(ns: &Namespace, watcher: &Snapwatcher) {
    ns.admission_works().await;
    let webhook_client = WebhookClient::of(ns, watcher).await.unwrap();
    webhook_client.slowest_review(1, ns.name(), &["/mutate"]).await.unwrap();
}

#[tokio::test]
async fn a_damaged_secret_gets_back_the_ca_in_use_and_the_log_says_why() {
    in_namespace("a_damaged_secret_is_corrected", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--level-check", "2s"]).await;
        let secret = CaSecret::of(&ns);
        let held = secret.data().await.unwrap();
        let foreign = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (foreign_certificate, foreign_key) = (foreign.cert.pem(), foreign.signing_key.serialize_pem());
        let other =
            CertificateAuthority::generate(Duration::from_secs(3600), snapwatcher_daemon::clock::now()).unwrap();
        let with = |certificate: &str, key: &str| {
            Data::from([("current.crt".to_owned(), bytes(certificate)), ("current.key".to_owned(), bytes(key))])
        };
        let text = |key: &str| String::from_utf8(held[key].0.clone()).unwrap();
        let (certificate, key) = (text("current.crt"), text("current.key"));
        for (case, data, reported) in [
            ("emptied", Data::new(), "it was empty"),
            (
                "certificate and key swapped",
                with(&key, &certificate),
                "it contains no CA certificate in PEM form, or more than one",
            ),
            ("no CA", with(&foreign_certificate, &foreign_key), "its certificate is not that of a CA"),
            ("another key", with(&certificate, &foreign_key), "its key does not belong to its certificate"),
            ("another CA", with(&other.certificate_pem(), &key), "its key does not belong to its certificate"),
            (
                "junk",
                Data::from([("current.crt".to_owned(), ByteString(vec![b'x'; 1_000_000]))]),
                "it contains no CA certificate",
            ),
        ] {
            let before = watcher.log().matches(reported).count();
            secret.replace(data).await;
            secret.until(&format!("{case}: the Secret holds the CA again"), &held).await;
            let is_reported = async || watcher.log().matches(reported).count() > before;
            lab::until(&format!("{case}: the log says `{reported}`"), is_reported).await;
            is_served(&ns, &watcher).await;
        }
        assert!(!watcher.log().contains("PRIVATE"), "no key is ever logged");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_secret_stops_no_running_replica_and_gets_its_ca_when_it_exists_again() {
    in_namespace("a_deleted_secret_stops_no_replica", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--level-check", "2s"]).await;
        let secret = CaSecret::of(&ns);
        let held = secret.data().await.unwrap();
        secret.0.delete(SECRET, &DeleteParams::default()).await.unwrap();
        let remedy = format!("kubectl create secret generic {SECRET} --namespace {}", ns.name());
        lab::until("the log has the remedy", async || watcher.log().contains(&remedy)).await;
        is_served(&ns, &watcher).await;
        assert_eq!(watcher.get("/readyz").await.unwrap().status(), 200);
        assert!(secret.0.get_opt(SECRET).await.unwrap().is_none(), "SnapWatcher never creates the Secret");

        create_ca_secret(ns.client(), ns.name()).await.unwrap();
        secret.until("the Secret holds the CA again", &held).await;
        is_served(&ns, &watcher).await;
    })
    .await;
}

#[tokio::test]
async fn without_the_secret_a_replica_is_not_ready_and_says_what_to_do() {
    in_namespace("without_the_secret_a_replica_is_not_ready", |ns| async move {
        let secret = CaSecret::of(&ns);
        secret.0.delete(SECRET, &DeleteParams::default()).await.unwrap();
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), ..SnapwatcherOptions::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        ns.install_webhooks(&watcher).await;
        let failed = format!("[-]serving-certificate failed: Secret `{}/{SECRET}` does not exist", ns.name());
        lab::until("the health check names the Secret", async || {
            let shown = watcher.get("/readyz?verbose").await.unwrap();
            let (code, text) = (shown.status().as_u16(), shown.text().await.unwrap());
            if code == 500 && text.contains(&failed) && text.contains("helm upgrade") { Ok(()) } else { Err(text) }
        })
        .await;
        create_ca_secret(ns.client(), ns.name()).await.unwrap();
        watcher.ready().await.unwrap();
        is_served(&ns, &watcher).await;
    })
    .await;
}

#[tokio::test]
async fn a_restart_keeps_the_ca() {
    in_namespace("a_restart_keeps_the_ca", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let secret = CaSecret::of(&ns);
        let held = secret.data().await.unwrap();
        watcher.kill().await.unwrap();
        watcher.start_again().await.unwrap();
        assert_eq!(secret.data().await.unwrap(), held);
        is_served(&ns, &watcher).await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_secret_at_the_first_start_gets_a_new_ca() {
    in_namespace("a_damaged_secret_at_the_first_start", |ns| async move {
        let secrets: Api<Secret> = ns.api();
        let junk = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "annotations": {"team": "web"}},
            "stringData": {"current.crt": "junk"},
        });
        secrets.patch(SECRET, &PatchParams::apply("another-controller"), &Patch::Apply(junk)).await.unwrap();
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        assert!(watcher.log().contains("created a new CA"), "{}", watcher.log());
        is_served(&ns, &watcher).await;
        assert_eq!(secrets.get(SECRET).await.unwrap().metadata.annotations.unwrap()["team"], "web");
    })
    .await;
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_ca() {
    in_namespace("replicas_that_start_together_agree", |ns| async move {
        let secret = CaSecret::of(&ns);
        let mut configured = false;
        let rounds = Size::chosen().of(3, 50);
        for round in 0..rounds {
            let starting = (0..REPLICAS).map(|number| {
                let args = vec!["--standalone=false".to_owned(), format!("--instance=replica-{number}")];
                let binary = SNAPWATCHER.into();
                ns.launch_snapwatcher(SnapwatcherOptions { binary, args, ..SnapwatcherOptions::default() })
            });
            let replicas: Vec<Arc<Snapwatcher>> = futures::future::join_all(starting).await;
            if !configured {
                ns.install_webhooks(&replicas[0]).await;
                configured = true;
            }
            for replica in &replicas {
                replica.ready().await.unwrap();
            }
            let held = secret.data().await.unwrap();
            let keys: Vec<&str> = held.keys().map(String::as_str).collect();
            assert_eq!(keys, ["current.crt", "current.key"], "round {round}: one CA, no rotation");
            // The bundle in the configuration contains one certificate.
            for replica in &replicas {
                let webhook_client = WebhookClient::of(&ns, replica).await.unwrap();
                webhook_client.slowest_review(1, ns.name(), &["/mutate"]).await.unwrap();
            }
            for replica in &replicas {
                replica.kill().await.unwrap();
            }
            empty_ca_secret(ns.client(), ns.name()).await.unwrap();
        }
        print_result(&format!(
            "{rounds} cold starts of {REPLICAS} replicas: one CA each, every serving certificate verified"
        ));
    })
    .await;
}
