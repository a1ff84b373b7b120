//! CA rotations while pods are created: no creation fails. Without the wait between publishing and signing, an API server that
//! reads the `caBundle` late rejects the new certificate, so these tests can fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use lab::storm::Size;
use lab::terminal::say;
use lab::{AuthorityPair, Creations, Namespace, Service, Snapwatcher, SnapwatcherOptions, in_namespace, newcomer};
use snapwatcher_certificates::write_development_certificates;
use tokio::time::{Instant, sleep, timeout};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Reviews of the validating webhook.
const VALIDATED: &str = r#"snapwatcher_admission_requests_total{webhook="validate",decision="passed"}"#;

/// One load at a time: two would be as many creations as a small machine can take.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const REPLICAS: usize = 3;
/// Fast lives: a CA is followed every 20 s, a leaf every 6.7 s.
const LIVES: [&str; 4] = ["--ca-life=30s", "--serving-certificate-life=10s", "--publish-wait=3s", "--level-check=2s"];
/// How late an API server may hear of a changed bundle: within the publish wait.
const LAG: Duration = Duration::from_secs(2);
/// A rotation begins every 20 s and ends 10 s later at most; a loaded machine takes its time.
const A_ROTATION: Duration = Duration::from_secs(60);

/// Replicas behind one address, called by the API server with failurePolicy Fail.
struct Installed {
    replicas: Vec<Arc<Snapwatcher>>,
    // Only held.
    _service: Service,
}

async fn install(ns: &Namespace, binary: &str, flags: &[&str]) -> Installed {
    let service = Service::start().await;
    let mut replicas = Vec::new();
    for number in 0..REPLICAS {
        let mut args = vec!["--standalone=false".to_owned(), format!("--instance=replica-{number}")];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let options = SnapwatcherOptions { binary: binary.into(), args, ..SnapwatcherOptions::default() };
        replicas.push(ns.launch_snapwatcher(options).await);
    }
    service.lead_to(replicas.iter().map(|replica| replica.webhook_addr()));
    ns.install_webhooks_at(service.address(), "Fail").await;
    for replica in &replicas {
        replica.ready().await.unwrap();
    }
    let installed = Installed { replicas, _service: service };
    // An API server hears of each of the two bundles a moment after it was written, and one of them may be called later.
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
    /// The sum of this series over all replicas, if all show it.
    async fn sum(&self, series: &str) -> Option<f64> {
        let mut sum = 0.0;
        for replica in &self.replicas {
            sum += replica.metric(series).await.ok().flatten()?;
        }
        Some(sum)
    }

    /// How often this step was taken.
    async fn steps(&self, step: &str) -> Option<f64> {
        self.sum(&format!(r#"snapwatcher_certificate_rotation_steps_total{{step="{step}"}}"#)).await
    }

    /// How many connections there were.
    async fn connections(&self) -> Option<f64> {
        self.sum("snapwatcher_serve_accepted_total").await
    }

    /// How many handshakes ended because the client did not trust the certificate.
    async fn distrusted(&self) -> Option<f64> {
        self.sum(r#"snapwatcher_serve_handshake_errors_total{reason="untrusted"}"#).await
    }
}

#[tokio::test]
async fn no_creation_is_lost_while_one_authority_follows_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("no_creation_is_lost_in_a_rotation", |ns| async move {
        let installed = install(&ns, SNAPWATCHER, &LIVES).await;
        let (distrusted, before) = (installed.distrusted().await.unwrap(), installed.connections().await.unwrap());
        let (begun, load) = (Instant::now(), Creations::start(&ns));
        let time = Size::chosen().of(Duration::ZERO, Duration::from_secs(300));
        let rotated = async {
            let is_retired = async || installed.steps("retire").await.is_some_and(|retired| retired >= 1.0);
            lab::reached("the previous CA is retired", A_ROTATION, is_retired).await.unwrap();
            sleep(time.saturating_sub(begun.elapsed())).await;
        };
        tokio::select! {
            () = rotated => {}
            refused = newcomer::refused(&ns, &installed.replicas, LAG) => panic!("a newcomer was refused: {refused}"),
        }
        let (count, failed) = load.end().await;
        for replica in &installed.replicas {
            assert!(!replica.log().contains("Somebody changed the CA bundle"), "replicas fight over it");
        }
        let (switches, retired) = (installed.steps("switch").await.unwrap(), installed.steps("retire").await.unwrap());
        let connections = installed.connections().await.unwrap() - before;
        say(&format!(
            "{count} creations during {switches} rotations ({retired} retired), {connections} connections: {} failed",
            failed.len()
        ));
        assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed.first());
        assert!(switches >= Size::chosen().of(1.0, 12.0), "{switches}");
        assert!(installed.steps("start-over").await.unwrap() < 1.0, "no CA expired");
        assert!(installed.distrusted().await.unwrap() <= distrusted, "each client trusted each certificate");
    })
    .await;
}

#[tokio::test]
async fn without_the_wait_a_newcomer_is_refused_that_hears_of_the_bundle_late() {
    in_namespace("without_the_wait_a_newcomer_is_refused", |ns| async move {
        let lives = ["--ca-life=15s", "--serving-certificate-life=5s", "--publish-wait=1ms", "--level-check=2s"];
        let installed = install(&ns, SNAPWATCHER, &lives).await;
        let refused = timeout(A_ROTATION, newcomer::refused(&ns, &installed.replicas, LAG)).await;
        assert!(refused.unwrap().contains("UnknownIssuer"));
    })
    .await;
}

/// StatusWriter a new CA and a leaf of it, as somebody does who knows no overlap.
fn swap(folder: &Path) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    write_development_certificates(folder, &names, true, snapwatcher_daemon::clock::now()).unwrap();
}

