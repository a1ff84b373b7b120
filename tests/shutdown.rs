//! How the process ends after a signal: with exit code 0, its work written, its log complete.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::ListParams;
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::{Namespace, Snapwatcher, SnapwatcherOptions, WebhookClient, in_namespace, review_of_creation, until};
use snapwatcher_admission::MUTATE;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The process exited with code 0, and its last log line says so.
fn assert_ended_well(watcher: &Snapwatcher, status: ExitStatus, signal: &str) {
    assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", watcher.log());
    let log = watcher.log();
    assert!(log.contains(&format!("{signal}: stopping")), "{log}");
    assert!(log.lines().last().unwrap().contains("Stopped"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

async fn with_a_finished_pod(ns: &Namespace) -> Arc<Snapwatcher> {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
    ns.create_object(&pod("web").labelled().build()).await;
    ns.until_requested("web", 1).await;
    watcher
}

#[tokio::test]
async fn sigterm_ends_the_process_with_0() {
    in_namespace("sigterm_ends_the_process_with_0", |ns| async move {
        let watcher = with_a_finished_pod(&ns).await;
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
    })
    .await;
}

#[tokio::test]
async fn sigint_ends_the_process_with_0() {
    in_namespace("sigint_ends_the_process_with_0", |ns| async move {
        let watcher = with_a_finished_pod(&ns).await;
        let status = watcher.interrupt().await.unwrap();
        assert_ended_well(&watcher, status, "SIGINT");
    })
    .await;
}

#[tokio::test]
async fn a_process_that_never_became_ready_ends_as_well() {
    in_namespace("a_process_that_never_became_ready_ends_as_well", |ns| async move {
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), ..SnapwatcherOptions::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
    })
    .await;
}

#[tokio::test]
async fn connections_that_stay_open_do_not_delay_the_exit() {
    in_namespace("connections_that_stay_open_do_not_delay_the_exit", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let mut webhook = TcpStream::connect(watcher.webhook_addr()).await.unwrap();
        let mut admin = TcpStream::connect(watcher.admin_url().trim_start_matches("http://")).await.unwrap();
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
        for open in [&mut webhook, &mut admin] {
            // Closed or reset, but not left hanging.
            drop(open.read_to_end(&mut Vec::new()).await);
        }
    })
    .await;
}

#[tokio::test]
async fn while_it_drains_it_answers_reviews_and_probes_and_is_not_ready() {
    in_namespace("while_it_drains_it_answers_reviews_and_probes", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--drain-delay", "3s"]).await;
        let webhook_client = WebhookClient::of(&ns, &watcher).await.unwrap();
        let signaled = Instant::now();
        watcher.terminate().await.unwrap();
        until("it is not ready", async || watcher.get("/readyz").await.is_ok_and(|answer| answer.status() == 500))
            .await;
        assert_eq!(watcher.get("/livez").await.unwrap().status(), 200);
        let reply =
            webhook_client.review(MUTATE, &review_of_creation("uid-1", "shop", &pod("web").build())).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(watcher.metric("snapwatcher_https_drained_requests_total").await.unwrap(), Some(1.0));
        let status = watcher.ended().await.unwrap();
        assert!(signaled.elapsed() >= Duration::from_secs(3), "{:?}", signaled.elapsed());
        assert_ended_well(&watcher, status, "SIGTERM");
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    in_namespace("a_second_signal_ends_the_process_at_once", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--drain-delay", "1h"]).await;
        watcher.terminate().await.unwrap();
        until("it is stopping", async || watcher.log().contains("SIGTERM: stopping")).await;
        let status = watcher.stop().await.unwrap();
        assert_eq!(status.code(), Some(128 + 15), "{status}");
        assert!(watcher.log().contains("SIGTERM again: exiting at once"), "{}", watcher.log());
    })
    .await;
}

#[tokio::test]
async fn an_attempt_under_way_is_finished_and_written_before_the_end() {
    in_namespace("an_attempt_under_way_is_finished_before_the_end", |ns| async move {
        ns.snaphook().answer_with(Behaviour::Delay(Duration::from_secs(2)));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
        let records = ns.checkpoints().list(&ListParams::default()).await.unwrap();
        let phases: Vec<_> = records.iter().map(|record| record.data["status"]["phase"].clone()).collect();
        assert_eq!(phases, ["Succeeded"]);
    })
    .await;
}
