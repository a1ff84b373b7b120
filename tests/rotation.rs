//! The CA is replaced while pods are created, and no creation fails.
//!
//! Two tests show that the others can fail: the same load loses creations if the caBundle does not contain both CAs, and a
//! fresh API server rejects a replica if the switch does not wait.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{
    CreationLoad, Namespace, ServiceProxy, Snapwatcher, SnapwatcherCa, SnapwatcherOptions, fresh_api_server,
    in_namespace,
};
use snapwatcher_certificates::write_development_certificates;
use tokio::time::{Instant, sleep, timeout};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Reviews of the validating webhook.
const VALIDATED: &str = r#"snapwatcher_admission_requests_total{webhook="validate",decision="passed"}"#;

/// Tests with a load run one at a time: a small machine cannot take two loads.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const REPLICAS: usize = 3;
/// A CA is renewed after 20 s, a serving certificate after 6.7 s.
const LIVES: [&str; 4] = ["--ca-life=30s", "--serving-certificate-life=10s", "--publish-wait=3s", "--level-check=2s"];
/// How late an API server may learn of a changed bundle: less than the publish wait.
const LAG: Duration = Duration::from_secs(2);
/// The longest wait for a rotation. It starts every 20 s and takes 10 s on an idle machine.
const A_ROTATION: Duration = Duration::from_secs(60);

/// Replicas behind one address. The API server calls them with failurePolicy Fail.
struct Installed {
    replicas: Vec<Arc<Snapwatcher>>,
    // Only held.
    _service: ServiceProxy,
}

async fn install(ns: &Namespace, flags: &[&str]) -> Installed {
    install_with_bundle(ns, flags, None).await
}

/// Writes this caBundle, if SnapWatcher is started with certificate files.
async fn install_with_bundle(ns: &Namespace, flags: &[&str], bundle: Option<&str>) -> Installed {
    let service = ServiceProxy::start().await;
    let mut replicas = Vec::new();
    for number in 0..REPLICAS {
        let mut args = vec!["--standalone=false".to_owned(), format!("--instance=replica-{number}")];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        replicas.push(ns.launch_snapwatcher(options).await);
    }
    service.set_endpoints(replicas.iter().map(|replica| replica.webhook_addr()));
    ns.install_webhooks_at(service.address(), "Fail").await;
    if let Some(bundle) = bundle {
        ns.set_ca_bundle(bundle).await;
    }
    for replica in &replicas {
        replica.ready().await.unwrap();
    }
    let installed = Installed { replicas, _service: service };
    // An API server learns of each of the two bundles a moment after it was written.
    ns.until("both webhooks are called, and each is trusted", async || {
        let before = installed.distrusted().await;
        ns.admission_works().await;
        let mut validated = 0.0;
        for replica in &installed.replicas {
            validated += replica.metric(VALIDATED).await.unwrap().unwrap_or_default();
        }
        let is_trusted = before.is_some() && installed.distrusted().await == before;
        if is_trusted && validated > 0.0 { Ok(()) } else { Err(format!("{validated} reviews, trusted: {is_trusted}")) }
    })
    .await;
    installed
}

impl Installed {
    /// The sum of this series over all replicas, if all have it.
    async fn sum(&self, series: &str) -> Option<f64> {
        let mut sum = 0.0;
        for replica in &self.replicas {
            sum += replica.metric(series).await.ok().flatten()?;
        }
        Some(sum)
    }

