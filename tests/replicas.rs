//! Several replicas: one leads, another takes over, and two that lead at once send no request twice.
//!
//! Short in `make test`, long in `make storm`, which kills the leader again and again under the real time of a Lease.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::storm::{self, Size};
use lab::terminal::print_result;
use lab::{Namespace, Replicas, SnapwatcherOptions, in_namespace};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The time in which a new leader must be at work.
const TAKEOVER: Duration = Duration::from_secs(25);

/// Less than the 15 s after which a Lease that was not released expires.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Long enough for the attempts of another holder to be marked Interrupted.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Long enough that a kill usually meets requests under way.
const ANSWER_AFTER: Duration = Duration::from_millis(300);

/// The longest wait between the last pod of a batch and the kill: some are not claimed by then, or all are finished.
const LONGEST_LIFE: Duration = Duration::from_millis(1500);

/// The default of `--max-concurrent`: a kill can interrupt no more than these.
const MAX_CONCURRENT: usize = 8;

fn options(args: &[&str]) -> SnapwatcherOptions {
    let args = args.iter().map(|argument| (*argument).to_owned()).collect();
    SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() }
}

/// With the Lease's own time in the long form.
fn quick() -> SnapwatcherOptions {
    let lease = Size::chosen().of("--lease-duration=3s", "--lease-duration=15s");
    options(&[lease, "--request-timeout=1s", "--response-timeout=2s", "--holder-grace=1s"])
}

async fn create(ns: &Namespace, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("web-{number}")).collect();
    for name in &names {
        ns.create_object(&pod(name).labelled().build()).await;
    }
    names
}

/// Kills the leader, and starts it again: at once, so that it may lead again, or when there is a new leader. Returns
/// how long it took until a leader was at work.
async fn kill_the_leader(ns: &Namespace, replicas: &Replicas, number: usize, is_back_at_once: bool) -> Duration {
    let former = replicas.leader().await;
    let holder = replicas.holder().await;
    replicas.all[former].kill().await.unwrap();
    let killed = Instant::now();
    if is_back_at_once {
        replicas.all[former].start_again().await.unwrap();
    }
    ns.later_pod_is_requested(&format!("after-{number}")).await;
    let took = killed.elapsed();
    assert_ne!(replicas.holder().await, holder, "another holder has the Lease");
    if !is_back_at_once {
        replicas.all[former].start_again().await.unwrap();
    }
    took
}

#[tokio::test]
async fn a_leader_killed_again_and_again_is_replaced_and_nothing_is_lost_or_doubled() {
    let (pods, kills): (usize, usize) = Size::chosen().of((30, 1), (500, 12));
    let seed = storm::seed("a_leader_killed_again_and_again");
    let mut chance = fastrand::Rng::with_seed(seed);
    in_namespace("a_leader_killed_again_and_again", |ns| async move {
        ns.snaphook().answer_with(Behaviour::Delay(ANSWER_AFTER));
        let replicas = Replicas::start(&ns, 3, quick()).await;
        let names: Vec<String> = (0..pods).map(|number| format!("web-{number}")).collect();
        let mut slowest = Duration::ZERO;
        for (number, batch) in names.chunks(pods.div_ceil(kills)).enumerate() {
            for name in batch {
                ns.create_object(&pod(name).labelled().build()).await;
            }
            // A random time: the kill must hit any step.
            tokio::time::sleep(LONGEST_LIFE.mul_f64(chance.f64())).await;
            slowest = slowest.max(kill_the_leader(&ns, &replicas, number, chance.bool()).await);
            assert!(slowest < TAKEOVER, "a new leader is at work after {slowest:?}");
        }
        let counts = ns.counts_when_finished(&names, TIMEOUT).await;
        assert!(counts.unknown.len() <= kills * MAX_CONCURRENT, "{counts:?}");
        print_result(&format!("{kills} kills of the leader, a new one at work after {slowest:.1?} at most"));
        print_result(&counts.to_string());
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_stops_is_replaced_at_once() {
    in_namespace("a_leader_that_stops_is_replaced", |ns| async move {
        let replicas = Replicas::start(&ns, 2, options(&[])).await;
        let former = replicas.leader().await;
        assert!(replicas.all[former].stop().await.unwrap().success());
        let stopped = Instant::now();
        assert_ne!(replicas.leader_after(former).await, former);
        ns.later_pod_is_requested("after").await;
        assert!(stopped.elapsed() < AT_ONCE, "{:?}", stopped.elapsed());
    })
    .await;
}

#[tokio::test]
async fn every_replica_names_the_leader_and_only_the_leader_watches() {
    in_namespace("every_replica_names_the_leader", |ns| async move {
        let replicas = Replicas::start(&ns, 3, options(&[])).await;
        let leader = replicas.leader().await;
        ns.later_pod_is_requested("web").await;
        let holder = replicas.holder().await.unwrap();
        for (index, replica) in replicas.all.iter().enumerate() {
            ns.until("the leader is named", async || {
                let timelines = replica.pod_timelines().await.map_err(|error| error.to_string())?;
                if timelines["leader"] == holder { Ok(()) } else { Err(timelines["leader"].to_string()) }
            })
            .await;
            let shown = replica.get("/readyz?verbose").await.unwrap().text().await.unwrap();
            assert!(shown.contains("[+]leader ok"), "{shown}");
            assert_eq!(shown.contains("[+]watch ok"), index == leader, "{shown}");
        }
    })
    .await;
}

#[tokio::test]
async fn two_processes_that_both_lead_send_no_request_twice() {
    in_namespace("two_processes_that_both_lead", |ns| async move {
        let _first = ns.start_snapwatcher(SNAPWATCHER, &["--instance", "first"]).await;
        let second = ns.launch_snapwatcher(options(&["--instance=second"])).await;
        second.ready().await.unwrap();
        let names = create(&ns, Size::chosen().of(40, 500)).await;
        let counts = ns.counts_when_finished(&names, TIMEOUT).await;
        assert_eq!(counts.unknown, [""; 0]);
        for name in &names {
            assert_eq!(ns.request_count(name), 1, "{name}");
        }
        print_result(&counts.to_string());
    })
    .await;
}
