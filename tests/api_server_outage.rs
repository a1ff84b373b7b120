//! The API server stops in the middle of a rollout, while a request to SnapHook is open, and starts again. No pod is
//! missed or checkpointed twice, and the response of SnapHook is written to the Checkpoint.
//!
//! The test stops the API server, so it has a control plane of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::objects::pod;
use lab::snaphook::{Behaviour, Gate};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{CheckpointCounts, Cluster, Namespace, Options, PodStatus, Snapwatcher, crd, in_namespace_of, try_until};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The time after the start of the API server in which the watch and all waiting Checkpoints must recover.
const RECONNECTED: Duration = Duration::from_secs(30);

async fn check(watcher: &Snapwatcher, line: &str) -> Result<(), String> {
    let answer = watcher.get("/readyz?verbose").await.map_err(|error| error.to_string())?;
    let shown = answer.text().await.map_err(|error| error.to_string())?;
    if shown.contains(line) { Ok(()) } else { Err(shown) }
}

/// Creates pods that the test makes Ready.
async fn held(ns: &Namespace, names: impl IntoIterator<Item = String>) -> Vec<Pod> {
    join_all(names.into_iter().map(async |name| ns.scheduled(&pod(&name).labelled().hold().build()).await)).await
}

async fn make_ready(ns: &Namespace, pods: impl IntoIterator<Item = &Pod>) {
    for pod in pods {
        ns.set_status(pod, &PodStatus::ready(pod)).await;
    }
}

/// The pods of one outage. All are scheduled before the first outage, since the scheduler needs time to recover, too.
struct Round {
    length: Duration,
    /// Its request is open when the API server stops.
    open: Pod,
    rollout: Vec<Pod>,
    later: Pod,
}

impl Round {
    async fn prepare(ns: &Namespace, seconds: u64) -> Self {
        let count = Size::chosen().of(10, 60);
        let rollout = held(ns, (0..count).map(|number| format!("web-{seconds}-{number}"))).await;
        let [open, later] = ["open", "later"].map(|name| format!("{name}-{seconds}"));
        let mut others = held(ns, [open, later]).await;
        let (later, open) = (others.pop().unwrap(), others.pop().unwrap());
        Self { length: Duration::from_secs(seconds), open, rollout, later }
    }
}

/// One outage of the API server, with a request and a rollout under way at its start.
async fn outage(cluster: &mut Cluster, ns: &Namespace, watcher: &Snapwatcher, round: Round) {
    let Round { length, open, rollout, later } = round;
    let gate = Gate::default();
    ns.snaphook().answer_pod_with(&open.name_any(), Behaviour::Wait(gate.clone()));
    make_ready(ns, [&open]).await;
    ns.until_requested(&open.name_any(), 1).await;
    let (before, after) = rollout.split_at(rollout.len() / 2);
    make_ready(ns, before).await;

    cluster.stop_api_server().await.unwrap();
    let gone = Instant::now();
    // SnapHook responds while the outcome cannot be written.
    gate.open();
    // The outage has to last for this time.
    tokio::time::sleep(length.saturating_sub(gone.elapsed())).await;
    cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    make_ready(ns, after).await;

    let names: Vec<String> = rollout.iter().map(ResourceExt::name_any).chain([open.name_any()]).collect();
    try_until("the watch is back and each pod has its record", RECONNECTED, async || {
        let counts = CheckpointCounts::of(ns, &names).await;
        if counts.lost.is_empty() { check(watcher, "[+]watch ok").await } else { Err(format!("{:?}", counts.lost)) }
    })
    .await
    .unwrap();
    let took = back.elapsed();
    // A repeated request would have been sent before the request of a later pod.
    make_ready(ns, [&later]).await;
    ns.until_requested(&later.name_any(), 1).await;
    let counts = CheckpointCounts::of(ns, &names).await;
    assert!(counts.lost.is_empty() && counts.doubled.is_empty() && counts.unknown.is_empty(), "{counts:?}");
    let open = open.name_any();
    assert_eq!((ns.record_of(&open, "Succeeded").await.attempt(), ns.request_count(&open)), (1, 1));
    print_result(&format!(
        "API server down for {} s, all work done {:.1} s after its return",
        length.as_secs(),
        took.as_secs_f64()
    ));
    print_result(&counts.to_string());
}

#[tokio::test]
async fn no_pod_is_missed_in_an_outage_of_the_api_server() {
    let mut cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    crd::install(cluster.access(), Path::new(SNAPWATCHER)).await.unwrap();
    let access = cluster.access().clone();
    in_namespace_of(&access, "no_pod_is_missed", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let lengths: &[u64] = Size::chosen().of(&[2], &[1, 30, 180]);
        let mut rounds = Vec::new();
        for &seconds in lengths {
            rounds.push(Round::prepare(&ns, seconds).await);
        }
        for round in rounds {
            outage(&mut cluster, &ns, &watcher, round).await;
        }
    })
    .await;
}