    /// How often the replicas took this step.
    async fn steps(&self, step: &str) -> Option<f64> {
        self.sum(&format!(r#"snapwatcher_certificate_rotation_steps_total{{step="{step}"}}"#)).await
    }

    /// How many connections the replicas accepted.
    async fn connections(&self) -> Option<f64> {
        self.sum("snapwatcher_https_accepted_connections_total").await
    }

    /// How many handshakes failed because the client did not trust the certificate.
    async fn distrusted(&self) -> Option<f64> {
        self.sum(r#"snapwatcher_https_handshake_errors_total{reason="untrusted"}"#).await
    }
}

/// Whether a creation failed because the API server did not trust a certificate.
fn is_distrust(failure: &str) -> bool {
    failure.contains("x509: certificate")
}

#[tokio::test]
async fn no_creation_fails_during_a_rotation() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("no_creation_fails_during_a_rotation", |ns| async move {
        let installed = install(&ns, &LIVES).await;
        let (distrusted, before) = (installed.distrusted().await.unwrap(), installed.connections().await.unwrap());
        let (started, load) = (Instant::now(), CreationLoad::start(&ns));
        let time = Size::chosen().of(Duration::ZERO, Duration::from_secs(300));
        let rotated = async {
            let is_retired = async || installed.steps("retire").await.is_some_and(|retired| retired >= 1.0);
            lab::try_until("the previous CA is retired", A_ROTATION, is_retired).await.unwrap();
            sleep(time.saturating_sub(started.elapsed())).await;
        };
        tokio::select! {
            () = rotated => {}
            refused = fresh_api_server::first_refusal(&ns, &installed.replicas, LAG) => panic!("a fresh API server does not trust a replica: {refused}"),
        }
        let (count, failed) = load.end().await;
        for replica in &installed.replicas {
            assert!(!replica.log().contains("was modified externally"), "the replicas overwrite each other's bundle");
        }
        let (switches, retired) = (installed.steps("switch").await.unwrap(), installed.steps("retire").await.unwrap());
        let connections = installed.connections().await.unwrap() - before;
        print_result(&format!(
            "{count} creations during {switches} rotations ({retired} retired), {connections} connections: {} failed",
            failed.len()
        ));
        assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed.first());
        assert!(switches >= Size::chosen().of(1.0, 12.0), "{switches}");
        assert!(installed.steps("restart").await.unwrap() < 1.0, "no CA expired");
        assert!(installed.distrusted().await.unwrap() <= distrusted, "each client trusted each certificate");
    })
    .await;
}

#[tokio::test]
async fn without_the_wait_a_fresh_api_server_rejects_a_replica() {
    in_namespace("without_the_wait_a_fresh_api_server_rejects", |ns| async move {
        let lives = ["--ca-life=15s", "--serving-certificate-life=5s", "--publish-wait=1ms", "--level-check=2s"];
        let installed = install(&ns, &lives).await;
        let refused = timeout(A_ROTATION, fresh_api_server::first_refusal(&ns, &installed.replicas, LAG)).await;
        assert!(refused.unwrap().contains("UnknownIssuer"));
    })
    .await;
}

/// Makes a new CA with a serving certificate in `folder` and returns the CA's certificate.
fn renew(folder: &Path) -> String {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    write_development_certificates(folder, &names, true, snapwatcher_daemon::clock::now()).unwrap();
    std::fs::read_to_string(folder.join("ca.crt")).unwrap()
}

/// The flags of SnapWatcher for the certificate files in `folder`.
fn file_flags(folder: &Path) -> [String; 3] {
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    [file("tls-cert", "tls.crt"), file("tls-key", "tls.key"), "--level-check=1s".to_owned()]
}

/// Copies the certificate and its key.
fn copy_files(from: &Path, to: &Path) {
    for name in ["tls.key", "tls.crt"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn without_the_overlap_creations_fail_and_the_same_load_shows_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("without_the_overlap_creations_fail", |ns| async move {
        let (served, renewed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let former = renew(served.path());
        let flags = file_flags(served.path());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let installed = install_with_bundle(&ns, &flags, Some(&former)).await;
        let distrusted = installed.distrusted().await.unwrap();
        let load = CreationLoad::start(&ns);
        // As if SnapWatcher's bundle contained only the CA that signs next.
        ns.set_ca_bundle(&renew(renewed.path())).await;
        let is_lost = async || load.failed().iter().any(|failure| is_distrust(failure));
        let seen = lab::try_until("a creation fails", A_ROTATION, is_lost).await;
        copy_files(renewed.path(), served.path());
        let (count, failed) = load.end().await;
        print_result(&format!(
            "{count} creations while the CA is replaced without an overlap: {} failed",
            failed.len()
        ));
        seen.unwrap();
        assert!(installed.distrusted().await.unwrap() > distrusted, "the replicas count the failed handshakes");
        ns.until("creations work again by the renewed certificate", async || {
            let before = installed.distrusted().await;
            ns.admission_works().await;
            before.is_some() && installed.distrusted().await == before
        })
        .await;
    })
    .await;
}

/// The operator keeps the caBundle: adds the next CA, replaces the files, and removes the former CA at the end.
#[tokio::test]
async fn no_creation_fails_while_certificate_files_are_replaced() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("replacing_the_certificate_files", |ns| async move {
        let (served, renewed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let former = renew(served.path());
        let flags = file_flags(served.path());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let installed = install_with_bundle(&ns, &flags, Some(&former)).await;
        let load = CreationLoad::start(&ns);
        let replaced = async {
            let next = renew(renewed.path());
            ns.set_ca_bundle(&format!("{former}{next}")).await;
            // API servers learn of the bundle a moment after it is stored.
            sleep(LAG).await;
            copy_files(renewed.path(), served.path());
            // This replica has never read the former certificate, which the others may still serve.
            let args = flags.iter().copied().chain(["--standalone=false", "--instance=replica-late"]);
            let args = args.map(str::to_owned).collect();
            let late = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
            let late = ns.launch_snapwatcher(late).await;
            late.ready().await.unwrap();
            for replica in &installed.replicas {
                let is_served = async || replica.log().matches("Serving with the certificate in").count() == 2;
                lab::try_until("the new certificate is served", A_ROTATION, is_served).await.unwrap();
            }
            ns.set_ca_bundle(&next).await;
            // No replica writes into a bundle that the operator keeps.
            sleep(LAG).await;
            assert_eq!(lab::ca_bundle(&ns).await.unwrap(), next.as_bytes());
        };
        tokio::select! {
            () = replaced => {}
            refused = fresh_api_server::first_refusal(&ns, &installed.replicas, Duration::ZERO) => panic!("a fresh API server does not trust a replica: {refused}"),
        }
        let (count, failed) = load.end().await;
        print_result(&format!("{count} creations while the certificate files are replaced: {} failed", failed.len()));
        assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed.first());
    })
    .await;
}

const SECRET: &str = "snapwatcher-webhook-ca";

type Data = BTreeMap<String, ByteString>;

/// A CA that SnapWatcher could have made, as data of the Secret.
fn pair(generation: u64, from: SignedDuration, until: SignedDuration) -> Data {
    let pair = SnapwatcherCa::new(generation, snapwatcher_daemon::clock::now(), from, until).unwrap();
    let data = [("current.crt", pair.certificate), ("current.key", pair.key)];
    data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()
}

/// Replaces all data of the Secret, as a user with an editor would.
async fn replace(secrets: &Api<Secret>, data: &Data) {
    let mut secret = secrets.get(SECRET).await.unwrap();
    secret.data = Some(data.clone());
    secrets.replace(SECRET, &PostParams::default(), &secret).await.unwrap();
}

/// Waits until one of these CAs signs and no rotation is in progress. The CA that the test has put into the Secret may sign
/// only after a rotation, which leaves a previous CA.
async fn until_signed(secrets: &Api<Secret>, case: &str, in_use: &Data, put: Option<&Data>) {
    lab::until(&format!("{case}: an expected CA signs"), async || {
        let data = secrets.get(SECRET).await.unwrap().data.unwrap_or_default();
        let signs = |pair: &Data| data.get("current.crt") == pair.get("current.crt");
        let [has_next, has_previous] = ["next.crt", "previous.crt"].map(|key| data.contains_key(key));
        let is_settled = signs(in_use) || (put.is_some_and(signs) && has_previous);
        if is_settled && !has_next { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
}

#[tokio::test]
async fn no_creation_fails_while_the_secret_gets_other_cas() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("no_creation_fails_while_cas_are_replaced", |ns| async move {
        let installed = install(&ns, &["--publish-wait=3s", "--level-check=1s"]).await;
        let (secrets, load): (Api<Secret>, _) = (ns.api(), CreationLoad::start(&ns));
        let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        let replaced = async {
            let higher = pair(5, -hour, day);
            replace(&secrets, &higher).await;
            until_signed(&secrets, "later", &Data::default(), Some(&higher)).await;
            for (case, data) in [
                ("earlier", pair(2, -hour, day)),
                ("expired", pair(9, -2 * hour, -hour)),
                ("not valid yet", pair(9, hour, day)),
            ] {
                replace(&secrets, &data).await;
                until_signed(&secrets, case, &higher, None).await;
            }
            let equal = pair(5, -hour, day);
            replace(&secrets, &equal).await;
            until_signed(&secrets, "of the same generation", &higher, Some(&equal)).await;
        };
        tokio::select! {
            () = replaced => {}
            refused = fresh_api_server::first_refusal(&ns, &installed.replicas, LAG) => panic!("a fresh API server does not trust a replica: {refused}"),
        }
        let (count, failed) = load.end().await;
        print_result(&format!("{count} creations while CAs are replaced: {} failed", failed.len()));
        assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed.first());
        let log: String = installed.replicas.iter().map(|replica| replica.log()).collect();
        assert_eq!(log.matches("without an overlap").count(), 0);
        assert!(log.contains("it contained a later CA than the one in use") && log.contains("it contained an unexpected CA"));
    })
    .await;
}
