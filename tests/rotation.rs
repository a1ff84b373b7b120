//! A CA that is followed by another while pods are created: not one creation is lost to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use lab::objects::pod;
use lab::storm::Size;
use lab::terminal::say;
use lab::webhooks::MUTATED;
use lab::{Caller, Namespace, Service, Snapwatcher, SnapwatcherOptions, in_namespace};
use snapwatcher::admission::MUTATE;
use snapwatcher::certificates::write_development;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// One load at a time: two would be as many creations as a small machine can take.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const REPLICAS: usize = 3;
/// Creations: 50 a second.
const EVERY: Duration = Duration::from_millis(20);
/// Fast lives: a CA is followed every 20 s, a leaf every 6.7 s.
const LIVES: [&str; 4] = ["--ca-life=30s", "--leaf-life=10s", "--publish-wait=3s", "--level-check=2s"];

/// Replicas behind one address, called by the API server with failurePolicy Fail.
struct Installed {
    replicas: Vec<Arc<Snapwatcher>>,
    // Only held.
    _service: Service,
}

async fn install(ns: &Namespace, flags: impl Fn(usize) -> Vec<String>) -> Installed {
    let service = Service::start().await;
    let mut replicas = Vec::new();
    for number in 0..REPLICAS {
        let mut args = vec!["--standalone=false".to_owned(), format!("--instance=replica-{number}")];
        args.extend(flags(number));
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        replicas.push(ns.launch_snapwatcher(options).await);
    }
    service.lead_to(replicas.iter().map(|replica| replica.webhook_addr()));
    ns.install_webhooks_at(service.address(), "Fail").await;
    for replica in &replicas {
        replica.ready().await.unwrap();
    }
    ns.admission_works().await;
    Installed { replicas, _service: service }
}

/// Creates labelled pods as dry runs, at a steady pace; returns how many, and what became of those that failed.
async fn create_for(ns: &Namespace, time: Duration) -> (usize, Vec<String>) {
    let pods: Api<Pod> = ns.api();
    let end = Instant::now() + time;
    let (mut pace, mut under_way, mut failures, mut count) = (interval(EVERY), JoinSet::new(), Vec::new(), 0);
    while Instant::now() < end {
        pace.tick().await;
        let pods = pods.clone();
        let wanted = pod(&format!("web-{count}")).labelled().build();
        count += 1;
        under_way.spawn(async move {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            let created = pods.create(&dry_run, &wanted).await.map_err(|error| error.to_string())?;
            let labels = created.metadata.labels.unwrap_or_default();
            if labels.contains_key(MUTATED) { Ok(()) } else { Err("it came back unlabelled".to_owned()) }
        });
        while let Some(ended) = under_way.try_join_next() {
            failures.extend(ended.unwrap().err());
        }
    }
    while let Some(ended) = under_way.join_next().await {
        failures.extend(ended.unwrap().err());
    }
    (count, failures)
}

/// Connects anew to each replica all the time, as an API server would that has no connection yet: verified by the bundle
/// that stands in the configuration at that moment. Ends with the first that is not trusted.
async fn connect_anew(ns: &Namespace, replicas: &[Arc<Snapwatcher>]) -> String {
    loop {
        for replica in replicas {
            let caller = Caller::of(ns, replica).await.unwrap();
            if let Err(error) = caller.slowest_of(1, ns.name(), &[MUTATE]).await {
                return error;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// How often the CA was switched, over all replicas.
async fn switches(installed: &Installed) -> f64 {
    let mut sum = 0.0;
    for replica in &installed.replicas {
        let series = r#"snapwatcher_certificate_rotation_steps_total{step="switch"}"#;
        sum += replica.metric(series).await.unwrap().unwrap_or_default();
    }
    sum
}

#[tokio::test]
async fn no_creation_is_lost_while_one_authority_follows_another() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("no_creation_is_lost_in_a_rotation", |ns| async move {
        let installed = install(&ns, |_| LIVES.map(str::to_owned).to_vec()).await;
        let time = Size::chosen().of(Duration::from_secs(28), Duration::from_secs(300));
        let (count, failures) = tokio::select! {
            made = create_for(&ns, time) => made,
            refused = connect_anew(&ns, &installed.replicas) => panic!("a new connection was refused: {refused}"),
        };
        for replica in &installed.replicas {
            assert!(!replica.log().contains("Somebody changed the CA bundle"), "replicas fight over it");
        }
        let switches = switches(&installed).await;
        say(&format!("{count} creations during {switches} rotations: {} failed", failures.len()));
        assert!(failures.is_empty(), "{} of {count}: {:?}", failures.len(), failures.first());
        assert!(switches >= Size::chosen().of(1.0, 12.0), "{switches}");
    })
    .await;
}

/// Writes a new CA and a leaf of it, as somebody does who knows no overlap.
fn swap(folder: &Path) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    write_development(folder, &names, true, snapwatcher::clock::now()).unwrap();
}

#[tokio::test]
async fn without_an_overlap_a_connection_is_refused_and_this_test_sees_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_namespace("without_an_overlap_a_connection_is_refused", |ns| async move {
        let folder = tempfile::tempdir().unwrap();
        swap(folder.path());
        let file = |flag: &str, name: &str| format!("--{flag}={}", PathBuf::from(folder.path()).join(name).display());
        let time = Duration::from_secs(14);
        let files = [file("tls-cert", "tls.crt"), file("tls-key", "tls.key"), file("tls-ca", "ca.crt")];
        // One replica reads the new files seconds before the others do, as nodes hear of a changed Secret.
        let level_check = |number| format!("--level-check={}s", if number == 0 { 1 } else { 4 });
        let flags = |number| files.iter().cloned().chain([level_check(number)]).collect();
        let installed = install(&ns, flags).await;
        let swapping = async {
            loop {
                sleep(Duration::from_secs(5)).await;
                swap(folder.path());
            }
        };
        // An API server keeps the connections that it has, so that few creations meet a handshake: what is sure to be
        // seen is a new connection to a replica that is late.
        let (refused, (count, failures)) = tokio::select! {
            seen = async { tokio::join!(timeout(4 * time, connect_anew(&ns, &installed.replicas)), create_for(&ns, time)) } => seen,
            () = swapping => unreachable!("it goes on for ever"),
        };
        let refused = refused.expect("a new connection is refused");
        say(&format!("{count} creations while files are swapped: {} failed; {refused}", failures.len()));
        assert!(failures.iter().all(|failure| failure.contains("webhook")), "{failures:?}");
    })
    .await;
}
