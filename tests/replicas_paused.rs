//! A leader that is frozen (SIGSTOP) and continues later: at whatever step it froze, no request is sent twice or lost.
//!
//! Short in `make test`, under the real time of a Lease in `make storm`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lab::objects::pod;
use lab::proxy::{HeldCall, Proxy, Verb, When};
use lab::snaphook::{Behaviour, Gate};
use lab::storm::Size;
use lab::{Namespace, Record, Replicas, SnapwatcherOptions, in_namespace, try_until};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Shorter than the 15 s in which a request may be sent after its attempt was written.
const SHORT_LEASE: &str = "--lease-duration=3s";

/// The real one in the long form.
fn lease() -> &'static str {
    Size::chosen().of(SHORT_LEASE, "--lease-duration=15s")
}

/// The longest time for which a frozen holder keeps its attempt: until a new leader has seen it, then for the 15 s in
/// which it may be sent, its timeouts (3 s, in the long form 25 s) and the grace.
fn longest_hold() -> Duration {
    Duration::from_secs(Size::chosen().of(40, 90))
}

fn options(lease: &str, proxy: Option<&Proxy>) -> SnapwatcherOptions {
    let args = Size::chosen().of(
        [lease, "--request-timeout=1s", "--response-timeout=2s", "--holder-grace=1s"],
        [lease, "--request-timeout=5s", "--response-timeout=20s", "--holder-grace=5s"],
    );
    let kubeconfig = proxy.map(Proxy::kubeconfig).unwrap_or_default();
    let args = args.map(str::to_owned).to_vec();
    SnapwatcherOptions { binary: SNAPWATCHER.into(), kubeconfig, args, ..SnapwatcherOptions::default() }
}

async fn interrupted(ns: &Namespace, pod: &str) -> Record {
    try_until("the new leader has marked the attempt Interrupted", longest_hold(), async || {
        let records = ns.records_of(pod).await;
        records.into_iter().find(|record| record.state() == "Unknown(Interrupted)")
    })
    .await
    .unwrap()
}

/// Freezes the leader when its attempt for `web` is written and its request not sent; returns its index.
async fn frozen_before_sending(ns: &Namespace, replicas: &Replicas, held: &HeldCall) -> usize {
    let former = replicas.leader().await;
    ns.create_object(&pod("web").labelled().build()).await;
    held.received().await;
    replicas.all[former].pause().await.unwrap();
    // The response arrives in the socket of the frozen process, which reads it later.
    held.deliver();
    ns.later_pod_is_requested("after").await;
    assert_ne!(replicas.leader().await, former);
    former
}

fn attempt_is_written() -> When {
    When::call(Verb::Create, "checkpoints").holding("snap.weaversoft.io/attempt")
}

#[tokio::test]
async fn a_response_that_arrives_while_the_leader_is_frozen_still_counts() {
    in_namespace("a_response_while_the_leader_is_frozen", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_pod_with("web", Behaviour::Wait(gate.clone()));
        let replicas = Replicas::start(&ns, 3, options(lease(), None)).await;
        let former = replicas.leader().await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        replicas.all[former].pause().await.unwrap();
        ns.later_pod_is_requested("after").await;
        interrupted(&ns, "web").await;
        gate.open();
        replicas.all[former].resume().await.unwrap();

        // Whether it notices the response or the timeout first is random.
        let truth = ["Succeeded", "Unknown(NoResponse)"];
        let record = ns
            .until("the former leader has written what it saw", async || {
                let records = ns.records_of("web").await;
                let record = records.into_iter().find(|record| truth.contains(&record.state().as_str()));
                record.ok_or("still Interrupted")
            })
            .await;
        assert_eq!(record.attempt(), 1);
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("web"), 1);
        assert_ne!(replicas.leader().await, former, "it does not get the Lease back");
    })
    .await;
}

#[tokio::test]
async fn a_leader_frozen_before_sending_does_not_send_after_the_window() {
    in_namespace("a_leader_frozen_before_sending", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        let replicas = Replicas::start(&ns, 3, options(lease(), Some(&proxy))).await;
        let held = proxy.hold_response(attempt_is_written());
        let former = frozen_before_sending(&ns, &replicas, &held).await;
        interrupted(&ns, "web").await;
        assert_eq!(ns.request_count("web"), 0);

        replicas.all[former].resume().await.unwrap();
        // It was certainly not sent, so the new leader may send it.
        let record = ns.record_of("web", "Succeeded").await;
        assert_eq!((record.attempt(), ns.request_count("web")), (2, 1));
        assert!(replicas.all[former].log().contains("was cancelled before sending"));
    })
    .await;
}

#[tokio::test]
async fn a_leader_frozen_before_sending_that_continues_in_time_sends_once() {
    in_namespace("a_leader_that_continues_in_time", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        // With the real Lease, the send window ends before there is another leader.
        let replicas = Replicas::start(&ns, 3, options(SHORT_LEASE, Some(&proxy))).await;
        let held = proxy.hold_response(attempt_is_written());
        let former = frozen_before_sending(&ns, &replicas, &held).await;
        assert_eq!(ns.request_count("web"), 0);
        replicas.all[former].resume().await.unwrap();
        let record = ns.record_of("web", "Succeeded").await;
        assert_eq!((record.attempt(), ns.request_count("web")), (1, 1));
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("web"), 1);
    })
    .await;
}