#[tokio::test]
async fn files_that_are_swapped_at_once_lose_no_creation_either() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("files_that_are_swapped_at_once", |ns| async move {
        let folder = tempfile::tempdir().unwrap();
        swap(folder.path());
        let file = |flag: &str, name: &str| format!("--{flag}={}", PathBuf::from(folder.path()).join(name).display());
        let files = [file("tls-cert", "tls.crt"), file("tls-key", "tls.key"), file("tls-ca", "ca.crt")];
        let flags: Vec<&str> = files.iter().map(String::as_str).chain(["--level-check=1s"]).collect();
        let installed = install(&ns, SNAPWATCHER, &flags).await;
        let load = Creations::start(&ns);
        let swapped = async {
            swap(folder.path());
            let authority = std::fs::read(folder.path().join("ca.crt")).unwrap();
            let both = async || {
                let bundle = lab::ca_bundle(&ns).await?;
                (String::from_utf8_lossy(&bundle).matches("BEGIN").count() == 2).then_some(())
            };
            lab::reached("both CAs are trusted", A_ROTATION, both).await.unwrap();
            // It has never read the old CA, by which the others are serving still.
            let args = flags.iter().copied().chain(["--standalone=false", "--instance=replica-late"]);
            let args = args.map(str::to_owned).collect();
            let late = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
            let late = ns.launch_snapwatcher(late).await;
            late.ready().await.unwrap();
            for replica in &installed.replicas {
                let dropped = async || replica.log().matches("Serving with the certificate in").count() == 2;
                lab::reached("the new certificate is served", A_ROTATION, dropped).await.unwrap();
            }
            let alone = async || lab::ca_bundle(&ns).await.is_some_and(|bundle| bundle == authority);
            lab::reached("the new CA is trusted alone", A_ROTATION, alone).await.unwrap();
        };
        tokio::select! {
            () = swapped => {}
            refused = newcomer::refused(&ns, &installed.replicas, Duration::ZERO) => panic!("a newcomer was refused: {refused}"),
        }
        let (count, failed) = load.end().await;
        say(&format!("{count} creations while files are swapped: {} failed", failed.len()));
        assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed.first());
    })
    .await;
}

const SECRET: &str = "snapwatcher-webhook-ca";

type Data = BTreeMap<String, ByteString>;

/// A pair that is valid in itself, as data of the Secret.
fn pair(generation: u64, from: SignedDuration, until: SignedDuration) -> Data {
    let pair = AuthorityPair::new(generation, snapwatcher_daemon::clock::now(), from, until).unwrap();
    let data = [("current.crt", pair.certificate), ("current.key", pair.key)];
    data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()
}

/// Puts this in the place of all data, as somebody with an editor would.
async fn replace(secrets: &Api<Secret>, data: &Data) {
    let mut secret = secrets.get(SECRET).await.unwrap();
    secret.data = Some(data.clone());
    secrets.replace(SECRET, &PostParams::default(), &secret).await.unwrap();
}

/// Waits until the CA of one of these pairs signs and none is to follow. One that somebody put there has a previous one
/// when it was followed.
async fn until_signed(secrets: &Api<Secret>, case: &str, in_use: &Data, put: Option<&Data>) {
    lab::until(&format!("{case}: one signs that may"), async || {
        let data = secrets.get(SECRET).await.unwrap().data.unwrap_or_default();
        let signs = |pair: &Data| data.get("current.crt") == pair.get("current.crt");
        let [has_next, has_previous] = ["next.crt", "previous.crt"].map(|key| data.contains_key(key));
        let is_settled = signs(in_use) || (put.is_some_and(signs) && has_previous);
        if is_settled && !has_next { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
}

#[tokio::test]
async fn a_pair_that_somebody_else_made_costs_no_creation_whatever_its_age_and_generation() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("a_pair_that_somebody_else_made", |ns| async move {
        let installed = install(&ns, SNAPWATCHER, &["--publish-wait=3s", "--level-check=1s"]).await;
        let (secrets, load): (Api<Secret>, _) = (ns.api(), Creations::start(&ns));
        let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        let swapped = async {
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
            () = swapped => {}
            refused = newcomer::refused(&ns, &installed.replicas, LAG) => panic!("a newcomer was refused: {refused}"),
        }
        let (count, failed) = load.end().await;
        say(&format!("{count} creations while CAs are swapped: {} failed", failed.len()));
        assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed.first());
        let log: String = installed.replicas.iter().map(|replica| replica.log()).collect();
        assert_eq!(log.matches("without an overlap").count(), 0);
        assert!(log.contains("it held a later CA than the one in use") && log.contains("no later one that is valid"));
    })
    .await;
}
