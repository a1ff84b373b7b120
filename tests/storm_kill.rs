//! The process is killed at random (SIGKILL) while pods become Ready. No pod is lost or checkpointed twice.
//!
//! Short in `make test`, long in `make storm`. STORM_SEED repeats a run's times as far as a machine can.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::storm::{self, Size};
use lab::terminal::print_result;
use lab::{CheckpointCounts, Namespace, Snapwatcher, in_namespace};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The default of `--max-concurrent`: a kill can interrupt no more than these.
const MAX_CONCURRENT: usize = 8;

/// Long enough that a kill usually meets requests under way.
const ANSWER_AFTER: Duration = Duration::from_millis(150);

/// The longest time between two kills: some come before the first claim, others while requests are under way.
const LONGEST_LIFE: Duration = Duration::from_millis(900);

const TIMEOUT: Duration = Duration::from_secs(120);

/// Creates pods and kills the process by turns, then waits until every Checkpoint is finished.
async fn storm(ns: &Namespace, watcher: &Snapwatcher, seed: u64) -> CheckpointCounts {
    let (pods, kills): (usize, usize) = Size::chosen().of((40, 5), (500, 30));
    ns.snaphook().answer_with(Behaviour::Delay(ANSWER_AFTER));
    let mut chance = fastrand::Rng::with_seed(seed);
    let names: Vec<String> = (0..pods).map(|number| format!("web-{number}")).collect();
    for batch in names.chunks(pods.div_ceil(kills)) {
        for name in batch {
            ns.create_object(&pod(name).labelled().build()).await;
        }
        // A random time: the kill must hit any step.
        tokio::time::sleep(LONGEST_LIFE.mul_f64(chance.f64())).await;
        watcher.kill().await.unwrap();
        watcher.start_again().await.unwrap();
    }
    let counts = ns.counts_when_finished(&names, TIMEOUT).await;
    assert!(counts.unknown.len() <= kills * MAX_CONCURRENT, "{counts}: {kills} kills");
    counts
}

async fn killed(test: &str, unknown_result: &str, verify: impl AsyncFnOnce(&Namespace, &CheckpointCounts)) {
    let seed = storm::seed(test);
    in_namespace(test, |ns| async move {
        let args = ["--instance", "storm", "--unknown-result", unknown_result];
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &args).await;
        let counts = storm(&ns, &watcher, seed).await;
        verify(&ns, &counts).await;
        print_result(&counts.to_string());
    })
    .await;
}

#[tokio::test]
async fn killed_at_random_with_keep_no_pod_is_lost_or_doubled() {
    killed("killed_at_random_with_keep", "keep", async |ns, counts| {
        for record in ns.records().await {
            if counts.unknown.contains(&record.name) {
                assert_eq!(record.attempt(), 1, "at most one request: {record:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn killed_at_random_with_retry_every_pod_succeeds() {
    killed("killed_at_random_with_retry", "retry", async |ns, _| {
        for record in ns.records().await {
            assert_eq!(record.state(), "Succeeded", "{record:?}");
        }
    })
    .await;
}
